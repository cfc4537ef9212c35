"""The time zone of the host changes nothing of what is stored."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock, ms_of
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.canary import unseen
from tests.conftest import migrated_database
from tests.oracle import violations

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
# From here to there: a 29th of February, a month, and the days on which these zones change their clocks.
FIRST, NOW = datetime(2024, 2, 27, tzinfo=UTC), datetime(2024, 4, 9, 0, 0, 20, tzinfo=UTC)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Europe/London")
FRAMES = ("1h", "1d", "1w", "1M")
STORED = """
SELECT timeframe, count(*), md5(string_agg(concat_ws(',', extract(epoch FROM open_time), extract(epoch FROM close_time),
    open, high, low, close, volume), ';' ORDER BY open_time)) FROM candles GROUP BY timeframe
UNION ALL
SELECT timeframe, count(*), md5(string_agg(concat_ws(',', block, answered, empty_once, stored), ';' ORDER BY block))
FROM candle_coverage GROUP BY timeframe ORDER BY 1, 2, 3
"""


@pytest.mark.timeout(120)
async def test_every_zone_of_the_host_stores_the_same(server: str) -> None:
    """fault_55."""
    market, clock = synthetic(3, ("BTCUSD",), ms_of(FIRST), ms_of(NOW), 0.97), ScaledClock(ms_of(NOW))
    async with RehearsalServer(market, clock) as exchange, asyncio.TaskGroup() as group:
        tasks = {zone: group.create_task(stored_in(zone, server, exchange.base_url)) for zone in ZONES}
    found = {zone: task.result() for zone, task in tasks.items()}
    assert {row[:2] for row in found["UTC"]} >= {("1M", 2), ("1d", 42), ("1w", 6)}
    assert {zone: rows for zone, rows in found.items() if rows != found["UTC"]} == {}


async def stored_in(zone: str, server: str, base_url: str) -> Sequence[tuple[str, int, str]]:
    """What a backfill of a host in ``zone`` leaves in a database of its own: of each table a line a timeframe."""
    async with migrated_database(server) as dsn:
        words = [word for frame in FRAMES for word in ("--timeframe", frame)]
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MARKETD_")},
            "TZ": zone,
            "PGTZ": zone,
            "DATABASE_URL": dsn,
            "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url,
            "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "60000",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "marketd", "backfill", "--symbol", "BTCUSD", *words, "--start", "2024-02-27",
            env=environ, cwd=ROOT, stdout=DEVNULL, stderr=PIPE,
        )  # fmt: skip
        _, said = await process.communicate()
        assert process.returncode == 0, unseen(said.decode())
        assert await violations(dsn) == {}
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(STORED)]
        finally:
            await connection.close()
