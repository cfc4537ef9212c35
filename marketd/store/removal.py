"""Taking a series away.

Owns what goes, what stands in the way, and the order in which it goes: the ledger first, then candles in portions, so
that no promise is broken by what is interrupted. Needs the role ``marketd_retain`` or the owner's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from marketd.model import Series
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Database

_PORTION = 20_000  # candles a transaction


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is of a series; ``first_ms`` and ``last_ms`` are open times of candles."""

    candles: int
    first_ms: int | None
    last_ms: int | None
    blocks: int
    gaps: int
    revisions: int
    known: bool

    @property
    def nothing(self) -> bool:
        return not self.known and self.first_ms is None and not (self.blocks or self.gaps or self.revisions)


class Removal:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def extent(self, series: Series) -> Extent:
        async with self._database.session() as connection:
            row = await connection.fetchrow(sql("series_extent"), *series)
        assert row is not None  # noqa: S101  (an aggregate without GROUP BY always has one row)
        return Extent(
            row["candles"], codec.millis(row["first"]), codec.millis(row["last"]), row["blocks"], row["gaps"],
            row["revisions"], row["known"],
        )  # fmt: skip

    async def ties(self, series: Series) -> Sequence[tuple[str, str]]:
        """Who would miss it: ``job`` and id of one that names it, ``series`` and timeframe of one built of it."""
        async with self._database.session() as connection:
            return [(row["kind"], row["name"]) for row in await connection.fetch(sql("series_ties"), *series)]

    async def drop(self, series: Series, tell: Callable[[int], None]) -> int:
        """Take everything away; ``tell`` hears how many candles are gone so far. What is interrupted is given again."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_series"), *series)
            await connection.execute(sql("drop_knowledge"), *series)
            await connection.execute(sql("drop_figures"), *series)
        return await candles_gone(self._database, series, None, tell)


async def candles_gone(
    database: Database, series: Series, until: datetime | None, tell: Callable[[int], None] = lambda gone: None
) -> int:
    """Take the candles before ``until`` away (None: all), oldest first; ``tell`` hears how many are gone so far."""
    gone = 0
    while True:
        async with database.session() as connection:
            tag = await connection.execute(sql("drop_candles"), *series, until, _PORTION)
        removed = int(tag.rpartition(" ")[2])
        if not removed:
            return gone
        gone += removed
        tell(gone)
