"""A simulated day of two daemons on one database: each firing once, each request once, and two changes of the guard."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby, pairwise
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.rehearsal.market import Market, synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import get, running, until
from tests.oracle import violations
from tests.wire import Wire

pytestmark = pytest.mark.once

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_006_400_000
SPEED = 2400.0
CLEAN_S, HARD_S = 5, 30  # of the host, within which another one has the exchange
HOLE_S = 5  # of the host, within which a job must fire again: slots that a busy host misses are one
JOBS = """
[[jobs]]
exchange = "bitfinex"
symbols = ["BTCUSD"]
timeframes = ["1m"]
job_type = "continuous"
schedule = "* * * * *"
freshness_s = 14400

[[jobs]]
exchange = "bitfinex"
symbols = ["ETHUSD"]
timeframes = ["1m", "1h"]
job_type = "continuous"
schedule = "*/5 * * * *"
freshness_s = 14400

[[jobs]]
exchange = "bitfinex"
symbols = ["BTCUSD", "ETHUSD"]
timeframes = ["1m"]
job_type = "backfill"

[[jobs]]
exchange = "bitfinex"
job_type = "gap_repair"
schedule = "0 * * * *"
"""

log = logging.getLogger(__name__)


@dataclass
class Day:
    """The two (and a third) daemons of the day; each asks an exchange of its own, so that whoever asks is known."""

    dsn: str
    folder: Path
    market: Market
    clock: ScaledClock
    connection: "asyncpg.Connection[asyncpg.Record]"
    exchanges: dict[str, RehearsalServer] = field(default_factory=dict)

    @asynccontextmanager
    async def daemon(self, name: str) -> AsyncIterator[tuple[Daemon, Wire]]:
        async with (
            Wire(self.dsn).laid() as wire,
            RehearsalServer(self.market, self.clock) as exchange,
            running(wire.dsn, self.folder, exchange.base_url, self.clock, jobs=JOBS, name=name) as daemon,
        ):
            self.exchanges[name] = exchange
            yield daemon, wire

    def asked(self, name: str) -> int:
        return self.exchanges[name].stats.requests

    async def until(self, hour: float) -> None:
        async def then() -> bool:
            return self.clock.now_ms() >= START + 2 * DAY + hour * HOUR

        await until(then)


async def holds(daemon: Daemon) -> bool:
    return 'marketd_lease_held{exchange="bitfinex"} 1.0' in await get(daemon, "/metrics")


async def stands_by(daemon: Daemon) -> None:
    async def well() -> bool:
        return [(await get(daemon, path))["status"] for path in ("/readyz", "/livez")] == ["ok", "ok"]

    await until(well, 10)
    assert 'marketd_lease_held{exchange="bitfinex"} 0.0' in await get(daemon, "/metrics")


async def complete(daemon: Daemon) -> bool:
    found = (await get(daemon, "/ingestion/status"))["series"]
    return len(found) == 3 and all(one["complete"] for one in found)


@pytest.mark.timeout(150)
async def test_each_firing_and_each_request_of_a_day_is_made_once(database: str, tmp_path: Path) -> None:
    """fault_29."""
    market = synthetic(3, ("BTCUSD", "ETHUSD"), START, START + 9 * DAY, 0.2)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n[engine]\ndrain_s = 1\n'
    )
    connection = await asyncpg.connect(database)
    try:
        day = Day(database, tmp_path, market, ScaledClock(START + 2 * DAY, SPEED), connection)
        async with AsyncExitStack() as stack:
            await two_changes_of_the_guard(day, stack)
        assert await violations(database) == {}
        await each_firing_once(day)
        await each_request_once(day)
    finally:
        await connection.close()


async def two_changes_of_the_guard(day: Day, stack: AsyncExitStack) -> None:
    async with AsyncExitStack() as first_watch:
        first, _ = await first_watch.enter_async_context(day.daemon("first"))
        await until(lambda: holds(first))
        second, wire = await stack.enter_async_context(day.daemon("second"))
        await day.until(9)
        await stands_by(second)
        assert day.asked("second") == 0
    clean_s, asked = await handed_over(second), day.asked("first")
    third, _ = await stack.enter_async_context(day.daemon("third"))
    await day.until(14)
    await stands_by(third)
    assert (day.asked("first"), day.asked("third")) == (asked, 0)
    wire.cut()  # dead, as far as anybody can see: its lease is left to expire, its runs stay open
    second.stop()
    hard_s, asked = await handed_over(third), day.asked("second")
    log.info("taken over after a stop in %.1f s, after a death in %.1f s", clean_s, hard_s)
    assert (clean_s < CLEAN_S, hard_s < HARD_S) == (True, True), (clean_s, hard_s)
    await day.until(26)
    await until(lambda: complete(third))
    assert day.asked("second") == asked


async def handed_over(daemon: Daemon) -> float:
    """Until ``daemon`` holds the exchange; returns for how many seconds, of the host, that took."""
    began_s = time.monotonic()
    await until(lambda: holds(daemon), HARD_S)
    return time.monotonic() - began_s


async def each_firing_once(day: Day) -> None:
    """Each slot has one row, by whoever held the exchange then; none is left out for long, nor left running."""
    rows = await day.connection.fetch(
        "SELECT r.job_id, r.scheduled_for, r.epoch, r.status, j.schedule FROM market_data_job_runs r "
        "JOIN market_data_jobs j ON j.id = r.job_id WHERE j.job_type = 'continuous' ORDER BY r.job_id, r.scheduled_for"
    )
    assert {row["epoch"] for row in rows} == {1, 2, 3}
    assert "running" not in {row["status"] for row in rows}
    change_s = {1: 0, 2: CLEAN_S, 3: HARD_S}
    for _, each in groupby(rows, lambda row: row["job_id"]):
        for before, after in pairwise(each):
            assert before["scheduled_for"] < after["scheduled_for"]
            assert before["epoch"] <= after["epoch"], "fired by a holder that had lost the exchange"
            hole_s = HOLE_S + (change_s[after["epoch"]] if before["epoch"] < after["epoch"] else 0)
            assert after["scheduled_for"] - before["scheduled_for"] <= timedelta(seconds=hole_s * SPEED)
    steps = {"* * * * *": 60, "*/5 * * * *": 300}
    assert all(row["scheduled_for"].timestamp() % steps[row["schedule"]] == 0 for row in rows)


async def each_request_once(day: Day) -> None:
    """No more than one daemon would need: a request for each run that had work, a few to begin with; and the list of
    symbols every hour.
    """
    row = await day.connection.fetchrow(
        "SELECT sum(requests) AS requests, count(*) FILTER (WHERE status <> 'skipped') AS worked, "
        "count(*) FILTER (WHERE status = 'interrupted') AS interrupted FROM market_data_job_runs"
    )
    assert row is not None
    asked = sum(day.asked(name) for name in day.exchanges)
    asked -= sum(server.stats.kinds["symbols"] for server in day.exchanges.values())
    assert asked <= row["worked"] + 5 * len(day.exchanges)
    assert asked <= row["requests"] + row["interrupted"] + 2 * len(day.exchanges), "asked, but for no run"
