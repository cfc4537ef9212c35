"""Whatever the exchange, the answers together are the truth: nothing is lost at an edge, asked twice, or made up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd import planner
from marketd.beginning import first_candle
from marketd.blocks import BLOCK
from marketd.errors import ExchangeError
from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Paging, Reply, Request
from marketd.model import Answer, Series
from marketd.planner import Walk
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal.dialect import Dialect
from marketd.rehearsal.dialects.bybit import Bybit
from marketd.rehearsal.dialects.coinbase import Coinbase
from marketd.rehearsal.dialects.gate import Gate
from marketd.rehearsal.dialects.gemini import Gemini
from marketd.rehearsal.dialects.hyperliquid import Hyperliquid
from marketd.rehearsal.dialects.kucoin import Kucoin
from marketd.rehearsal.dialects.okx import Okx
from marketd.rehearsal.faults import Ignores, Lost, Malformed, Nothing, PageLimit
from tests.conformance.direct import MINUTE_MS, Counter, Stall, line_of, stall
from tests.toy import Book

BASE = 28_000_000 // BLOCK * BLOCK  # a minute of 2023, at the beginning of a day
SPAN = 900

minutes = st.sets(st.integers(0, SPAN - 1), max_size=SPAN)
dense = st.builds(lambda holes: set(range(SPAN)) - holes, st.sets(st.integers(0, SPAN - 1), max_size=60))


def lines(rows: Mapping[int, bytes], columns: tuple[str, ...]) -> dict[int, bytes]:
    """Rows as they are to be stored, by interval."""
    return {open_ms // MINUTE_MS: line_of(row, columns) for open_ms, row in rows.items()}


@dataclass
class Hiding:
    """A transport whose reply to one request, counted from 1, has no rows."""

    inner: Counter
    hidden: int
    sent: int = 0

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        reply = await self.inner.send(base_url, request, proxy)
        self.sent += 1
        return replace(reply, body=b"[]") if self.sent == self.hidden else reply


class Reader:
    """Asks a stall for a range as a run would, and keeps what it hears."""

    def __init__(self, at: Stall, *, page: int) -> None:
        self.at = at
        self.page = page
        self.book = Book()
        self.stored: dict[int, bytes] = {}
        self.asked: list[Ranges] = []
        self.unserved = NOTHING
        self.refused: ExchangeError | None = None

    async def read(self, wanted: Ranges, *, newest_first: bool) -> None:
        series = Series(self.at.exchange.name, self.at.symbol, "1m")
        walk = Walk(series, wanted, self.page, newest_first=newest_first, counted=self.at.exchange.counted)
        stalled = 0
        while walk.current is not None and stalled < 3:
            ask = planner.next_ask(walk, self.book.edges(walk.current))
            assert ask is not None
            try:
                answer = await self.at.asking.answer(ask)
            except ExchangeError as error:
                self.refused = error
                return
            self._keep(answer)
            after = planner.after(walk, answer)
            part = Ranges.of(ask.span) & walk.remaining
            if after.remaining == walk.remaining:
                stalled += 1
            else:
                self.asked.append(part & answer.covered)
            if answer.served_from is not None:
                self.unserved = self.unserved | (walk.remaining - after.remaining - answer.covered)
            walk = after

    def _keep(self, answer: Answer) -> None:
        assert answer.ask.end - answer.ask.start <= self.page + planner.ANCHORS or not answer.ask.counted
        for number, line in zip(answer.rows.numbers(), answer.csv.splitlines(), strict=True):
            assert self.stored.get(number, line) == line, "two answers differ"
            self.stored[number] = line
        self.book.record(answer)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(
    traded=minutes | dense, start=st.integers(0, SPAN - 1), length=st.integers(1, SPAN), page=st.integers(3, 60),
    newest_first=st.booleans(), now=st.integers(0, 120_000), lost=st.tuples(st.integers(0, SPAN), st.integers(1, 50)),
)  # fmt: skip
async def test_the_answers_together_are_the_truth(
    name: str, traded: set[int], start: int, length: int, page: int, newest_first: bool, now: int,
    lost: tuple[int, int],
) -> None:  # fmt: skip
    """For any range, page, direction, pattern of holes and clock: no interval is asked for twice, and none skipped."""
    end = min(start + length, SPAN)
    now_ms = (BASE + end) * MINUTE_MS + now
    exchange = EXCHANGES[name]
    most = exchange.page_limits[0]
    if exchange.paging is Paging.RECENT:  # nothing smaller can be asked for
        page = most - planner.ANCHORS
    at = stall(name, {BASE + minute for minute in traded}, now_ms, page=min(page + planner.ANCHORS, most))
    if at.dialect.flat:  # where every minute has a candle, holes are faults
        at.faults.add(Lost(start_ms=(BASE + lost[0]) * MINUTE_MS, end_ms=(BASE + lost[0] + lost[1]) * MINUTE_MS))
    reader = Reader(at, page=page)
    wanted = Ranges.of((BASE + start, BASE + end)) & at.fetcher.served(Series(name, at.symbol, "1m"))
    await reader.read(wanted, newest_first=newest_first)
    assert reader.refused is None
    if not wanted or (exchange.paging is Paging.RECENT and not at.counter.rows):
        return  # of recent candles there are always some: without any, nothing is told
    truth = lines(at.truth(wanted.start * MINUTE_MS, wanted.end * MINUTE_MS), exchange.columns)
    assert {number: line for number, line in reader.stored.items() if number in wanted} == truth
    told = wanted - reader.unserved
    assert (reader.book.answered | reader.book.owed) & wanted == told
    assert sum(part.size for part in reader.asked) == told.size, "asked for twice, or skipped"
    if exchange.paging is Paging.COUNTED:
        assert len(at.counter.candle_asks()) == -(-wanted.size // page)
    assert (reader.book.once | reader.book.confirmed) & Ranges.from_numbers(sorted(truth)) == NOTHING


DOUBTS: dict[str, Callable[[], Dialect]] = {
    "bybit: the newest are cut": lambda: Bybit(cut_oldest=False),
    "bybit: no flat candles": lambda: Bybit(sends_flat=False),
    "coinbase: nothing before the start": lambda: Coinbase(early=False),
    "gate: no flat candles": lambda: Gate(sends_flat=False),
    "gate: fewer are served": lambda: Gate(served=700),
    "gemini: fewer are served": lambda: Gemini(served=300),
    "hyperliquid: no flat candles": lambda: Hyperliquid(sends_flat=False),
    "kucoin: the end is included": lambda: Kucoin(end_included=True),
    "kucoin: the newest are cut": lambda: Kucoin(cut_oldest=False),
    "okx: a hundred rows at most": lambda: Okx(most=100),
    "okx: no flat candles": lambda: Okx(sends_flat=False),
}
"""What nobody knows for sure of an exchange, settled the other way than its dialect is by itself."""


@pytest.mark.parametrize("doubt", DOUBTS)
@settings(max_examples=10, deadline=None)
@given(holes=st.sets(st.integers(0, 1599), max_size=300), back=st.integers(1, 1600), newest_first=st.booleans())
async def test_a_doubt_may_be_settled_either_way(doubt: str, holes: set[int], back: int, newest_first: bool) -> None:
    """Asked for pages as large as they get: all that is served is stored, and of nothing else is anything believed."""
    name, _, _ = doubt.partition(":")
    exchange, end = EXCHANGES[name], BASE + 1600
    page = exchange.page_limits[0] - planner.ANCHORS
    traded = {BASE + minute for minute in range(1600) if minute not in holes}
    at = stall(name, traded, end * MINUTE_MS + 30_000, dialect=DOUBTS[doubt]())
    reader = Reader(at, page=page)
    wanted = Ranges.of((end - back, end)) & at.fetcher.served(Series(name, at.symbol, "1m"))
    await reader.read(wanted, newest_first=newest_first)
    assert reader.refused is None
    told = wanted - reader.unserved
    truth = lines(at.truth(told.start * MINUTE_MS, told.end * MINUTE_MS), exchange.columns)
    assert {number: line for number, line in reader.stored.items() if number in told} == truth
    assert (reader.book.answered | reader.book.owed) & wanted == told
    assert (reader.book.once | reader.book.confirmed) & Ranges.from_numbers(sorted(truth)) == NOTHING


@pytest.mark.parametrize("hidden", range(1, 17))
async def test_a_first_candle_that_the_exchange_hides_once_is_found(hidden: int) -> None:
    """Coinbase has answered nothing where there was something: what looked empty is asked for again.

    Within the day of the first candle the search may stop early, never late.
    """
    first = BASE + 5 * 1440 + 77
    at = stall("coinbase", range(first, first + 400 * 1440, 1440), (first + 400 * 1440) * MINUTE_MS)
    at.fetcher.transport = Hiding(at.counter, hidden)
    found, _ = await first_candle(at.asking, Series("coinbase", at.symbol, "1m"))
    assert found is not None
    assert first - 77 <= found <= first


HARMS: list[Any] = [
    PageLimit(rows=100), PageLimit(rows=200),
    Malformed(how="duplicate", rows=3), Malformed(how="conflict"), Malformed(how="misaligned", rows=2),
    Malformed(how="shuffled"), Malformed(how="outside"), Malformed(how="implausible"), Malformed(how="cut"),
    Malformed(how="nan"), Malformed(how="html"), Malformed(how="blank"), Malformed(how="infinity"),
    Malformed(how="negative"), Malformed(how="overflow"), Malformed(how="null"),
    Nothing(), Nothing(share=0.5), Ignores(parameters=("start",)), Ignores(parameters=("end",)),
    Ignores(parameters=("start", "end")), Ignores(parameters=("limit",)),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(
    harm=st.sampled_from(HARMS), traded=minutes | dense, page=st.sampled_from((20, 60, 250)),
    newest_first=st.booleans(), share=st.sampled_from((1.0, 0.4)),
)  # fmt: skip
async def test_whatever_is_wrong_with_a_reply_no_wrong_row_is_stored_and_nothing_loops(
    name: str, harm: Any, traded: set[int], page: int, newest_first: bool, share: float
) -> None:
    exchange, now_ms = EXCHANGES[name], (BASE + SPAN) * MINUTE_MS + 90_000
    at = stall(name, {BASE + minute for minute in traded}, now_ms, page=min(page + 2, exchange.page_limits[0]))
    at.faults.add(type(harm)(**{**_fields(harm), "share": harm.share if isinstance(harm, Nothing) else share}))
    reader = Reader(at, page=min(page, exchange.page_limits[0] - 2))
    wanted = Ranges.of((BASE, BASE + SPAN)) & at.fetcher.served(Series(name, at.symbol, "1m"))
    await reader.read(wanted, newest_first=newest_first)
    truth = lines(at.truth(BASE * MINUTE_MS, (BASE + SPAN) * MINUTE_MS), exchange.columns)
    assert {number: line for number, line in reader.stored.items() if truth.get(number) != line} == {}
    assert len(at.counter.asked) < 4 * SPAN // reader.page + 20


def _fields(harm: Any) -> dict[str, Any]:
    return {name: getattr(harm, name) for name in harm.__dataclass_fields__}
