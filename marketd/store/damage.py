"""Damage on purpose, for the demonstration.

Owns the deletion of stored candles behind the ledger's back, as an operator's slip would do it. Only the demonstration
may import it.
"""

from marketd.clock import at
from marketd.model import Series
from marketd.store.queries import sql
from marketd.store.session import Database


async def drop_scattered(database: Database, series: Series, every: int) -> int:
    """Delete one candle in ``every`` intervals; returns how many went."""
    async with database.session() as connection:
        return int(await connection.fetchval(sql("demo_drop_scattered"), *series, every))


async def drop_range(database: Database, series: Series, start_ms: int, end_ms: int) -> int:
    """Delete the candles that open in ``[start_ms, end_ms)``; returns how many went."""
    async with database.session() as connection:
        return int(await connection.fetchval(sql("demo_drop_range"), *series, at(start_ms), at(end_ms)))
