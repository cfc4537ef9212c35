"""Taking old candles away, and what is known of them.

Owns the boundary of a series below which everything is retired: it moves forward by whole blocks of the ledger, in the
transaction that takes the ledger's rows away; candles follow in portions, or with the table of a year in which all are
retired. What an open gap owes there is wanted no more. Needs the role ``marketd_retain`` or the owner's.
"""

from collections.abc import Sequence
from typing import Final

from marketd import ledger
from marketd.blocks import BLOCK, Change, Held
from marketd.model import Series
from marketd.ranges import Ranges
from marketd.store import codec
from marketd.store.pages import write_change
from marketd.store.queries import sql
from marketd.store.removal import candles_gone
from marketd.store.session import Database

_LATEST: Final = 2**31 - 1


def boundary(series: Series, horizon_ms: int) -> int:
    """The first interval that is kept where all before ``horizon_ms`` may go: a block is kept or goes as a whole."""
    return series.frame.number(horizon_ms) // BLOCK * BLOCK


class Retirement:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def series(self, timeframe: str) -> Sequence[Series]:
        """Every series of a timeframe."""
        async with self._database.session() as connection:
            return [Series(*row) for row in await connection.fetch(sql("all_series"), timeframe)]

    async def retirable(self, series: Series, horizon_ms: int) -> int:
        """How many candles would go."""
        async with self._database.session() as connection:
            found: int = await connection.fetchval(sql("retirable"), *series, boundary(series, horizon_ms) // BLOCK)
        return found

    async def retire(self, series: Series, horizon_ms: int, at_ms: int) -> None:
        """What lies before the boundary is not known any more, and never asked for again; its candles may go."""
        kept = boundary(series, horizon_ms)
        until = codec.opens(series, kept)
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_series"), *series)
            await connection.execute(sql("retire_series"), *series, until)
            span = codec.multirange(Ranges.of((-_LATEST, kept)))
            gaps = await connection.fetch(sql("read_open_gaps"), *series, span)
            held = Held(gaps=tuple(map(codec.gap, gaps)))
            change = ledger.narrow(held, Ranges.of((kept, _LATEST)), at_ms=at_ms)
            await write_change(connection, series, Change(gaps=change.gaps))
            await connection.execute(sql("retire_knowledge"), *series, kept // BLOCK, until)

    async def sweep(self, series: Series) -> int:
        """Take the candles of what is retired away; how many went. What is interrupted goes on the next time."""
        async with self._database.session() as connection:
            until = await connection.fetchval(sql("retired_until"), *series)
        return 0 if until is None else await candles_gone(self._database, series, until)
