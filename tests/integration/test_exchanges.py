"""Every exchange end to end: its own wire format over HTTP, the engine, and a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import stamina

from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Exchange, NoTrade, Paging
from marketd.fetcher import Asking
from marketd.model import Claim, RunStatus, Series
from marketd.rehearsal.faults import Faults, Late, Lost, RateLimit
from marketd.rehearsal.market import Market, Window, synthetic
from tests.conformance.direct import StandingClock, decimals
from tests.conformance.spec import SPECS
from tests.harness import Bench, bench

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_700_006_400_000 + 7 * HOUR + 13 * MINUTE  # 2023-11-15T07:13Z: no timeframe begins there
END = START + 36 * HOUR


@dataclass
class Desk:
    """An engine for one exchange, and what is true there."""

    exchange: Exchange
    market: Market
    clock: StandingClock
    faults: Faults
    bench: Bench

    def series(self, timeframe: str = "1m") -> Series:
        return Series(self.exchange.name, self.market.symbols[0], timeframe)

    def truth(self, timeframe: str = "1m", *, since_ms: int = 0) -> list[tuple[Any, ...]]:
        """(open ms, open, close, high, low, volume) of every candle that is closed by now, grace included."""
        frame = self.series(timeframe).frame
        end_ms = frame.open_ms(frame.closed_end(self.clock.now_ms() - int(self.exchange.grace_s * 1000)))
        window = Window(since_ms, end_ms - 1, 10**9, newest_first=False)
        overlay = self.faults.overlay(self.market.symbols[0], self.exchange.timeframes[timeframe])
        rows = self.market.page(self.market.symbols[0], timeframe, window, self.clock.now_ms(), overlay)
        return [decimals(row) for row in rows]

    async def stored(self, timeframe: str = "1m") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.bench.candles(self.series(timeframe))]

    def served_from_ms(self, timeframe: str = "1m") -> int:
        return self.series(timeframe).frame.open_ms(self.bench.runner.fetcher.served(self.series(timeframe)).start)


@pytest.fixture(params=NAMES)
async def desk(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Desk]:
    exchange, clock = EXCHANGES[request.param], StandingClock(END + 10_000)
    market = synthetic(11, [SPECS[exchange.name].symbol], START, START + 30 * DAY, 0.2)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults, name=exchange.name) as made:
        flat = exchange.no_trade is not NoTrade.ABSENT
        yield Desk(exchange, market.filled() if flat else market, clock, faults, made)


async def test_history_is_fetched_to_the_digit_and_followed(desk: Desk) -> None:
    series, reach = desk.series(), desk.exchange.reach
    done = await desk.bench.backfill(series)
    assert (done.status, done.error) == (RunStatus.SUCCESS, None)
    recent = reach is not None or desk.exchange.paging is Paging.RECENT
    since_ms = (await desk.stored())[0][0] if recent else 0
    assert since_ms <= max(desk.served_from_ms(), desk.truth()[0][0])
    truth = desk.truth(since_ms=since_ms)
    assert await desk.stored() == truth
    assert len(truth) > 600
    for _ in range(3):
        desk.clock.ms += 7 * MINUTE + 13_000
        done = await desk.bench.continuous(series)
        assert (done.status, done.error) == (RunStatus.SUCCESS, None)
    assert await desk.stored() == desk.truth(since_ms=truth[0][0])
    assert len(await desk.stored()) > len(truth)
    assert await desk.bench.violations() == {}


async def test_the_first_candle_is_found(desk: Desk) -> None:
    """Of an exchange that serves recent candles only: the day of the first trade, at the earliest."""
    root, facts = await desk.bench.runner.prepare(desk.series(), Asking(desk.bench.runner.fetcher, Claim.ORDER))
    assert root == desk.series()
    first = desk.series().frame.number(desk.truth()[0][0])
    if (desk.exchange.paging is Paging.RECENT and desk.exchange.reach is None) or desk.exchange.reach == 5000:
        assert facts.first is not None
        assert first - 1440 < facts.first <= first
    else:
        assert facts.first == first


async def test_a_market_of_today_has_a_first_candle(desk: Desk) -> None:
    """Its first day is not over: no closed candle of a day shows it."""
    desk.clock.ms = START + 40 * MINUTE
    _, facts = await desk.bench.runner.prepare(desk.series(), Asking(desk.bench.runner.fetcher, Claim.ORDER))
    first = desk.series().frame.number(desk.truth()[0][0])
    recent = desk.exchange.paging is Paging.RECENT and desk.exchange.reach is None
    assert facts.first == (first // 1440 * 1440 if recent else first)
    assert (await desk.bench.backfill(desk.series())).error is None
    assert await desk.stored() == desk.truth()


async def test_hours_and_days_are_those_of_the_exchange_and_weeks_are_built(desk: Desk) -> None:
    for timeframe in ("1h", "1d"):
        assert (await desk.bench.backfill(desk.series(timeframe))).error is None
        assert await desk.stored(timeframe) == desk.truth(timeframe)
    desk.clock.ms = END + 16 * DAY
    assert (await desk.bench.backfill(desk.series("1w"))).error is None
    week = (await desk.stored("1w"))[-1]
    days = [row for row in await desk.stored("1d") if week[0] <= row[0] < week[0] + 7 * DAY]
    assert (len(days), week[1], week[2]) == (7, days[0][1], days[-1][2])
    assert week[5] == sum(row[5] for row in days)
    assert await desk.bench.violations() == {}


async def test_what_was_deleted_comes_back(desk: Desk) -> None:
    series = desk.series()
    assert (await desk.bench.backfill(series)).error is None
    whole = await desk.stored()
    gone = whole[-300:-200]
    async with desk.bench.database.session() as connection:
        await connection.execute(
            "DELETE FROM candles WHERE exchange = $1 AND open_time BETWEEN to_timestamp($2 / 1000.0) "
            "AND to_timestamp($3 / 1000.0)", series.exchange, float(gone[0][0]), float(gone[-1][0]),
        )  # fmt: skip
    assert len(await desk.stored()) == len(whole) - len(gone)
    done = await desk.bench.repair(series)
    assert (done.status, done.error, done.tally.gaps_closed) == (RunStatus.SUCCESS, None, done.tally.gaps_opened)
    assert await desk.stored() == whole
    assert await desk.bench.violations() == {}


async def test_a_hole_is_a_fault_where_candles_are_always_sent_and_else_no_trade(desk: Desk) -> None:
    """A halt of forty minutes two hours ago: asked for again, and believed a day later; or restored, and stored."""
    hole = Lost(start_ms=END - 2 * HOUR, end_ms=END - 2 * HOUR + 40 * MINUTE)
    desk.faults.add(hole)
    series = desk.series()
    assert (await desk.bench.backfill(series)).error is None
    gaps = await desk.bench.gaps(series)
    if desk.exchange.no_trade is NoTrade.ABSENT:
        assert gaps == []
    else:
        (gap,) = gaps
        assert (gap["cause"], gap["repaired_at"]) == ("late", None)
    desk.faults.clear(Lost)
    desk.clock.ms += 2 * HOUR
    assert (await desk.bench.repair(series)).error is None
    assert (await desk.bench.continuous(series)).error is None
    stored = await desk.stored()
    assert stored == desk.truth(since_ms=stored[0][0])
    assert all(gap["repaired_at"] is not None for gap in await desk.bench.gaps(series))
    assert await desk.bench.violations() == {}


async def test_a_halt_that_was_one_is_believed_a_day_later(desk: Desk) -> None:
    desk.faults.add(Lost(start_ms=END - 2 * HOUR, end_ms=END - 2 * HOUR + 40 * MINUTE))
    series = desk.series()
    assert (await desk.bench.backfill(series)).error is None
    reach = desk.exchange.reach or (1440 if desk.exchange.paging is Paging.RECENT else 10**9)
    for _ in range(30):
        desk.clock.ms += HOUR
        assert (await desk.bench.continuous(series)).error is None
        assert (await desk.bench.repair(series)).error is None
    open_gaps = [gap for gap in await desk.bench.gaps(series) if gap["repaired_at"] is None]
    if reach > 36 * 60:
        assert open_gaps == []
    else:  # by then the exchange no longer served those minutes: nobody can say
        (gap,) = open_gaps
        assert "no longer serves" in gap["last_error"]
    assert await desk.bench.violations() == {}


async def test_a_limit_is_heeded_as_the_exchange_tells_it(desk: Desk) -> None:
    """A refusal in the exchange's own words stops everything for as long as it says, and nothing is lost."""
    desk.faults.add(RateLimit(per_minute=1, block_s=7, window_s=3600))
    blocked: list[float] = []
    gate = desk.bench.runner.fetcher.gate
    gate.block = blocked.append  # type: ignore[method-assign,assignment]
    with stamina.set_testing(True, attempts=2):
        done = await desk.bench.backfill(desk.series())
    assert blocked[0] >= 1
    assert done.error is not None
    assert "slow down" in done.error or "refuses this address" in done.error


