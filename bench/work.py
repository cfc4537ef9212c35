"""The works that are measured, on a made-up market that every machine can make.

A: backfill of a year of one dense market. The same rows again (``--refetch``). Plain COPY of the same rows into an
empty copy of the same table is the physical limit that A is held against.
"""

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

import asyncpg

from marketd import assembly
from marketd.clock import SystemClock
from marketd.config import Config
from marketd.model import Claim, JobType, Series
from marketd.ports import Events, Progress
from marketd.rehearsal.market import Market, synthetic
from marketd.runner import Order
from marketd.store.orders import OrderRow
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account

DAY_MS = 86_400_000
START_MS = 1_672_531_200_000  # 2023-01-01
SERIES = Series("bitfinex", "BTCUSD", "1m")
SETTLE_MS = 120_000


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: ``rows`` in ``seconds`` of wall time, of which ``cpu_s`` were this process's own."""

    name: str
    rows: int
    seconds: float
    cpu_s: float
    requests: int = 0
    wal_bytes: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def market_of(seed: int, days: int, silent: float) -> tuple[Market, int]:
    end_ms = START_MS + days * DAY_MS
    return synthetic(seed, ("BTCUSD",), START_MS, end_ms, silent), end_ms + 3_600_000


@asynccontextmanager
async def exchange(seed: int, days: int, silent: float) -> AsyncIterator[str]:
    """The base URL of a local exchange in another process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.exchange", str(seed), str(days), str(silent),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


async def backfill(name: str, config: Config, database: Database, *, refetch: bool = False) -> Result:
    """One order, from the empty hand to the last commit."""
    clock = SystemClock()
    async with (
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex",
            config,
            assembly.Books.of(database),
            transport,
            clock,
            Events(),
            Progress(),
            leases=assembly.leases_of(database, "command"),
        ) as lane,
    ):
        (job,) = await lane.orders.give([OrderRow(*SERIES, JobType.BACKFILL)], "bench")
        run = (await lane.runs.begin(lane.name, [(job, clock.now_ms())], lane.lease.epoch))[job]
        account = Account(run, lane.lease.epoch, SETTLE_MS)
        wal = await _wal(database)
        began, cpu = time.perf_counter(), _cpu_s()
        outcome = await lane.runner.run(Order(JobType.BACKFILL, (SERIES,), Claim.BACKFILL, refetch=refetch), account)
        seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu
        await lane.runs.finish(run, outcome.status, outcome.error, outcome.tally.requests)
    if outcome.error is not None:
        raise SystemExit(f"{name}: {outcome.error}")
    tally = outcome.tally
    return Result(name, tally.fetched, seconds, cpu_s, tally.requests, await _wal(database) - wal)


async def plain_copy(database: Database) -> Result:
    """The rows of A once more, by plain COPY in pages of 10 000 into an empty copy of the table."""
    async with database.session() as connection:
        await connection.execute("CREATE TABLE candles_copy (LIKE candles INCLUDING ALL)")
        pages = [page async for page in _pages(connection)]
        wal = await _wal(database)
        began, cpu = time.perf_counter(), _cpu_s()
        for page in pages:
            async with connection.transaction():
                await connection.copy_to_table("candles_copy", source=BytesIO(page))
        seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu
        rows = await connection.fetchval("SELECT count(*) FROM candles_copy")
    return Result("plain COPY", rows, seconds, cpu_s, wal_bytes=await _wal(database) - wal)


async def _pages(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> AsyncIterator[bytes]:
    count = await connection.fetchval("SELECT count(*) FROM candles")
    for offset in range(0, count, 10_000):
        page = BytesIO()
        # The newest page first, as a backfill stores them.
        await connection.copy_from_query(
            f"SELECT * FROM candles ORDER BY open_time DESC LIMIT 10000 OFFSET {offset}", output=page
        )
        yield page.getvalue()


async def _wal(database: Database) -> int:
    async with database.session() as connection:
        return int(await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
