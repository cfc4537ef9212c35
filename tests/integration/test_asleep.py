"""A host sleeps for a night under its daemon: the process is frozen, and its clock is eight hours later."""

import asyncio
import signal
from pathlib import Path

import asyncpg
import pytest

from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, started
from tests.stepped import FILE, SteppedClock

pytestmark = pytest.mark.once

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_700_006_400_000  # 2023-11-15 00:00 UTC
EVENING = START + 22 * HOUR + 10 * MINUTE
MORNING = EVENING + 8 * HOUR
# Nothing falls due in the minutes that the test takes.
JOBS = (
    entry("backfill", ("BTCUSD",), ("1m",))
    + entry("continuous", ("BTCUSD",), ("1m",), schedule="*/30 * * * *")
    + entry("gap_repair", ("BTCUSD",), ("1m",), schedule="0 * * * *")
)

_FIRED = """
SELECT j.job_type, r.scheduled_for FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.id > $1 AND j.schedule IS NOT NULL ORDER BY 1
"""
_LAST = "SELECT max(id) FROM market_data_job_runs"
_UNDER_WAY = "SELECT count(*) FROM market_data_job_runs WHERE status = 'running'"
_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'marketd'
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("awake", [False, True], ids=["database asleep too", "database awake"])
async def test_after_a_night_each_job_is_caught_up_once_and_soon(database: str, tmp_path: Path, awake: bool) -> None:
    """fault_53."""
    clock = SteppedClock(tmp_path / "clock")
    clock.set(EVENING)
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\n')
    market = synthetic(3, ("BTCUSD",), START, MORNING + HOUR, 0.2)
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            started(tmp_path, database, server.base_url, program="tests.stepped", **{FILE: str(clock.file)}) as daemon,
        ):
            await until(lambda: complete(daemon))
            await until(lambda: idle(connection))
            last = await connection.fetchval(_LAST)
            daemon.send(signal.SIGSTOP)
            clock.set(MORNING)
            if awake:  # it has ended the connections of a client that says nothing, and the lease
                await connection.execute(_OTHERS)
                await connection.execute("UPDATE exchange_leases SET expires_at = now() - interval '7 hours'")
            daemon.send(signal.SIGCONT)

            async def caught_up() -> bool:
                return len(await connection.fetch(_FIRED, last)) >= 2 and await complete(daemon)

            await until(caught_up, 30)
            await asyncio.sleep(5)
            due = MORNING - 10 * MINUTE
            fired = [(row[0], int(row[1].timestamp() * 1000)) for row in await connection.fetch(_FIRED, last)]
            assert fired == [("continuous", due), ("gap_repair", due)], "once each, the latest of what was missed"
            assert daemon.alive
        assert await violations(database) == {}
    finally:
        await connection.close()


async def idle(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return not await connection.fetchval(_UNDER_WAY)


async def complete(daemon: Marketd) -> bool:
    """Nothing is missing, up to the last half hour."""
    found = (await daemon.get("/ingestion/status")).shape["series"]
    return bool(found) and all(one["complete"] and one["lag_seconds"] < 1800 for one in found)
