"""The clock of a host is stepped under its daemon; the exchange's stays right."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock, SystemClock
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import running, until
from tests.jobfile import entry
from tests.oracle import violations

pytestmark = pytest.mark.once

HOUR = 3_600_000
DAY = 24 * HOUR
SPEED = 60.0  # a minute a second
JOBS = entry("continuous", ("BTCUSD",), ("1m",), schedule="* * * * *") + entry("backfill", ("BTCUSD",), ("1m",))
FIRED = "SELECT count(*) FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id WHERE schedule <> ''"


@pytest.mark.parametrize("step_ms", [2 * HOUR, 3650 * DAY, -HOUR // 2, -DAY], ids=["2h", "10y", "-30min", "-1d"])
async def test_a_clock_that_is_stepped_fires_each_job_once_and_stores_nothing_that_is_open(
    database: str, tmp_path: Path, step_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    """fault_51, fault_52."""
    now_ms = SystemClock().now_ms() - DAY
    right, host = ScaledClock(now_ms, SPEED), ScaledClock(now_ms, SPEED)
    market = synthetic(3, ("BTCUSD",), now_ms - DAY, now_ms + DAY, 0.2)
    connection = await asyncpg.connect(database)

    async def fired(times: int) -> bool:
        return bool(await connection.fetchval(FIRED) >= times)

    try:
        async with (
            RehearsalServer(market, right) as server,
            running(database, tmp_path, server.base_url, host, jobs=JOBS),
        ):
            await until(lambda: fired(3))
            before, began_s = await connection.fetchval(FIRED), time.monotonic()
            host.jump(step_ms / 1000)
            await until(lambda: fired(before + 4))
            await asyncio.sleep(1)
            # One for each minute, the one that was under way, one that is caught up.
            assert await connection.fetchval(FIRED) <= before + time.monotonic() - began_s + 3
            newest = await connection.fetchval("SELECT max(close_time) FROM candles")
            assert newest.timestamp() * 1000 <= right.now_ms()
        ended = await connection.fetch("SELECT job_id, status, error_message FROM market_data_job_runs")
        unwell = [row for row in ended if row["status"] not in ("success", "skipped", "interrupted")]
        # The runs under way, one of each job, may have asked by the wrong time: they say so, and prove nothing.
        assert len(unwell) == len({row["job_id"] for row in unwell}), unwell
        assert await connection.fetchval("SELECT count(*) FROM candle_gaps") == 0
        assert await violations(database) == {}
        assert "clocks differ" in caplog.messages
    finally:
        await connection.close()
