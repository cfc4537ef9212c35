"""Symbols that the exchange does not know, or no longer: their jobs say why, all others go on, nobody is pestered."""

from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.rehearsal.faults import Delisted, Faults
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import running, until
from tests.jobfile import entry
from tests.oracle import violations

pytestmark = pytest.mark.once

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_006_400_000
SPEED = 2400.0
JOBS = (
    entry("continuous", ("BTCUSD", "ETHUSD", "NOSUCH"), ("1m",), schedule="*/5 * * * *")
    + entry("backfill", ("BTCUSD", "ETHUSD", "NOSUCH"), ("1m",))
    + entry("gap_repair", schedule="0 * * * *")
)
ENDED = """
SELECT symbol, job_type, r.status, error_message, count(*) AS runs, sum(requests) AS requests
FROM market_data_jobs j JOIN market_data_job_runs r ON r.job_id = j.id
WHERE symbol IS NOT NULL AND r.status NOT IN ('running', 'skipped', 'interrupted') GROUP BY 1, 2, 3, 4
"""


async def test_a_symbol_that_is_unknown_or_gone_is_said_and_costs_its_siblings_nothing(
    database: str, tmp_path: Path
) -> None:
    """fault_49."""
    clock = ScaledClock(START + 2 * DAY, SPEED)
    market, faults = synthetic(3, ("BTCUSD", "ETHUSD"), START, START + 9 * DAY, 0.2), Faults(clock)
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock, faults) as server,
            running(database, tmp_path, server.base_url, clock, jobs=JOBS),
        ):
            await until(lambda: answered(connection, "ETHUSD", START + 2 * DAY))
            faults.add(Delisted(symbols=("ETHUSD",), candles=False))
            gone_ms = clock.now_ms()
            await until(lambda: answered(connection, "BTCUSD", gone_ms + 3 * HOUR))
            ended = await connection.fetch(ENDED)
            passed_h = (clock.now_ms() - START - 2 * DAY) // HOUR
        reasons = {row["symbol"]: row["error_message"] for row in ended if row["status"] == "failed"}
        assert reasons == {
            "NOSUCH": "bitfinex NOSUCH 1m: bitfinex does not list NOSUCH",
            "ETHUSD": "bitfinex ETHUSD 1m: Bitfinex does not know this symbol",
        }
        assert {row["status"] for row in ended if row["symbol"] == "BTCUSD"} == {"success"}
        failed = [row for row in ended if row["status"] == "failed"]
        assert all(row["requests"] <= row["runs"] for row in failed), "each run asks once"
        # At once, then after 1, 5, 15 and 60 minutes, and each hour from then on; the unknown one was there before.
        assert all(row["runs"] <= 5 + passed_h for row in failed if row["job_type"] == "backfill"), failed
        assert await connection.fetchval("SELECT count(*) FROM candle_gaps") == 0
        assert await violations(database) == {}
    finally:
        await connection.close()


async def answered(connection: "asyncpg.Connection[asyncpg.Record]", symbol: str, until_ms: int) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT max(marketd_open_time(timeframe, upper(answered))) >= to_timestamp($2 / 1000.0) "
            "FROM candle_coverage WHERE symbol = $1",
            symbol, float(until_ms),
        )
    )  # fmt: skip
