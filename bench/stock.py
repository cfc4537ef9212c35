"""A database of years: what the port is asked about while its answers are timed.

The server makes it by itself: series of minutes in which every fifth interval or so is empty, with the jobs, runs and
gaps that gather beside so many candles.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncpg

from bench.market import DAY_MS
from marketd.store.queries import parse

END_MS = 1_735_689_600_000  # 2025-01-01: all of it has closed
SYMBOLS = [f"BENCH{number}" for number in range(12)]
MANY = [f"BENCH{number}" for number in range(60)]
_GAPS = {"stock_closed_gaps": 50_000, "stock_open_gaps": 500}
_PATIENCE_S = 3600
_WRITERS = 2

_SQL = {query.name: query.sql for query in parse(Path(__file__).with_suffix(".sql").read_text(), "stock")}


def statement(name: str) -> str:
    return _SQL[name]


async def fill(dsn: str, blocks: int, tell: Callable[[str], None], symbols: Sequence[str] = SYMBOLS) -> int:
    """Put a series of so many days of minutes for each of ``symbols`` into the migrated database; candles stored."""
    first = END_MS // DAY_MS - blocks
    settings = {"synchronous_commit": "off", "jit": "off"}
    connection = await asyncpg.connect(dsn, command_timeout=_PATIENCE_S, server_settings=settings)
    try:
        await connection.execute(_SQL["stock_jobs"])
        await connection.execute(_SQL["stock_runs"])
        waiting = iter(symbols)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(_write(dsn, waiting, first, blocks, tell))
        await connection.execute("VACUUM ANALYZE")
        return int(await connection.fetchval("SELECT sum(stored) FROM candle_coverage"))
    finally:
        await connection.close()


async def _write(dsn: str, waiting: Iterator[str], first: int, blocks: int, tell: Callable[[str], None]) -> None:
    """One series after the other, of those that nobody writes yet."""
    connection = await asyncpg.connect(dsn, command_timeout=_PATIENCE_S)
    try:
        for symbol in waiting:
            tell(f"filling {symbol}")
            await connection.execute(_SQL["stock_series"], symbol, first)
            await connection.execute(_SQL["stock_candles"], symbol, first, blocks)
            await connection.execute(_SQL["stock_ledger"], symbol, first, blocks)
            await connection.execute("ANALYZE candles, candle_coverage")  # or the gaps are joined by reading all
            for name, count in _GAPS.items():
                await connection.execute(_SQL[name], symbol, first, count // 12)
    finally:
        await connection.close()
