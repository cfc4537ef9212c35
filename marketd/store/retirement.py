"""Taking old candles away, and what is known of them.

Owns the boundary of a series below which everything is retired: it moves forward by whole blocks of the ledger, in the
transaction that takes the ledger's rows away; candles follow in portions, or with the table of a year in which all are
retired. What an open gap owes there is wanted no more. Needs the role ``marketd_retain`` or the owner's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from marketd import ledger
from marketd.blocks import BLOCK, Change, Held
from marketd.clock import at
from marketd.model import Series
from marketd.ranges import Ranges
from marketd.store import codec, held
from marketd.store.held import Stretch
from marketd.store.queries import sql
from marketd.store.removal import candles_gone
from marketd.store.session import Database

_LATEST: Final = 2**31 - 1


def boundary(series: Series, horizon_ms: int) -> int:
    """The first interval that is kept where all before ``horizon_ms`` may go: a block is kept or goes as a whole."""
    return series.frame.number(horizon_ms) // BLOCK * BLOCK


@dataclass(frozen=True, slots=True)
class Dropped:
    """A table of a year that is gone, and how many candles went with it."""

    name: str
    candles: int


class Retirement:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def series(self, timeframe: str) -> Sequence[Series]:
        """Every series of a timeframe."""
        async with self._database.session() as connection:
            return [Series(*row) for row in await connection.fetch(sql("all_series"), timeframe)]

    async def retirable(self, timeframe: str, horizon_ms: int) -> int:
        """How many candles would go."""
        found = 0
        for series in await self.series(timeframe):
            async with self._database.session() as connection:
                found += await connection.fetchval(sql("retirable"), *series, boundary(series, horizon_ms) // BLOCK)
        return found

    async def retire_all(self, timeframe: str, horizon_ms: int, at_ms: int) -> int:
        """Take away what lies before the boundary of each series; how many candles went.

        Whole years first, where each has a table of its own. What is interrupted goes on the next time.
        """
        until = {series: await self.retire(series, horizon_ms, at_ms) for series in await self.series(timeframe)}
        dropped = await self.drop_years(timeframe, at(horizon_ms))
        swept = [await candles_gone(self._database, series, end) for series, end in until.items()]
        return sum(one.candles for one in dropped) + sum(swept)

    async def retire(self, series: Series, horizon_ms: int, at_ms: int) -> datetime:
        """What lies before the boundary is not known any more, and never asked for again; where what is kept begins."""
        kept = boundary(series, horizon_ms)
        until = codec.opens(series, kept)
        async with self._database.session() as connection, connection.transaction():
            before: datetime | None = await connection.fetchval(sql("lock_series"), *series)
            await connection.execute(sql("retire_series"), *series, until)
            gaps = await held.owed(connection, [Stretch(series, Ranges.of((-_LATEST, kept)))])
            change = ledger.narrow(Held(gaps=gaps[0]), Ranges.of((kept, _LATEST)), at_ms=at_ms)
            await held.write(connection, [(series, Change(gaps=change.gaps))])
            await connection.execute(sql("retire_knowledge"), *series, kept // BLOCK, until)
        return until if before is None else max(before, until)

    async def drop_years(self, timeframe: str, before: datetime) -> Sequence[Dropped]:
        """Drop the tables of the years that end before, of which nothing is wanted any more."""
        async with self._database.session() as connection:
            return [Dropped(*row) for row in await connection.fetch(sql("drop_retired"), timeframe, before)]
