"""The daemon, whole: jobs from file and table, the clock moving, damage done under it, nobody helping."""

import asyncio
import re
from pathlib import Path

import aiohttp
import asyncpg

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.rehearsal.faults import Faults, Lost
from marketd.rehearsal.market import recorded, synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import get, running, until
from tests.jobfile import entry
from tests.oracle import violations

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_006_400_000
RECORDED = 1_370_320_000_000  # a day into the small recordings, and well into the large ones
SPEED = 600.0
HOURLY = entry("continuous", ("BTCUSD",), ("1h",), schedule="0 * * * *")


async def test_three_series_are_kept_fresh_repaired_and_a_fourth_is_backfilled(
    database: str, tmp_path: Path, recorded_data: Path
) -> None:
    market, clock = recorded(recorded_data), ScaledClock(RECORDED, SPEED)
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            running(database, tmp_path, server.base_url, clock) as daemon,
        ):
            await until(lambda: _accounted(daemon, 3))
            before = await connection.fetchval("SELECT count(*) FROM candles WHERE timeframe = '1m'")
            deleted = await connection.execute(
                "DELETE FROM candles WHERE timeframe = '1m' AND extract(minute FROM open_time) IN (7, 8, 30)"
            )
            assert int(deleted.split()[1]) > 20
            await until(lambda: _at_least(connection, before))
            await connection.execute(
                "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule) VALUES "
                "('bitfinex', 'LTCUSD', '1m', 'continuous', '*/5 * * * *'), "
                "('bitfinex', 'LTCUSD', '1m', 'backfill', NULL)"
            )
            daemon.reload()
            await until(lambda: _accounted(daemon, 4))
            metrics = await get(daemon, "/metrics")
            assert 'marketd_runs_total{job_type="backfill",outcome="success"}' in metrics
            for shown in (
                "pages_total.*stored",
                "scheduler_turn_duration_seconds_count",
                "pool_connections_max.*pages",
            ):
                assert re.search(rf"^marketd_{shown}\S* [1-9]", metrics, re.MULTILINE), shown
            status = await get(daemon, "/ingestion/status?exchange=bitfinex&symbol=LTCUSD&timeframe=1m")
            assert status["candles_count"] > 100
            assert (await get(daemon, "/health"))["status"] == "ok"
            assert (await get(daemon, "/livez"))["status"] == "ok"
            types = {job["job_type"] for job in (await get(daemon, "/jobs"))["jobs"]}
            assert types == {"continuous", "backfill", "gap_repair"}
        statuses = await connection.fetch("SELECT status, count(*) FROM market_data_job_runs GROUP BY status")
        assert {row["status"] for row in statuses} <= {"success", "interrupted", "skipped"}
        assert await violations(database) == {}
    finally:
        await connection.close()


async def _accounted(daemon: Daemon, series: int) -> bool:
    """Fresh, and nothing owed."""
    found = (await get(daemon, "/ingestion/status"))["series"]
    return await _nothing_owed(daemon, series) and all(
        one["lag_seconds"] is not None and one["lag_seconds"] <= one["freshness_objective_seconds"] for one in found
    )


async def _nothing_owed(daemon: Daemon, series: int) -> bool:
    """Nothing unknown, nothing owed but silences that are not believed yet."""
    found = (await get(daemon, "/ingestion/status"))["series"]
    return len(found) == series and all(
        one["candles_count"] > 0
        and one["unknown_intervals"] == 0
        and sum(one["missing_intervals"].values()) == one["missing_intervals"]["suspect"]
        for one in found
    )


async def _complete(daemon: Daemon, series: int) -> bool:
    found = (await get(daemon, "/ingestion/status"))["series"]
    return len(found) == series and all(one["complete"] for one in found)


async def _at_least(connection: "asyncpg.Connection[asyncpg.Record]", rows: int) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM candles WHERE timeframe = '1m'") >= rows)


