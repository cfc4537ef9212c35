"""Two exchanges, one of which is dead for hours, or hostile: the other one must not notice."""

import asyncio
import itertools
import logging
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.exchanges import EXCHANGES
from marketd.exchanges.bitfinex import EXCHANGE as BITFINEX
from marketd.rehearsal.faults import Hang, ServerError
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import get, running, until
from tests.hostile import WIRES, sending
from tests.jobfile import entry
from tests.oracle import violations

pytestmark = pytest.mark.once

HOUR = 3_600_000
START = 1_700_006_400_000
NOW = START + 48 * HOUR
SPEED = 1200.0
SYMBOLS = ("BTCUSD", "ETHUSD", "LTCUSD")
STEP_MIN = 30

log = logging.getLogger(__name__)


def jobs_of(exchange: str) -> str:
    return (
        entry("continuous", SYMBOLS, ("1m",), exchange=exchange, schedule=f"*/{STEP_MIN} * * * *")
        + entry("backfill", SYMBOLS, ("1m",), exchange=exchange)
        + entry("gap_repair", exchange=exchange, schedule="0 * * * *")
    )


@dataclass(frozen=True)
class Times:
    """Of an exchange and a stretch of its day: how its firings ended, and how long (ms of the host) they took."""

    statuses: tuple[str, ...]
    took_ms: tuple[float, ...]

    @classmethod
    async def of(cls, connection: Any, exchange: str, start_ms: int, end_ms: int) -> "Times":
        rows = await connection.fetch(
            "SELECT r.status, extract(epoch FROM r.completed_at - r.started_at) * 1000 AS took_ms "
            "FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
            "WHERE j.exchange = $1 AND j.job_type = 'continuous' AND r.completed_at IS NOT NULL "
            "AND r.scheduled_for BETWEEN to_timestamp($2::bigint / 1000) AND to_timestamp($3::bigint / 1000)",
            exchange, start_ms, end_ms,
        )  # fmt: skip
        return cls(tuple(row["status"] for row in rows), tuple(float(row["took_ms"]) for row in rows))


async def complete(daemon: Daemon, exchange: str) -> bool:
    """All its series are, and the newest candle of each is an hour old at most."""
    found = [one for one in (await get(daemon, "/ingestion/status"))["series"] if one["exchange"] == exchange]
    return len(found) == len(SYMBOLS) and all(one["complete"] and one["lag_seconds"] < 3600 for one in found)


def know_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exchange in the table of those that are known."""
    monkeypatch.setattr(EXCHANGES, "_names", (*EXCHANGES, "twin"))
    module = SimpleNamespace(EXCHANGE=replace(BITFINEX, name="twin"))
    monkeypatch.setitem(sys.modules, "marketd.exchanges.twin", module)


@pytest.mark.timeout(150)
async def test_an_exchange_that_is_dead_for_hours_costs_the_other_one_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fault_50: silent first, then answering with errors. The second exchange is the first one under another name."""
    know_twin(monkeypatch)
    market, clock = synthetic(3, SYMBOLS, START, START + 9 * 24 * HOUR, 0.2), ScaledClock(NOW, SPEED)
    async with RehearsalServer(market, clock) as well, RehearsalServer(market, clock) as dying:
        (tmp_path / "marketd.toml").write_text(
            f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n'
            f'[exchanges.twin]\nbase_url = "{dying.base_url}"\nrequests_per_minute = 60000\n'
        )

        async def at(hour: float) -> None:
            await asyncio.sleep(max(0.0, (NOW + hour * HOUR - clock.now_ms()) / 1000 / SPEED))

        connection = await asyncpg.connect(database)
        try:
            jobs = jobs_of("bitfinex") + jobs_of("twin")
            async with running(database, tmp_path, well.base_url, clock, jobs=jobs) as daemon:
                await until(lambda: complete(daemon, "bitfinex"))
                await until(lambda: complete(daemon, "twin"))
                died_ms = clock.now_ms()
                hours = (died_ms - NOW) / HOUR
                dying.faults.add(Hang(delay_s=60))
                await at(hours + 4)
                await until(lambda: complete(daemon, "bitfinex"), 5)
                assert not await complete(daemon, "twin")
                dying.faults.clear()
                dying.faults.add(ServerError())
                await at(hours + 8)
                await until(lambda: complete(daemon, "bitfinex"), 5)
                dead_ms = clock.now_ms()
                during = await Times.of(connection, "bitfinex", died_ms, dead_ms - HOUR)
                dead = await Times.of(connection, "twin", died_ms, dead_ms - HOUR)
                assert (await get(daemon, "/livez"))["status"] == "ok"
                dying.faults.clear()
                await until(lambda: complete(daemon, "twin"))
                await at(hours + 12)
                after = await Times.of(connection, "bitfinex", dead_ms, clock.now_ms() - HOUR)
        finally:
            await connection.close()
        assert await violations(database) == {}
    assert set(during.statuses) == {"success"}
    assert len(during.statuses) >= 7 * 60 // STEP_MIN * len(SYMBOLS) - len(SYMBOLS)
    assert "success" not in set(dead.statuses)
    log.info(
        "a run took %.1f ms beside the dead exchange, %.1f ms beside the living one",
        statistics.median(during.took_ms), statistics.median(after.took_ms),
    )  # fmt: skip


