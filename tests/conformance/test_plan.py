"""What a plan says is what is then sent.

``MARKETD_PLAN_DAYS`` asks for a longer history than the few days of every run: 730 takes some minutes.
"""

import os

import pytest

from marketd import planner
from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Paging
from marketd.model import Series
from marketd.planner import Edges, Walk
from marketd.ranges import Ranges
from marketd.rehearsal.market import synthetic
from tests.conformance.direct import MINUTE_MS, stall
from tests.conformance.spec import SPECS

DAYS = int(os.environ.get("MARKETD_PLAN_DAYS", "5"))
END = 28_324_800  # a minute, 2023-11-09T00:00Z


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in NAMES if EXCHANGES[name].paging is not Paging.FILLED])
async def test_a_backfill_sends_just_as_many_requests_as_were_planned(name: str) -> None:
    exchange, start = EXCHANGES[name], END - DAYS * 1440
    market = synthetic(5, [SPECS[name].symbol], (start - 1000) * MINUTE_MS, (END + 1000) * MINUTE_MS, 0.1)
    at = stall(name, (), END * MINUTE_MS + 10_000, source=market.source)
    series, page = Series(name, at.symbol, "1m"), exchange.page_limits[0] - planner.ANCHORS
    remaining = Ranges.of((start, END)) & at.fetcher.served(series)
    asked = exchange.candles_request(at.symbol, "1m", 0, page * MINUTE_MS, False, page)
    plan = planner.estimate(series, remaining, page=page, per_minute=exchange.requests_per_minute, weight=asked.weight)
    walk, edges = Walk(series, remaining, page, counted=True), Edges()
    while walk.current is not None:
        ask = planner.next_ask(walk, edges)
        assert ask is not None
        answer = await at.asking.answer(ask)
        walk = planner.after(walk, answer)
        edges = planner.edges_after(edges, answer, walk) or Edges()
    if exchange.paging is Paging.RECENT and exchange.reach is None:  # how much is served shows with the first page
        assert len(at.counter.candle_asks()) <= 2 <= plan.requests
    else:
        assert len(at.counter.candle_asks()) == plan.requests
    assert at.passed <= plan.requests * asked.weight
    print(f"{name}: {plan.intervals} intervals, {plan.requests} requests, {plan.seconds / 60:.1f} minutes")
