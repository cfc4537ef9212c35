"""The planner: from what is wanted and what is known to the next ask.

Owns what the three job types want, in which order, and how an ask is framed so that its answer proves as much as it
can. Pure; asked again after every answer, since only the answer says how far a page reached. Refuses to send.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from marketd.blocks import BLOCK
from marketd.model import Answer, Ask, Gap, Series
from marketd.ranges import NOTHING, Ranges, Span

LONGEST_WAIT_MS = 25 * 3_600_000
"""No gap waits for longer than a day, and clocks differ a little."""

ANCHORS = 2
"""Rows of a page that known candles on both sides may take."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The nearest known candles outside a stretch: ``left`` below its start, ``right`` at or above its end."""

    left: int | None = None
    right: int | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """What is left to ask of a series, and how.

    ``remaining`` shrinks by what answers cover. ``page`` is the number of candles the exchange sends at most; where its
    pages are ``counted``, no ask may span more intervals than that, however few candles are in them. ``flipped``: the
    last page was not full, so what is left has few candles, and is asked from its other side.
    """

    series: Series
    remaining: Ranges
    page: int
    newest_first: bool = True
    first: int | None = None
    counted: bool = False
    flipped: bool = False

    @property
    def current(self) -> Span | None:
        """The stretch that is asked next."""
        if not self.remaining:
            return None
        return self.remaining.spans[-1] if self.newest_first else self.remaining.spans[0]


def next_ask(walk: Walk, edges: Edges) -> Ask | None:
    """The next ask of ``walk``, framed by the candles that are known next to it; None when nothing is left.

    Known candles on both sides are part of the ask: their absence from the answer shows that the exchange did not
    heed its bounds. Where the stretch fits a page, the known candle stands on the cut side, so that one answer speaks
    for the whole stretch.
    """
    span = walk.current
    if span is None:
        return None
    if walk.counted:
        return _counted_ask(walk, span, edges)
    left, right = _near(edges.left, span[0], walk.page), _near(edges.right, span[1], walk.page)
    start = span[0] if left is None else left
    end = span[1] if right is None else right + 1
    known = _numbers(left, right, walk.first if walk.first is not None and start <= walk.first < end else None)
    return Ask(walk.series, start, end, _newest_first(walk, start, end, known), known)


def _counted_ask(walk: Walk, span: Span, edges: Edges) -> Ask:
    """The next part of ``span`` that fits a page with a known candle on either side; of those what fits, too.

    Every part but the last is as long as the others, so that the number of asks is known before.
    """
    page, most = walk.page, walk.page + ANCHORS
    part = (max(span[0], span[1] - page), span[1]) if walk.newest_first else (span[0], min(span[1], span[0] + page))
    start, end = part
    if start == span[0] and edges.left is not None and end - edges.left < most:
        start = edges.left
    if end == span[1] and edges.right is not None and edges.right - start < most:
        end = edges.right + 1
    known = _numbers(*(one for one in (edges.left, edges.right, walk.first) if one is not None and start <= one < end))
    return Ask(walk.series, start, end, walk.newest_first, known, counted=True)


def _newest_first(walk: Walk, start: int, end: int, known: Ranges) -> bool:
    at_start, at_end = start in known, end - 1 in known
    if end - start <= walk.page:
        if at_start != at_end:
            return at_start
        return walk.newest_first
    if walk.flipped and at_start != at_end:
        return at_start
    return walk.newest_first


def _near(candle: int | None, edge: int, page: int) -> int | None:
    """A known candle further away than a page would only make the ask longer."""
    return candle if candle is not None and abs(candle - edge) <= page else None


def _numbers(*numbers: int | None) -> Ranges:
    return Ranges.of(*((number, number + 1) for number in numbers if number is not None))


def after(walk: Walk, answer: Answer) -> Walk:
    """The walk after ``answer``: what it covers is done, and of what is no longer served nobody can know any more."""
    span = walk.current
    remaining = answer.still_served(walk.remaining - answer.covered)
    still_here = bool(span and Ranges.of(span) & remaining)
    return replace(walk, remaining=remaining, flipped=still_here and answer.fetched < walk.page)


def edges_after(edges: Edges, answer: Answer, walk: Walk) -> Edges | None:
    """Edges of the stretch that is left after ``answer``; None where they must be looked up."""
    span = walk.current
    if span is None or not answer.rows or not answer.covered:
        return None
    # The other edge holds only while it lies outside of what is left: that may be another stretch by now.
    if span[1] == answer.covered.start and (edges.left is None or edges.left < span[0]):
        return Edges(edges.left, answer.rows.at_or_after(span[1]))
    if span[0] == answer.covered.end and (edges.right is None or edges.right >= span[1]):
        return Edges(answer.rows.at_or_before(span[0]), edges.right)
    return None