@pytest.mark.parametrize("late_s", [20.0, 50.0])
async def test_a_candle_that_comes_late_is_not_missed(desk: Desk, late_s: float) -> None:
    series = desk.series()
    assert (await desk.bench.backfill(series)).error is None
    start = (await desk.stored())[0][0]
    desk.faults.add(Late(delay_s=late_s))
    for _ in range(10):
        desk.clock.ms += MINUTE
        assert (await desk.bench.continuous(series)).error is None
    desk.faults.clear()
    desk.clock.ms += 5 * MINUTE
    assert (await desk.bench.continuous(series)).error is None
    assert await desk.stored() == desk.truth(since_ms=start)


@pytest.mark.parametrize("early_ms", [-300, 0, 1_500])
async def test_a_run_on_the_minute_waits_for_the_candle_that_has_just_closed(desk: Desk, early_ms: int) -> None:
    """Else it would be a whole interval late: most schedules fire just when an interval closes."""
    series = desk.series()
    assert (await desk.bench.backfill(series)).error is None
    desk.clock.ms = END + 10 * MINUTE - early_ms
    assert (await desk.bench.continuous(series)).error is None
    assert (await desk.stored())[-1][0] >= END + 9 * MINUTE - 10 * MINUTE * (desk.exchange.no_trade is NoTrade.ABSENT)
    end = await desk.bench.value("SELECT max(marketd_open_time(timeframe, upper(answered))) FROM candle_coverage")
    assert end.timestamp() * 1000 == END + 10 * MINUTE
    assert desk.clock.ms == END + 10 * MINUTE + int(desk.exchange.grace_s * 1000)
