"""Mistakes made by hand, one at a time: the simulator is only as good as what it finds.

Owns the mistakes, and for each the world in which it has to be found and the promise that it breaks. Unlike tests,
mistakes reach into private places: that is where they are made.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from marketd import ledger, page, planner
from marketd.blocks import Change, Held
from marketd.exchanges.facts import Reply
from marketd.fetcher import ExchangeTime, Fetcher
from marketd.limiter import Budget
from marketd.model import Answer, Claim, Resolution
from marketd.ranges import NOTHING, Ranges
from tests.simulation import store
from tests.simulation.tables import SeriesTable
from tests.simulation.world import Plan

CALM = Plan(1, series=1, days=1, history_days=1, troubled=False)
SMALL_PAGES = replace(CALM, page_limit=120)


@dataclass(frozen=True)
class Mistake:
    """``made`` makes it for a block; in the world of ``plan`` one of the promises ``breaks`` is seen broken."""

    made: Callable[[], AbstractContextManager[Any]]
    plan: Plan
    breaks: frozenset[str]


def _checked(change: Callable[[Answer], Answer], **more: Any) -> AbstractContextManager[Any]:
    check = page.check

    def wrong(ask: Any, rows: Any, exchange: Any, **given: Any) -> Answer:
        return change(check(ask, rows, exchange, **given | more))

    return patch.object(page, "check", wrong)


def coverage_of_the_asked() -> AbstractContextManager[Any]:
    """A page is believed to speak for all that it was asked for."""
    return _checked(lambda answer: replace(answer, covered=Ranges.of(answer.ask.span)))


def off_by_one_at_the_edge() -> AbstractContextManager[Any]:
    """A page is believed to speak for one interval more, on its cut side."""

    def wider(answer: Answer) -> Answer:
        if not answer.covered:
            return answer
        start, end = answer.covered.start, answer.covered.end
        wide = (start - 1, end) if answer.ask.newest_first else (start, end + 1)
        return replace(answer, covered=Ranges.of(wide) & Ranges.of(answer.ask.span))

    return _checked(wider)


@contextmanager
def unclosed_candle() -> Iterator[None]:
    """The candle under way is asked for, and taken for closed."""
    closed_end = Fetcher.closed_end
    with (
        patch.object(Fetcher, "closed_end", lambda self, series: closed_end(self, series) + 1),
        patch.object(page, "check", _later(page.check)),
    ):
        yield


def _later(check: Callable[..., Answer]) -> Callable[..., Answer]:
    def wrong(ask: Any, rows: Any, exchange: Any, *, at_ms: int, **more: Any) -> Answer:
        return replace(check(ask, rows, exchange, at_ms=at_ms + 65_000, **more), at_ms=at_ms)

    return wrong


def no_fence() -> AbstractContextManager[Any]:
    """A page is written whoever holds the exchange."""
    return patch.object(store, "holds", lambda tables, epoch: True)


def _applied(change: Callable[[Change, Answer], Change]) -> AbstractContextManager[Any]:
    apply = ledger.apply

    def wrong(held: Held, answer: Answer, *, settle_ms: int, owe: Ranges = NOTHING) -> Change:
        return change(apply(held, answer, settle_ms=settle_ms, owe=owe), answer)

    return patch.object(ledger, "apply", wrong)


def empty_closes_gap() -> AbstractContextManager[Any]:
    """A gap is closed by the first answer, whatever it says."""

    def closed(change: Change, answer: Answer) -> Change:
        gaps = tuple(
            replace(gap, missing=NOTHING, repaired_ms=answer.at_ms, resolution=Resolution.EMPTY)
            if gap.id is not None and gap.open and gap.missing & change.covered
            else gap
            for gap in change.gaps
        )
        return replace(change, gaps=gaps)

    return _applied(closed)


def first_empty_confirms() -> AbstractContextManager[Any]:
    """An interval answered empty once is believed."""

    def believed(change: Change, _: Answer) -> Change:
        blocks = (
            replace(block, empty_once=NOTHING, empty_confirmed=block.empty_confirmed | block.empty_once)
            for block in change.blocks
        )
        return replace(change, blocks=tuple(blocks))

    return _applied(believed)


def no_silence() -> AbstractContextManager[Any]:
    """The wait that the exchange asks for is not kept."""
    return patch.object(Budget, "block", lambda self, delay_s: None)


@contextmanager
def host_clock_only() -> Iterator[None]:
    """What the exchange says the time is does not count."""

    def host_time(self: Fetcher, _: Reply) -> int:
        return self.clock.now_ms()

    with (
        patch.object(ExchangeTime, "now", lambda self, host_ms: host_ms),
        patch.object(Fetcher, "_time_of", host_time),
    ):
        yield


def lost_page_counts() -> AbstractContextManager[Any]:
    """Now and then the candles of a page are not written, but its ledger is."""
    put, calls = SeriesTable.put, [0]

    def forgetful(self: SeriesTable, lines: dict[int, bytes]) -> None:
        calls[0] += 1
        if calls[0] % 40:
            put(self, lines)

    return patch.object(SeriesTable, "put", forgetful)


def no_budget() -> AbstractContextManager[Any]:
    """Nobody waits for a turn."""

    async def acquire(self: Budget, claim: Claim, weight: int = 1) -> None:
        return None

    return patch.object(Budget, "acquire", acquire)


def history_given_up() -> AbstractContextManager[Any]:
    """What is unknown is never asked for."""
    return patch.object(planner, "backfill", lambda **_: NOTHING)


def _troubled(*only: str, **more: Any) -> Plan:
    return replace(CALM, troubled=True, only=only, pause_s=900.0, **more)


MISTAKES: Mapping[str, Mistake] = {
    "coverage of the asked": Mistake(coverage_of_the_asked, SMALL_PAGES, frozenset({"said"})),
    "off by one at the edge of a page": Mistake(off_by_one_at_the_edge, SMALL_PAGES, frozenset({"said"})),
    "unclosed candle stored": Mistake(
        unclosed_candle, replace(CALM, lenient=True), frozenset({"said", "content", "open_candle"})
    ),
    "no lease check": Mistake(no_fence, _troubled("frozen", "second"), frozenset({"lease"})),
    "gap closed by an empty answer": Mistake(
        empty_closes_gap, _troubled("killed", "malformed", page_limit=120), frozenset({"gap_closed"})
    ),
    "asked again without the wait": Mistake(no_silence, _troubled("throttled", series=3, days=0.5), frozenset({"ban"})),
    "first empty confirms": Mistake(first_empty_confirms, CALM, frozenset({"confirmed"})),
    "host clock only": Mistake(
        host_clock_only, _troubled("host_clock", lenient=True), frozenset({"said", "content", "open_candle"})
    ),
    "lost page counted as stored": Mistake(lost_page_counts, CALM, frozenset({"stored"})),
    "no budget": Mistake(no_budget, replace(SMALL_PAGES, series=2), frozenset({"budget"})),
    "history given up": Mistake(history_given_up, replace(SMALL_PAGES, every_min=30), frozenset({"liveness"})),
}
