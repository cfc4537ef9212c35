"""A daemon that gets no more memory for a while: what needs some fails, and all is made good.

The runs that fail leave the daemon alive. Where its own turn is what gets none, it ends and is started again, as its
unit would do.
"""

import asyncio
import resource
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from marketd.rehearsal.faults import Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, started
from tests.stepped import FILE, SteppedClock

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
SPEED = 30.0
SYMBOLS = ("BTCUSD", "ETHUSD")
JOBS = entry("backfill", SYMBOLS, ("1m",)) + entry("continuous", SYMBOLS, ("1m",), schedule="* * * * *")

_FAILED = """
SELECT count(*) FROM market_data_job_runs WHERE status = 'failed'
"""
_LIVE = """
SELECT count(*) FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE j.job_type = 'continuous' AND r.status = 'success'
"""


@pytest.mark.timeout(120)
async def test_runs_that_get_no_memory_fail_and_are_made_good(database: str, tmp_path: Path) -> None:
    """fault_9."""
    clock = SteppedClock(tmp_path / "clock")
    clock.set(START + 200 * DAY, SPEED)
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\n')
    market = synthetic(3, SYMBOLS, START, START + 220 * DAY, 0.2)
    connection = await asyncpg.connect(database)

    async def counted(statement: str, most: int) -> bool:
        return bool(await connection.fetchval(statement) >= most)

    async def struck(daemon: Marketd) -> bool:
        return not daemon.alive or await counted(_FAILED, 1)

    async def made_good(daemon: Marketd) -> None:
        live = await connection.fetchval(_LIVE)
        await until(lambda: complete(daemon))
        await until(lambda: counted(_LIVE, live + 2))
        assert (await daemon.get("/livez")).status == 200

    try:
        async with RehearsalServer(market, clock) as server:
            server.faults.add(Latency(delay_s=0.4, asks=("candles",)))  # else the backfills are over too soon
            start = partial(started, tmp_path, database, server.base_url, program="tests.stepped")
            async with start(**{FILE: str(clock.file)}) as daemon:
                await until(lambda: counted(_LIVE, 2))
                no_more_memory(daemon)
                await until(lambda: struck(daemon))
                await asyncio.sleep(3)  # whatever else is due meanwhile may fail as well
                assert await violations(database) == {}
                server.faults.clear()
                if lived := daemon.alive:
                    all_memory(daemon)
                    await made_good(daemon)
            if lived:
                unexpected = [line["error"] for line in daemon.lines("run failed unexpectedly")]
                assert all(no_memory(error) for error in unexpected), unexpected
            else:
                last_words = daemon.log.read_text()[-4_000:]
                assert no_memory(last_words), last_words
                async with start("two", **{FILE: str(clock.file)}) as another:
                    await made_good(another)
        assert await violations(database) == {}
    finally:
        await connection.close()


def no_memory(said: str) -> bool:
    return "MemoryError" in said or "can't start new thread" in said or "Cannot allocate memory" in said


def no_more_memory(daemon: Marketd) -> None:
    """Nothing more than what it has mapped."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    mapped_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))
    resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (mapped_kib * 1024, resource.RLIM_INFINITY))


def all_memory(daemon: Marketd) -> None:
    resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def complete(daemon: Marketd) -> bool:
    found = (await daemon.get("/ingestion/status")).shape["series"]
    return len(found) == len(SYMBOLS) and all(one["complete"] for one in found)
