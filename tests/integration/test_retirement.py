"""Candles that have become old are taken away, and nobody asks for them again."""

import asyncio

import pytest

from marketd import words
from marketd.clock import ScaledClock, SystemClock
from marketd.errors import StoreError
from marketd.model import JobType, RunStatus, Series
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal.faults import Latency, Malformed
from marketd.rehearsal.market import synthetic
from marketd.store.retirement import Retirement, boundary
from tests.command import NOW_MS, Desk, execute
from tests.conftest import BackgroundLoop
from tests.daemons import until
from tests.harness import bench
from tests.roles import login_url

DAY_MS = 86_400_000
START = 1_700_006_400_000
SPAN = ("--start", "2024-02-20", "--end", "2024-02-28")
BTC = Series("bitfinex", "BTCUSD", "1m")
KEPT_MS = NOW_MS // DAY_MS * DAY_MS - 5 * DAY_MS  # 2024-02-25
KEPT_DAYS = (SystemClock().now_ms() - KEPT_MS) // DAY_MS
SETTINGS = f'\n[retention]\ncandles = {{"1m" = {KEPT_DAYS}}}\n[exchanges.bitfinex.derive]\n"5m" = "1m"\n'
MINUTES = "SELECT count(*) FROM candles WHERE timeframe = '1m' AND open_time {} '2024-02-25 00:00+00'"
MADE = "SELECT count(*) FROM candles WHERE timeframe = '5m'"


def test_old_minutes_go_with_what_is_known_of_them(
    desk: Desk, database: str, background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.faults.add(Malformed(how="implausible", candle_ms=KEPT_MS - 3 * DAY_MS + 5 * 60_000))
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "5m", *SPAN)
    desk.clock.jump(7200)
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "5m", *SPAN, "--refetch")  # silences are confirmed
    made = execute(background, database, MADE)[0][0]
    assert made >= 8 * 288 - 10
    old, young = (execute(background, database, MINUTES.format(way))[0][0] for way in ("<", ">="))
    shown = desk("prune", "--dry-run", "--json").json
    assert shown == {"runs": 0, "gaps": 0, "revisions": 0, "candles": old, "dry_run": True}
    with monkeypatch.context() as patched:
        patched.setenv("DATABASE_URL", background.run(login_url(database, "marketd_retain")))
        assert desk("prune").out == f"0 runs, 0 closed gaps, 0 revisions, {words.count(old)} candles are gone\n"
        assert desk("prune", "--json").json["candles"] == 0
    oldest = execute(background, database, "SELECT min(open_time), count(*) FROM candles WHERE timeframe = '1m'")[0]
    assert (f"{oldest[0]:%Y-%m-%d %H:%M}", oldest[1]) == ("2024-02-25 00:00", young)
    assert execute(background, database, MADE)[0][0] == made, "what was built from them stays"
    assert desk("verify").out.startswith("clean: ")
    (gap,) = desk("gaps", "--closed", "--json").json["gaps"]
    assert gap["resolution"] == "not_wanted"

    before = desk.asked
    assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "5m", *SPAN).code == 0
    assert desk.asked - before == 1, "the list of symbols, which tells the time"
    desk.faults.clear()
    assert desk("repair-gaps", "--symbol", "BTCUSD").code == 0
    assert execute(background, database, MADE)[0][0] == made, "a repair builds anew, but not from what is gone"
    assert execute(background, database, "SELECT count(*) FROM candles WHERE timeframe = '1m'")[0][0] == young
    assert desk("verify").out.startswith("clean: ")
    (minutes,) = (row for row in desk("status", "--json").json["series"] if row["timeframe"] == "1m")
    assert (minutes["complete"], minutes["open_gaps"]) == (True, 0)


def test_a_block_goes_as_a_whole() -> None:
    assert boundary(BTC, 10 * DAY_MS) == 10 * 1440
    assert boundary(BTC, 10 * DAY_MS - 1) == 9 * 1440
    assert boundary(BTC._replace(timeframe="1d"), 2000 * DAY_MS) == 1440


async def test_what_was_planned_before_is_refused_and_planned_anew(database: str) -> None:
    """Retention comes while a page is asked for that reaches below its boundary; its candles go later than that."""
    market, clock = synthetic(3, ("BTCUSD",), START, START + 20 * DAY_MS, 0.2), ScaledClock(START + 10 * DAY_MS)
    kept_ms = START + 5 * DAY_MS
    async with bench(database, market, clock, page=1000) as b:
        assert (await b.backfill(BTC, start_ms=START + 6 * DAY_MS)).status is RunStatus.SUCCESS
        asked = b.server.stats.kinds["candles"]
        b.server.faults.add(Latency(delay_s=0.4, asks=("candles",)))

        async def below() -> bool:
            return b.server.stats.kinds["candles"] >= asked + 2

        async with asyncio.TaskGroup() as group:
            order, account = await b.begun(JobType.BACKFILL, BTC)
            running = group.create_task(b.runner.run(order, account))
            await until(below)
            async with b.database.session() as connection:
                await connection.execute("UPDATE market_series SET retired_until = to_timestamp($1)", kept_ms / 1000)
        ((_, error),) = running.result().errors
        assert "what was asked for has been retired meanwhile; nothing of this page was written" in str(error)
        b.server.faults.clear()
        assert (await b.backfill(BTC)).status is RunStatus.SUCCESS
        assert (await b.continuous(BTC)).status is RunStatus.SUCCESS
        first = await b.value("SELECT min(open_time) FROM candles")
        assert first.timestamp() * 1000 >= kept_ms
        assert await Retirement(b.database).retire_all("1m", kept_ms + 2 * DAY_MS, clock.now_ms()) > 1000
        assert await b.violations() == {}
        assert (await b.backfill(BTC)).tally.requests <= 1


async def test_what_is_retired_is_not_built_anew(database: str) -> None:
    market, clock = synthetic(3, ("BTCUSD",), START, START + 20 * DAY_MS, 0.0), ScaledClock(START + 10 * DAY_MS)
    five = BTC._replace(timeframe="5m")
    async with bench(database, market, clock, derived={"5m": "1m"}) as b:
        assert (await b.backfill(five)).status is RunStatus.SUCCESS
        gone = await Retirement(b.database).retire_all("5m", START + 7 * DAY_MS, clock.now_ms())
        assert gone >= 288, "a block is five days"
        left = await b.count(MADE)
        assert (await b.repair(five, by_hand=True)).status is RunStatus.SUCCESS
        assert await b.count(MADE) == left
        assert await b.count("SELECT count(*) FROM candles WHERE timeframe = '1m'") > 9 * 1440, "its parents are kept"
        assert await b.violations() == {}


async def test_a_failure_that_is_noted_after_retention_opens_no_gap_there(database: str) -> None:
    market, clock = synthetic(3, ("BTCUSD",), START, START + 20 * DAY_MS, 0.2), ScaledClock(START + 10 * DAY_MS)
    async with bench(database, market, clock) as b:
        assert (await b.backfill(BTC)).status is RunStatus.SUCCESS
        _, account = await b.begun(JobType.BACKFILL, BTC)
        await Retirement(b.database).retire(BTC, START + 5 * DAY_MS, clock.now_ms())
        kept = boundary(BTC, START + 5 * DAY_MS)
        with pytest.raises(StoreError, match="retired meanwhile"):
            await b.runner.pages.record_failure(
                BTC, Ranges.of((kept - 5, kept + 5)), account.writing(), at_ms=clock.now_ms(), error="no", owe=NOTHING
            )
        assert await b.gaps(BTC) == []
