"""The port of a real daemon under attack while it works: it misses nothing, says how it is, and keeps its log short."""

import asyncio
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from marketd.clock import SystemClock
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.processes import ROOT, Marketd, started

pytestmark = pytest.mark.once

DAY = 86_400_000
ATTACK_S = 65  # one whole minute at least begins meanwhile
ANSWER_S = 5
MOST_LINES = 60
PATIENCE = aiohttp.ClientTimeout(total=ANSWER_S)
JOBS = entry("continuous", ("BTCUSD", "ETHUSD"), ("1m",), schedule="* * * * *") + entry(
    "backfill", ("BTCUSD",), ("1m",), start="2024-01-01"
)


@pytest.mark.timeout(180)
async def test_a_daemon_under_attack_misses_nothing(database: str, tmp_path: Path) -> None:
    """fault_10, fault_62, fault_66."""
    clock = SystemClock()
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n')
    market = synthetic(3, ("BTCUSD", "ETHUSD"), clock.now_ms() - 3 * DAY, clock.now_ms() + DAY, 0.2)
    async with RehearsalServer(market, clock) as exchange, started(tmp_path, database, exchange.base_url) as daemon:
        address = (await daemon.said("listening"))["address"]
        await until(daemon.lease_held)
        host, _, port = address.rpartition(":")
        lines, began = len(daemon.lines()), datetime.now().astimezone()
        attack = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.attack", host, port, str(ATTACK_S), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        slowest_s, most_files = await watched(daemon, address, attack)
        came = int((await attack.communicate())[0])
        ended, said = datetime.now().astimezone(), daemon.lines()[lines:]
        assert came > 1000
        assert slowest_s < 3 * ANSWER_S  # within ANSWER_S where nothing else keeps the machine busy
        assert most_files < 64 + 60
        assert len(said) <= MOST_LINES * (ATTACK_S / 60 + 1), said
        await asyncio.sleep(2)
        assert daemon.alive
        assert await missed(database, began, ended) == []


async def watched(daemon: Marketd, address: str, attack: asyncio.subprocess.Process) -> tuple[float, int]:
    """How long the slowest honest look took, its tries included, and how many files the daemon had open."""
    slowest_s, most_files = 0.0, 0
    while attack.returncode is None:
        began_s = time.monotonic()
        await until(lambda: lives(address))
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        most_files = max(most_files, len(os.listdir(f"/proc/{daemon.process.pid}/fd")))
        await asyncio.sleep(1)
    return slowest_s, most_files


async def lives(address: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as http,
            http.get(f"http://{address}/livez") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def missed(dsn: str, began: datetime, ended: datetime) -> list[datetime]:
    """Minutes between for which not both firings were recorded."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT r.scheduled_for, count(*) AS firings FROM market_data_job_runs r "
            "JOIN market_data_jobs j ON j.id = r.job_id WHERE j.job_type = 'continuous' AND r.status <> 'skipped' "
            "GROUP BY 1"
        )
    finally:
        await connection.close()
    found = {row["scheduled_for"]: row["firings"] for row in rows}
    minute, wanted = began.replace(second=0, microsecond=0) + timedelta(minutes=1), []
    while minute < ended:
        wanted.append(minute)
        minute += timedelta(minutes=1)
    assert wanted
    return [minute for minute in wanted if found.get(minute, 0) < 2]