@pytest.mark.timeout(150)
async def test_hostile_replies_of_an_exchange_leave_the_lag_of_the_other_one_as_it_is(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fault_46: every kind of them in turn, as fast as it is asked. Series of minutes that are fetched every minute lag
    by one and more: a twentieth of that are three seconds.
    """
    know_twin(monkeypatch)
    market, clock = synthetic(3, SYMBOLS, START, START + 9 * 24 * HOUR, 0.2), ScaledClock(NOW, 60.0)
    kinds, sent = itertools.cycle(WIRES.values()), list[str]()

    def hostile() -> Iterator[bytes]:
        wire = next(kinds)
        sent.append(wire.__name__)
        return wire()

    jobs = entry("continuous", SYMBOLS, ("1m",), schedule="* * * * *")
    async with RehearsalServer(market, clock) as well, sending(hostile) as twin:
        (tmp_path / "marketd.toml").write_text(
            f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n'
            f'[exchanges.twin]\nbase_url = "{twin}"\nrequests_per_minute = 60000\n'
        )
        connection = await asyncpg.connect(database)
        try:
            async with running(database, tmp_path, well.base_url, clock, jobs=jobs) as daemon:
                await until(lambda: complete(daemon, "bitfinex"))
                calm_ms = clock.now_ms()
                await clock.sleep(600)
                (tmp_path / "jobs.toml").write_text(jobs + jobs_of("twin"))
                daemon.reload()

                async def met_all() -> bool:
                    return set(sent) == set(WIRES) and clock.now_ms() > hostile_ms + 15 * 60_000

                hostile_ms = clock.now_ms()
                await until(met_all, 90)
                end_ms = clock.now_ms()
                assert (await get(daemon, "/livez"))["status"] == "ok"
            calm = await Times.of(connection, "bitfinex", calm_ms, hostile_ms)
            beside = await Times.of(connection, "bitfinex", hostile_ms, end_ms)
        finally:
            await connection.close()
    took_ms, calm_took_ms = statistics.mean(beside.took_ms), statistics.mean(calm.took_ms)
    log.info("a run took %.1f ms beside %d hostile replies, %.1f ms before", took_ms, len(sent), calm_took_ms)
    assert set(beside.statuses) <= {"success", "interrupted", "skipped"}
    assert beside.statuses.count("skipped") <= len(beside.statuses) // 4, "a crowded host may not be through in time"
    assert len(beside.statuses) >= ((end_ms - hostile_ms) // 60_000 - 2) * len(SYMBOLS)
    assert took_ms - calm_took_ms < 3000
    assert await violations(database) == {}
