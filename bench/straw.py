"""What the same rows cost by other ways: plain COPY, which is the physical limit, and the two ways that collectors of
this field write them, as straw men.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TypeAlias, TypeVar

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Page = TypeVar("Page")
_PAGE = 10_000
_UPSERT = (
    "INSERT INTO candles_copy (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (exchange, symbol, timeframe, open_time) DO UPDATE SET open = excluded.open, high = excluded.high, "
    "low = excluded.low, close = excluded.close, volume = excluded.volume"
)


async def plain_copy(dsn: str) -> float:
    """Rows per second of all stored candles, once more by COPY, a page a transaction."""
    async with _empty_copy(dsn) as connection:
        pages = [page async for page in _texts(connection)]

        async def store(page: bytes) -> None:
            await connection.copy_to_table("candles_copy", source=BytesIO(page))

        return await _rate(connection, pages, store)


async def executemany(dsn: str, pages: int) -> float:
    """Rows per second of so many pages by a pipelined upsert of typed values."""
    async with _empty_copy(dsn) as connection:
        return await _rate(
            connection, await _records(connection, pages), lambda page: connection.executemany(_UPSERT, page)
        )


async def row_by_row(dsn: str, pages: int) -> float:
    """Rows per second of so many pages by one INSERT a row."""
    async with _empty_copy(dsn) as connection:

        async def store(page: Sequence[tuple[object, ...]]) -> None:
            for row in page:
                await connection.execute(_UPSERT, *row)

        return await _rate(connection, await _records(connection, pages), store)


@asynccontextmanager
async def _empty_copy(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE candles_copy (LIKE candles INCLUDING ALL)")
        yield connection
        await connection.execute("DROP TABLE candles_copy")
    finally:
        await connection.close()


async def _rate(connection: Connection, pages: Sequence[Page], store: Callable[[Page], Awaitable[None]]) -> float:
    began = time.perf_counter()
    for page in pages:
        async with connection.transaction():
            await store(page)
    seconds = time.perf_counter() - began
    return int(await connection.fetchval("SELECT count(*) FROM candles_copy")) / seconds


async def _texts(connection: Connection) -> AsyncIterator[bytes]:
    """The newest page first, as a backfill stores them."""
    count = await connection.fetchval("SELECT count(*) FROM candles")
    for offset in range(0, count, _PAGE):
        page = BytesIO()
        await connection.copy_from_query(
            f"SELECT * FROM candles ORDER BY open_time DESC LIMIT {_PAGE} OFFSET {offset}", output=page
        )
        yield page.getvalue()


async def _records(connection: Connection, pages: int) -> list[list[tuple[object, ...]]]:
    rows = await connection.fetch(
        "SELECT open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume "
        f"FROM candles ORDER BY open_time DESC LIMIT {pages * _PAGE}"
    )
    return [[tuple(row) for row in rows[at : at + _PAGE]] for at in range(0, len(rows), _PAGE)]
