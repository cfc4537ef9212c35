"""What is soaked: a daemon in a process of its own between a database and an exchange, each of which can be hurt.

Owns how they are started and how hard they work: a budget of ten times Bitfinex' own, and more series than it would
feed. Refuses to know what is done to them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from marketd.assembly import ready_schema
from marketd.clock import SystemClock
from marketd.embedded import EmbeddedPostgres
from marketd.rehearsal import Faults, RehearsalServer, synthetic
from tests.jobfile import entry
from tests.processes import Marketd, started
from tests.wire import Wire

DAY_MS = 86_400_000
SYMBOLS = tuple(f"SOAK{number:02}:USD" for number in range(24))
TIMEFRAMES = ("1m", "5m", "15m", "1h")
HISTORY_DAYS = 30
PER_MINUTE = 270
JOBS = (
    entry("continuous", SYMBOLS, TIMEFRAMES, schedule="* * * * *")
    + entry("backfill", SYMBOLS, TIMEFRAMES)
    + entry("gap_repair", schedule="* * * * *")
)


class Server:
    """PostgreSQL, which can be started again where its data lies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedPostgres(folder)

    @property
    def dsn(self) -> str:
        return self._server.dsn

    async def start(self) -> None:
        self._server = EmbeddedPostgres(self._folder)
        await self._server.__aenter__()

    async def stop(self) -> None:
        await self._server.__aexit__(None, None, None)


@dataclass(frozen=True)
class Stage:
    daemon: Marketd
    exchange: RehearsalServer
    wire: Wire
    server: Server

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def command(self, *words: str) -> int:
        """Exit code of ``marketd`` with these words, as an operator beside the daemon would call it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "marketd", *words, env=dict(self.daemon.environ),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await process.wait()


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    clock = SystemClock()
    since_ms = clock.now_ms() - HISTORY_DAYS * DAY_MS
    market = synthetic(11, SYMBOLS, since_ms, clock.now_ms() + 3 * DAY_MS, 0.2)
    (folder / "jobs.toml").write_text(JOBS)
    (folder / "marketd.toml").write_text(f'jobs_file = "{folder}/jobs.toml"\nowner = "soak"\n')
    limit = {"MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": str(PER_MINUTE)}
    server = Server(folder / "pg")
    await server.start()
    try:
        await ready_schema(server.dsn, migrate=True)
        async with AsyncExitStack() as stack:
            exchange = await stack.enter_async_context(RehearsalServer(market, clock, Faults(clock)))
            wire = await stack.enter_async_context(Wire(server.dsn).laid())
            daemon = await stack.enter_async_context(started(folder, wire.dsn, exchange.base_url, **limit))
            yield Stage(daemon, exchange, wire, server)
    finally:
        await server.stop()