async def test_a_stop_ends_within_the_drain_and_the_next_start_goes_on(database: str, tmp_path: Path) -> None:
    """fault_2."""
    market = synthetic(3, ("BTCUSD",), START, START + 40 * DAY, 0.2)
    clock = ScaledClock(START + 30 * DAY, 1.0)
    async with RehearsalServer(market, clock) as server:
        for _ in range(2):
            async with running(database, tmp_path, server.base_url, clock) as daemon:
                await until(lambda: _complete(daemon, 3))
        asked = dict(server.stats.series)
    assert asked["BTCUSD 1m"] <= 30 * 1440 // 10_000 + 5


async def test_what_a_stop_has_missed_is_caught_up_even_where_the_jobs_are_read_late(
    database: str, tmp_path: Path
) -> None:
    """fault_54."""
    market, clock = synthetic(3, ("BTCUSD",), START, START + 9 * DAY, 0.2), ScaledClock(START + 2 * DAY - 5000)
    connection = await asyncpg.connect(database)
    try:
        async with RehearsalServer(market, clock) as server:
            async with running(database, tmp_path, server.base_url, clock, jobs=HOURLY):
                await until(lambda: _runs_at(connection, START + 2 * DAY))
            clock.jump(2.1 * 3600)
            late = connection.transaction()
            await late.start()
            await connection.execute("LOCK TABLE exchange_pauses")
            async with running(database, tmp_path, server.base_url, clock, jobs=HOURLY) as daemon:
                await asyncio.sleep(2)
                await late.rollback()
                await until(lambda: _runs_at(connection, START + 2 * DAY + 2 * HOUR), 20)
                metrics = await get(daemon, "/metrics")
                assert 'marketd_firings_total{job_type="continuous",outcome="late"} 1.0' in metrics
    finally:
        await connection.close()


async def _runs_at(connection: "asyncpg.Connection[asyncpg.Record]", due_ms: int) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM market_data_job_runs WHERE scheduled_for = to_timestamp($1)", due_ms / 1000
        )
    )


async def test_it_stays_up_and_answers_while_the_database_is_away(tmp_path: Path, unused_tcp_port: int) -> None:
    """fault_14."""
    clock = ScaledClock(START)
    nowhere = f"postgresql://marketd@127.0.0.1:{unused_tcp_port}/marketd"
    async with running(nowhere, tmp_path, "http://127.0.0.1:9/v2", clock) as daemon, aiohttp.ClientSession() as session:
        assert 'marketd_lease_held{exchange="bitfinex"} 0.0' in await get(daemon, "/metrics")
        codes = {}
        for path in ("/livez", "/readyz", "/health", "/ingestion/status?exchange=bitfinex&symbol=BTCUSD&timeframe=1m"):
            async with session.get(f"http://{daemon.address}{path}") as reply:
                codes[path.partition("?")[0]] = reply.status
        assert codes == {"/livez": 200, "/readyz": 503, "/health": 503, "/ingestion/status": 200}


async def test_a_range_that_the_exchange_lost_and_restored_is_filled_without_an_order(
    database: str, tmp_path: Path
) -> None:
    """fault_48."""
    market = synthetic(3, ("BTCUSD",), START, START + 40 * DAY, 0.2)
    clock = ScaledClock(START + 2 * DAY, 3600.0)
    faults = Faults(clock)
    lost = (START + DAY, START + DAY + 4 * HOUR)
    faults.add(Lost(start_ms=lost[0], end_ms=lost[1], restored_at_ms=clock.now_ms() + DAY // 2))
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock, faults) as server,
            running(database, tmp_path, server.base_url, clock) as daemon,
        ):
            await until(lambda: _nothing_owed(daemon, 3))  # an hour is a second here: freshness would be luck
            assert await _minutes_within(connection, *lost) == 0
            await until(lambda: _minutes_within(connection, *lost), 50)
        assert await _minutes_within(connection, *lost) > 100
        assert await connection.fetchval("SELECT count(*) FROM market_data_jobs WHERE origin = 'order'") == 0
    finally:
        await connection.close()


async def _minutes_within(connection: "asyncpg.Connection[asyncpg.Record]", start_ms: int, end_ms: int) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM candles WHERE timeframe = '1m' AND open_time >= to_timestamp($1 / 1000.0) "
            "AND open_time < to_timestamp($2 / 1000.0)",
            float(start_ms),
            float(end_ms),
        )
    )
