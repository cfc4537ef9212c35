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
from tests.oracle import violations

HOUR = 3_600_000
DAY = 24 * HOUR
SPEED = 60.0  # a minute a second
JOBS = """
[[jobs]]
exchange = "bitfinex"
symbols = ["BTCUSD"]
timeframes = ["1m"]
job_type = "continuous"
schedule = "* * * * *"
[[jobs]]
exchange = "bitfinex"
symbols = ["BTCUSD"]
timeframes = ["1m"]
job_type = "backfill"
"""
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
        ended = await connection.fetch("SELECT status, error_message FROM market_data_job_runs")
        unwell = [row["error_message"] for row in ended if row["status"] not in ("success", "skipped", "interrupted")]
        # The run under way may have asked by the wrong time: it says so, and proves nothing.
        assert len(unwell) <= 1, unwell
        assert await connection.fetchval("SELECT count(*) FROM candle_gaps") == 0
        assert await violations(database) == {}
        assert "clocks differ" in caplog.messages
    finally:
        await connection.close()
