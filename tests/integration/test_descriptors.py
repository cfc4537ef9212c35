"""A daemon that has no file descriptors left: whoever comes is turned away, the work goes on."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.rehearsal.faults import Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.processes import Marketd, started

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
PAGE = 100
LEFT = 10  # descriptors, of which a crowd may have all
CROWD = 50
BACKFILL = entry("backfill", ("BTCUSD",), ("1m",))


async def test_who_comes_when_no_descriptor_is_left_does_not_stop_the_work(database: str, tmp_path: Path) -> None:
    """fault_10."""
    (tmp_path / "jobs.toml").write_text(BACKFILL)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\n[exchanges.bitfinex]\npage_limit = {PAGE}\n'
    )
    connection = await asyncpg.connect(database)
    market, clock = synthetic(3, ("BTCUSD",), START, START + 30 * DAY, 0.2), ScaledClock(START + 29 * DAY)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            started(tmp_path, database, server.base_url) as daemon,
        ):
            server.faults.add(Latency(delay_s=0.02, asks=("candles",)))
            await until(lambda: stored(connection, 5 * PAGE))
            no_more_than(daemon, descriptors(daemon) + LEFT)
            async with crowd((await daemon.said("listening"))["address"]):
                await until(lambda: all_taken(daemon))
                lines, before = len(daemon.lines()), await candles(connection)
                await until(lambda: stored(connection, before + 10 * PAGE))
                assert await all_taken(daemon)
                assert len(daemon.lines()) - lines < 10, daemon.lines()[lines:]
            assert (await daemon.get("/livez")).status == 200
            assert daemon.lines("run ended") == []
    finally:
        await connection.close()


def descriptors(daemon: Marketd) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def no_more_than(daemon: Marketd, most: int) -> None:
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (most, most))


async def all_taken(daemon: Marketd) -> bool:
    most, _ = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    return descriptors(daemon) >= most


@asynccontextmanager
async def crowd(address: str) -> AsyncIterator[None]:
    """Clients that come and say nothing; each comes again when it is thrown out."""
    host, _, port = address.rpartition(":")

    async def client() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                await reader.read(1)
            except OSError:
                pass
            finally:
                writer.transport.abort()
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack:
        tasks = [asyncio.get_running_loop().create_task(client()) for _ in range(CROWD)]
        for task in tasks:
            stack.callback(task.cancel)
        yield
    await asyncio.wait(tasks)


async def candles(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await connection.fetchval("SELECT coalesce(sum(stored), 0) FROM series_figures"))


async def stored(connection: "asyncpg.Connection[asyncpg.Record]", most: int) -> bool:
    return await candles(connection) >= most