def continuous(
    *,
    closed_end: int,
    answered_end: int | None,
    unsettled: Ranges,
    first: int | None,
    end: int | None,
    page: int,
    served_from: int | None = None,
) -> Ranges:
    """What keeps a series fresh: from the oldest unanswered or unsettled recent interval to the last closed one.

    A series without any coverage gets its newest page only; the rest belongs to backfill.
    """
    closed_end = closed_end if end is None else min(closed_end, end)
    if answered_end is None:
        start = closed_end - page
    else:
        start = min(answered_end, unsettled.start) if unsettled else answered_end
    return Ranges.of((max(each for each in (start, first, served_from) if each is not None), closed_end))


def served(closed_end: int, reach: int | None) -> Ranges:
    """The intervals that an exchange serves which keeps the newest ``reach`` only (None: all), a little less."""
    return Ranges.of((-(2**31) if reach is None else closed_end - reach + ANCHORS, closed_end))


def backfill(*, wanted: Ranges, answered: Ranges, gaps: Ranges, refetch: bool = False) -> Ranges:
    """The unknown part of the wanted history; all of it when it is to be fetched again."""
    return wanted if refetch else wanted - answered - gaps


def wanted(
    *,
    start: int | None,
    end: int | None,
    first: int | None,
    closed_end: int,
    retired: int | None = None,
) -> Ranges:
    """The wanted history: from ``start`` or the first candle, whichever is later, to ``end`` or the last closed one.

    What is ``retired`` is wanted no more.
    """
    begin = start if first is None else first if start is None else max(start, first)
    if begin is None:
        return NOTHING
    begin = begin if retired is None else max(begin, retired)
    return Ranges.of((begin, closed_end if end is None else min(end, closed_end)))


def repairs(
    series: Series, targets: Sequence[Ranges], empties: Mapping[int, int], page: int, *, counted: bool = False
) -> tuple[Walk, ...]:
    """Walks that cover all ``targets``, as few as pages can hold; neighbours are merged as long as their rows fit.

    ``empties`` is how many intervals of each block are known to be empty, which bounds the candles in between; blocks
    that are not named count as full. Where pages are ``counted``, every interval counts.
    """
    empties = {} if counted else empties
    walks: list[Walk] = []
    for target in sorted(targets, key=lambda ranges: ranges.start):
        start, end = target.start, target.end
        if walks:
            last = walks[-1].remaining
            if rows_at_most((last.start, max(end, last.end)), empties) <= page - ANCHORS:
                walks[-1] = replace(walks[-1], remaining=Ranges.of((last.start, max(end, last.end))))
                continue
        walks.append(Walk(series, Ranges.of((start, end)), page, newest_first=False, counted=counted))
    return tuple(walks)


def rows_at_most(span: Span, empties: Mapping[int, int]) -> int:
    """The most candles that ``span`` can hold, given how many intervals of each block are empty."""
    rows = 0
    for number in range(span[0] // BLOCK, (span[1] - 1) // BLOCK + 1):
        overlap = min(span[1], (number + 1) * BLOCK) - max(span[0], number * BLOCK)
        rows += min(overlap, BLOCK - empties.get(number, 0))
    return rows


def is_due(attempt_ms: int, now_ms: int) -> bool:
    """Whether it is time for an attempt: one that is further away than any wait was set by a clock that was ahead."""
    return not now_ms < attempt_ms <= now_ms + LONGEST_WAIT_MS


def due_gaps(gaps: Sequence[Gap], now_ms: int, *, by_hand: bool = False, most: int | None = None) -> tuple[Gap, ...]:
    """Open gaps that are due for a try, oldest first; by hand, due or not."""
    due = [gap for gap in gaps if by_hand or gap.next_attempt_ms is None or is_due(gap.next_attempt_ms, now_ms)]
    due.sort(key=lambda gap: gap.missing.start)
    return tuple(due if most is None else due[:most])


def halves(ask: Ask) -> tuple[Ask, Ask]:
    """``ask``, refused twice, in two parts; only for an ask of two intervals and more."""
    middle = (ask.start + ask.end) // 2
    low, high = Ranges.of((ask.start, middle)), Ranges.of((middle, ask.end))
    return (
        replace(ask, end=middle, known=ask.known & low),
        replace(ask, start=middle, known=ask.known & high),
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an order would cost before it is given: intervals, requests at most, seconds at the budget, bytes."""

    series: Series
    intervals: int
    requests: int
    seconds: float
    disk_bytes: int


BYTES_A_CANDLE = 165
"""Measured: row and its one index, with its share of the ledger."""


def estimate(
    series: Series, remaining: Ranges, *, page: int, per_minute: float, lookups: int = 0, weight: int = 1
) -> Estimate:
    """An upper bound: a market with holes needs fewer requests and less disk; exact where pages are counted.

    ``lookups`` are requests besides those for pages, each of which takes ``weight`` passes of the budget.
    """
    pages = sum(-(-(end - start) // page) for start, end in remaining)
    passes = pages * weight + lookups if pages else 0
    return Estimate(
        series, remaining.size, pages + lookups if pages else 0, max(0, passes - 1) * 60 / per_minute,
        remaining.size * BYTES_A_CANDLE,
    )  # fmt: skip
