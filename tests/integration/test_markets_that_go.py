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

IDLE = "SELECT symbol, job_type, last_error FROM market_data_jobs WHERE status = 'idle'"
TOLD = {
    ("ETHUSD", "backfill"): "bitfinex does not list ETHUSD; did you mean BTCUSD?",
    ("ETHUSD", "continuous"): "bitfinex does not list ETHUSD; did you mean BTCUSD?",
    ("NOSUCH", "backfill"): "bitfinex does not list NOSUCH",
    ("NOSUCH", "continuous"): "bitfinex does not list NOSUCH",
}
STORED = "SELECT count(*) FROM candles WHERE symbol = 'ETHUSD'"


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
            await until(lambda: told(connection))
            ended = await connection.fetch(ENDED)
            before = await connection.fetchval(STORED)
            faults.clear(Delisted)
            back_ms = clock.now_ms()
            await until(lambda: answered(connection, "ETHUSD", back_ms))
            back = await connection.fetchval(STORED)
        failed = [row for row in ended if row["status"] == "failed"]
        assert {row["symbol"] for row in failed} <= {"NOSUCH", "ETHUSD"}
        # What fails makes the daemon look at the list, for which it waits its turn; then nothing is asked for.
        assert sum(row["runs"] for row in failed) < 60, failed
        # Each run asks once, but the one that was under way when ETHUSD went, which has had its answers before, and
        # the very first of all, which asks for the list of symbols.
        assert all(row["requests"] <= row["runs"] + 1 for row in failed), failed
        assert sum(row["requests"] - row["runs"] for row in failed) <= 2, failed
        assert {row["status"] for row in ended if row["symbol"] == "BTCUSD"} == {"success"}
        assert back > before
        assert await connection.fetchval("SELECT count(*) FROM candle_gaps") == 0
        assert await violations(database) == {}
    finally:
        await connection.close()


async def told(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether every job of what is not listed says so; after six hours it is tried again, and says it again."""
    return {(row["symbol"], row["job_type"]): row["last_error"] for row in await connection.fetch(IDLE)} == TOLD


async def answered(connection: "asyncpg.Connection[asyncpg.Record]", symbol: str, until_ms: int) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT max(marketd_open_time(timeframe, upper(answered))) >= to_timestamp($2 / 1000.0) "
            "FROM candle_coverage WHERE symbol = $1",
            symbol, float(until_ms),
        )
    )  # fmt: skip
