"""Signals that come when a daemon is on its way out already."""

import asyncio
import signal
import time
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.rehearsal.faults import Hang
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.processes import Marketd, started

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
DRAIN_S = 60
BACKFILL = entry("backfill", ("BTCUSD",), ("1m",))


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_drain_at_once_and_as_well(
    database: str, tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    """fault_4."""
    (tmp_path / "jobs.toml").write_text(BACKFILL)
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\n[engine]\ndrain_s = {DRAIN_S}\n')
    connection = await asyncpg.connect(database)
    market, clock = synthetic(3, ("BTCUSD",), START, START + 9 * DAY, 0.2), ScaledClock(START + 2 * DAY)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            started(tmp_path, database, server.base_url) as daemon,
        ):
            server.faults.add(Hang(asks=("candles",)))
            await until(lambda: asked(server))
            daemon.send(first)
            await until(lambda: drains(daemon))
            assert await runs(connection, "running"), "it waits for the page that hangs"
            began_s = time.monotonic()
            daemon.send(second)
            daemon.send(signal.SIGHUP)
            async with asyncio.timeout(10):
                assert await daemon.process.wait() == 0
            assert time.monotonic() - began_s < 5
            assert not any("Traceback" in str(line) for line in daemon.lines())
        assert await runs(connection, "interrupted")
        assert await connection.fetchval("SELECT expires_at <= clock_timestamp() FROM exchange_leases")
    finally:
        await connection.close()


async def asked(server: RehearsalServer) -> bool:
    return server.stats.kinds["candles"] > 0


async def runs(connection: "asyncpg.Connection[asyncpg.Record]", status: str) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM market_data_job_runs WHERE status = $1", status))


async def drains(daemon: Marketd) -> bool:
    return "draining" in str((await daemon.get("/readyz")).shape)
