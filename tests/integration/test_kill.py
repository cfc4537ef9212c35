"""SIGKILL at any moment, then again from the start: same state, and stored pages are not asked for again."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import ScaledClock, ms_of
from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import NoTrade
from marketd.rehearsal.market import Market, Overlay, Window, synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.conformance.direct import decimals
from tests.conformance.spec import SPECS
from tests.oracle import violations

DAY = 86_400_000
START = 1_700_006_400_000
PAGE = 250
MONTH = 31 * DAY // 60_000
ROOT = Path(__file__).parents[2]


async def command(
    dsn: str, base_url: str, *arguments: str, exchange: str = "bitfinex", more: Mapping[str, str] | None = None
) -> Process:
    settings = f"MARKETD_EXCHANGES__{exchange.upper()}__"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARKETD_")},
        "DATABASE_URL": dsn,
        f"{settings}BASE_URL": base_url,
        f"{settings}REQUESTS_PER_MINUTE": "60000",
        f"{settings}PAGE_LIMIT": str(PAGE),
        **(more or {}),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketd", *arguments, env=environ, cwd=ROOT, stdout=DEVNULL, stderr=PIPE
    )


async def died_after(process: Process, server: RehearsalServer, requests: int, delay_s: float) -> bool:
    """Kill ``process`` a moment after the exchange was asked ``requests`` times; False when it ended before."""
    while server.stats.requests < requests and process.returncode is None:  # noqa: ASYNC110  (it is another process)
        await asyncio.sleep(0.001)
    await asyncio.sleep(delay_s)
    if process.returncode is not None:
        return False
    process.send_signal(signal.SIGKILL)
    await process.wait()
    return True


@pytest.mark.timeout(180)
async def test_killed_again_and_again_a_backfill_ends_in_the_same_state(database: str) -> None:
    """fault_1, fault_15."""
    chance = random.Random(4)
    market, clock = synthetic(5, ("BTCUSD",), START, START + 20 * DAY, 0.2), ScaledClock(START + 10 * DAY + 10_000)
    order = ("backfill", "--symbol", "BTCUSD", "--timeframe", "1m")
    connection = await asyncpg.connect(database)
    try:
        async with RehearsalServer(market, clock) as server:
            kills = 0
            for requests in range(2, 8):
                process = await command(database, server.base_url, *order)
                killed = await died_after(process, server, requests + server.stats.requests, chance.random() * 0.04)
                # The lease of the dead would be waited for: let its time pass.
                await connection.execute("UPDATE exchange_leases SET expires_at = now()")
                assert set(await violations(database)) <= {"i12_orphans"}
                kills += killed
                if not killed:
                    break
            assert kills >= 5
            process = await command(database, server.base_url, *order)
            _, said = await process.communicate()
            assert process.returncode == 0, said.decode()
            rows = await connection.fetchval("SELECT count(*) FROM candles")
            truth = len(await asyncio.to_thread(_truth, market, clock))
            assert rows == truth
            assert server.stats.kinds["candles"] <= -(-rows // (PAGE - 2)) + 1 + 2 * kills
            assert await connection.fetchval("SELECT count(*) FROM market_data_job_runs WHERE status = 'running'") == 0
            statuses = await connection.fetchval("SELECT array_agg(DISTINCT status) FROM market_data_job_runs")
            assert set(statuses) <= {"success", "interrupted"}
    finally:
        await connection.close()


def _truth(market: Market, clock: ScaledClock) -> list[bytes]:
    closed = (clock.now_ms() - 5000) // 60_000 * 60_000 - 1
    return market.page("BTCUSD", "1m", Window(START, closed, 10**9, False), clock.now_ms(), Overlay())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "bitfinex"])
async def test_killed_again_and_again_every_exchange_ends_in_its_truth(database: str, name: str) -> None:
    """Whatever its paging: nothing is lost, twice, or made up between the first stored candle and the last one."""
    chance, symbol = random.Random(name), SPECS[name].symbol
    market, clock = synthetic(6, (symbol,), START, START + 20 * DAY, 0.2), ScaledClock(START + 2 * DAY + 10_000)
    order = ("backfill", "--exchange", name, "--symbol", symbol, "--timeframe", "1m")
    connection = await asyncpg.connect(database)
    try:
        async with RehearsalServer(market, clock, dialect=name) as server:
            kills = 0
            for requests in (2, 6, 7):
                process = await command(database, server.base_url, *order, exchange=name)
                kills += await died_after(process, server, requests + server.stats.requests, chance.random() * 0.04)
                await connection.execute("UPDATE exchange_leases SET expires_at = now()")
                assert set(await violations(database)) <= {"i12_orphans"}
            process = await command(database, server.base_url, *order, exchange=name)
            _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert kills >= 1
        stored = await connection.fetch(_STORED)
        filled = market if EXCHANGES[name].no_trade is NoTrade.ABSENT else market.filled()
        window = Window(stored[0]["opens"], stored[-1]["opens"], 10**9, newest_first=False)
        rows = await asyncio.to_thread(filled.page, symbol, "1m", window, clock.now_ms(), Overlay())
        assert [tuple(row) for row in stored] == [decimals(row) for row in rows]
        assert len(stored) > 650
        assert await violations(database) == {}
    finally:
        await connection.close()


@pytest.mark.timeout(120)
async def test_killed_again_and_again_a_backfill_from_an_archive_ends_in_the_truth(database: str) -> None:
    """A month comes in several pages: what was stored of one that was begun is finished by requests."""
    chance = random.Random(8)
    start, now = ms_of(datetime(2024, 11, 29, tzinfo=UTC)), ms_of(datetime(2025, 2, 5, tzinfo=UTC))
    market, clock = synthetic(8, ("BTCUSDT",), start, now + DAY, 0.2).filled(), ScaledClock(now)
    order = ("backfill", "--exchange", "binance", "--symbol", "BTCUSDT", "--timeframe", "1m", "--oldest-first")
    connection = await asyncpg.connect(database)
    try:
        async with RehearsalServer(market, clock, dialect="binance") as server:
            address = {"MARKETD_EXCHANGES__BINANCE__ARCHIVE_URL": server.base_url}
            killed_with: list[int] = []
            for _ in range(5):
                process = await command(database, server.base_url, *order, exchange="binance", more=address)
                before = server.stats.kinds["archive"]
                while server.stats.kinds["archive"] < before + 2 and process.returncode is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                if await died_after(process, server, 0, chance.random() * 0.6):
                    killed_with.append(await connection.fetchval("SELECT count(*) FROM candles"))
                await connection.execute("UPDATE exchange_leases SET expires_at = now()")
                assert set(await violations(database)) <= {"i12_orphans"}
            process = await command(database, server.base_url, *order, exchange="binance", more=address)
            _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert any(0 < count < 2 * MONTH for count in killed_with), killed_with
        window = Window(start, now - 60_000, 10**9, newest_first=False)
        rows = await asyncio.to_thread(market.page, "BTCUSDT", "1m", window, clock.now_ms(), Overlay())
        stored = await connection.fetch(_STORED)
        assert [tuple(row) for row in stored][: len(rows)] == [decimals(row) for row in rows]
        assert await violations(database) == {}
    finally:
        await connection.close()


_STORED = """
SELECT (extract(epoch FROM open_time) * 1000)::bigint AS opens, open, close, high, low, volume FROM candles ORDER BY 1
"""
