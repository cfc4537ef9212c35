"""The planner: what is wanted, how it is asked, and that asking comes to an end."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd import planner
from marketd.blocks import BLOCK
from marketd.model import Ask, Cause, Gap
from marketd.planner import ANCHORS, Edges, Walk
from marketd.ranges import NOTHING, Ranges, Span
from tests.toy import SERIES, Book, Toy, answered, closed_at, numbers

NO_EDGES = Edges()


def walk(
    *remaining: Span, page: int = 100, newest_first: bool = True, first: int | None = None, flipped: bool = False,
    counted: bool = False,
) -> Walk:  # fmt: skip
    return Walk(SERIES, Ranges.of(*remaining), page, newest_first, first, counted, flipped)


def framed(asked: Walk, left: int | None = None, right: int | None = None) -> tuple[int, int, bool, Ranges]:
    ask = planner.next_ask(asked, Edges(left, right))
    assert ask is not None
    return ask.start, ask.end, ask.newest_first, ask.known


class TestNextAsk:
    def test_nothing_is_left(self) -> None:
        assert planner.next_ask(walk(), NO_EDGES) is None

    @pytest.mark.parametrize(("newest_first", "span"), [(True, (80, 90)), (False, (10, 20))])
    def test_begins_at_the_end_that_is_wanted_first(self, newest_first: bool, span: Span) -> None:
        asked = framed(walk((10, 20), (40, 50), (80, 90), newest_first=newest_first))
        assert asked == (*span, newest_first, NOTHING)

    def test_includes_the_known_candles_on_both_sides(self) -> None:
        assert framed(walk((10, 20)), left=7, right=25) == (7, 26, True, numbers([7, 25]))

    def test_leaves_out_what_lies_further_than_a_page(self) -> None:
        assert framed(walk((200, 210)), left=99, right=311) == (200, 210, True, NOTHING)
        assert framed(walk((200, 210)), left=100, right=310) == (100, 311, True, numbers([100, 310]))

    def test_the_known_candle_stands_on_the_cut_side_of_what_fits_a_page(self) -> None:
        assert framed(walk((10, 20), newest_first=False), left=9)[2] is True
        assert framed(walk((10, 20), newest_first=True), right=20)[2] is False

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_the_order_wanted_stays_where_no_side_or_both_are_known(self, newest_first: bool) -> None:
        assert framed(walk((10, 20), newest_first=newest_first))[2] is newest_first
        assert framed(walk((10, 20), newest_first=newest_first), left=9, right=20)[2] is newest_first

    def test_more_than_a_page_is_asked_in_the_order_wanted(self) -> None:
        assert framed(walk((10, 500)), left=9)[2] is True
        assert framed(walk((10, 500), newest_first=False), right=500)[2] is False

    def test_the_known_side_of_more_than_a_page_does_not_turn_it_round(self) -> None:
        assert framed(walk((10, 500)), right=500)[2] is True
        assert framed(walk((10, 500), newest_first=False), left=9)[2] is False

    def test_a_page_is_fitted_to_its_last_interval(self) -> None:
        assert framed(walk((1_000, 1_099)), right=1_099)[:3] == (1_000, 1_100, False)
        assert framed(walk((1_000, 1_100)), right=1_100)[:3] == (1_000, 1_101, True)

    def test_a_walk_begins_with_the_newest(self) -> None:
        assert framed(Walk(SERIES, Ranges.of((10, 20), (500, 900)), 100), right=900)[:3] == (500, 901, True)

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize(("left", "right"), [(None, None), (9, 500)])
    def test_the_rest_keeps_its_order_where_no_side_or_both_are_known(
        self, newest_first: bool, left: int | None, right: int | None
    ) -> None:
        asked = walk((10, 500), newest_first=newest_first, flipped=True)
        assert framed(asked, left=left, right=right)[2] is newest_first

    def test_after_a_page_that_was_not_full_the_rest_is_asked_from_its_known_side(self) -> None:
        assert framed(walk((10, 500), newest_first=False, flipped=True), left=9)[2] is True
        assert framed(walk((10, 500), flipped=True), right=500)[2] is False

    def test_the_first_candle_is_known_where_it_lies_in_the_ask(self) -> None:
        assert framed(walk((10, 20), first=10))[3] == numbers([10])
        assert framed(walk((10, 20), first=20))[3] == NOTHING
        assert framed(walk((10, 20), first=9))[3] == NOTHING
        assert framed(walk((10, 20), first=9), left=9)[3] == numbers([9])


class TestCountedAsks:
    """Exchanges that reject or cut long windows are asked for windows that can be counted."""

    def parts(self, asked: Walk, left: int | None, right: int | None) -> list[tuple[int, int, list[int]]]:
        """(start, end, known) of the asks of a walk, each answered in full."""
        found = []
        edges: Edges | None = Edges(left, right)
        while (ask := planner.next_ask(asked, edges or Edges())) is not None:
            found.append((ask.start, ask.end, list(ask.known.numbers())))
            answer = answered(ask.start, ask.end, range(ask.start, ask.end))
            moved = planner.after(asked, answer)
            edges, asked = planner.edges_after(edges or Edges(), answer, moved), moved
        return found

    def test_no_ask_spans_more_than_a_page(self) -> None:
        for newest_first in (True, False):
            for left, right in ((None, None), (9, 500), (9, None), (None, 500)):
                asked = walk((10, 500), newest_first=newest_first, counted=True)
                asks = self.parts(asked, left, right)
                assert max(end - start for start, end, _ in asks) <= asked.page + planner.ANCHORS
                assert Ranges.of((10, 500)) - Ranges.of(*((start, end) for start, end, _ in asks)) == NOTHING

    def test_their_number_is_known_before(self) -> None:
        for length in (1, 99, 100, 101, 200, 201, 490):
            for left, right in ((None, None), (9, 10 + length)):
                asks = self.parts(walk((10, 10 + length), counted=True), left, right)
                assert len(asks) == -(-length // 100)

    def test_known_candles_stand_on_both_sides_where_they_fit(self) -> None:
        asks = self.parts(walk((10, 210), counted=True), 9, 210)
        assert asks == [(110, 211, [210]), (9, 111, [9, 110])]
        asks = self.parts(walk((10, 210), newest_first=False, counted=True), 9, 210)
        assert asks == [(9, 110, [9]), (109, 211, [109, 210])]

    def test_a_known_candle_that_would_make_it_too_long_is_left_out(self) -> None:
        assert self.parts(walk((10, 110), counted=True), 8, 110) == [(10, 111, [110])]
        assert self.parts(walk((10, 110), counted=True), 9, 111) == [(9, 110, [9])]
        assert self.parts(walk((10, 50), counted=True), 3, 70) == [(3, 71, [3, 70])]


class TestAfter:
    def test_what_is_covered_is_done(self) -> None:
        moved = planner.after(walk((10, 20), (40, 50)), answered(45, 60))
        assert moved.remaining == Ranges.of((10, 20), (40, 45))

    def test_a_page_that_was_not_full_flips_the_rest_of_its_stretch(self) -> None:
        assert planner.after(walk((0, 500)), answered(100, 500, range(100, 150))).flipped
        assert not planner.after(walk((0, 500)), answered(100, 500, range(100, 200))).flipped
        assert not planner.after(walk((0, 500)), answered(0, 500)).flipped
        assert not planner.after(walk((0, 20), (40, 50)), answered(40, 50)).flipped

    def test_the_outermost_row_is_the_edge_of_what_is_left(self) -> None:
        down = answered(60, 100, (60, 99))
        moved = planner.after(walk((0, 100)), down)
        assert planner.edges_after(Edges(None, 100), down, moved) == Edges(None, 60)
        up = answered(0, 40, (3, 39))
        moved = planner.after(walk((0, 100), newest_first=False), up)
        assert planner.edges_after(Edges(None, 100), up, moved) == Edges(39, 100)

    def test_the_other_edge_stays_where_it_lies_outside_of_what_is_left(self) -> None:
        down, up = answered(60, 100, (60, 99)), answered(0, 40, (3, 39))
        assert planner.edges_after(Edges(9, 100), down, walk((10, 60))) == Edges(9, 60)
        assert planner.edges_after(Edges(10, 100), down, walk((10, 60))) is None
        assert planner.edges_after(Edges(15, 100), down, walk((10, 60))) is None
        assert planner.edges_after(Edges(None, 90), up, walk((40, 90))) == Edges(39, 90)
        assert planner.edges_after(Edges(None, 89), up, walk((40, 90))) is None

    def test_an_answer_after_the_last_ask_leaves_nothing(self) -> None:
        assert planner.after(walk(), answered(0, 10, (5,))) == walk()

    def test_edges_are_looked_up_where_no_row_came(self) -> None:
        assert planner.edges_after(NO_EDGES, answered(60, 100), walk((0, 60))) is None
        assert planner.edges_after(NO_EDGES, answered(60, 100, (70,)), walk()) is None

    def test_edges_are_looked_up_for_another_stretch(self) -> None:
        """The stretch [20, 30) is done by an answer that begins at the known candle in 10, where the next one ends."""
        done = answered(10, 30, (10, 25))
        assert planner.edges_after(Edges(10, None), done, walk((0, 10))) is None
        done = answered(0, 11, (5, 10))
        assert planner.edges_after(Edges(None, 10), done, walk((11, 20), newest_first=False)) is None


class TestWanted:
    @pytest.mark.parametrize(
        ("start", "end", "first", "expected"),
        [
            (None, None, 50, (50, 100)),
            (60, None, 50, (60, 100)),
            (40, None, 50, (50, 100)),
            (40, None, None, (40, 100)),
            (None, 80, 50, (50, 80)),
            (None, 500, 50, (50, 100)),
        ],
    )
    def test_history_begins_at_start_or_the_first_candle(
        self, start: int | None, end: int | None, first: int | None, expected: Span
    ) -> None:
        wanted = planner.wanted(start=start, end=end, first=first, closed_end=100)
        assert wanted == Ranges.of(expected)

    def test_nothing_is_wanted_of_a_series_without_a_beginning(self) -> None:
        assert planner.wanted(start=None, end=None, first=None, closed_end=100) == NOTHING
        assert planner.wanted(start=90, end=80, first=None, closed_end=100) == NOTHING

    @pytest.mark.parametrize(("retired", "wanted"), [(None, (20, 100)), (10, (20, 100)), (30, (30, 100))])
    def test_what_is_retired_is_wanted_no_more(self, retired: int | None, wanted: tuple[int, int]) -> None:
        assert planner.wanted(start=None, end=None, first=20, closed_end=100, retired=retired) == Ranges.of(wanted)
        assert planner.wanted(start=None, end=None, first=None, closed_end=100, retired=retired) == NOTHING
        assert planner.wanted(start=20, end=25, first=None, closed_end=100, retired=30) == NOTHING

    def test_backfill_leaves_out_what_is_answered_or_owed(self) -> None:
        wanted, known, owed = Ranges.of((0, 100)), Ranges.of((0, 50)), Ranges.of((60, 70))
        assert planner.backfill(wanted=wanted, answered=known, gaps=owed) == Ranges.of((50, 60), (70, 100))
        assert planner.backfill(wanted=wanted, answered=known, gaps=owed, refetch=True) == wanted


class TestContinuous:
    def remaining(
        self, *, answered_end: int | None, unsettled: Ranges = NOTHING, first: int | None = 0, end: int | None = None
    ) -> Ranges:
        return planner.continuous(
            closed_end=1_000, answered_end=answered_end, unsettled=unsettled, first=first, end=end, page=100
        )

    def test_goes_from_what_is_answered_to_the_last_closed_interval(self) -> None:
        assert self.remaining(answered_end=990) == Ranges.of((990, 1_000))

    def test_begins_at_the_oldest_unsettled_interval(self) -> None:
        assert self.remaining(answered_end=990, unsettled=Ranges.of((980, 982), (988, 990))) == Ranges.of((980, 1_000))

    def test_a_series_never_answered_gets_its_newest_page(self) -> None:
        assert self.remaining(answered_end=None) == Ranges.of((900, 1_000))
        assert self.remaining(answered_end=None, first=950) == Ranges.of((950, 1_000))

    def test_a_long_pause_is_wanted_whole(self) -> None:
        assert self.remaining(answered_end=10) == Ranges.of((10, 1_000))

    def test_ends_with_its_job(self) -> None:
        assert self.remaining(answered_end=900, end=950) == Ranges.of((900, 950))
        assert self.remaining(answered_end=960, end=950) == NOTHING

    def test_nothing_new_is_nothing_to_ask(self) -> None:
        assert self.remaining(answered_end=1_000) == NOTHING


class TestRepairs:
    def spans(self, *targets: Span, empties: dict[int, int] | None = None, page: int = 102) -> list[Span]:
        walks = planner.repairs(SERIES, [Ranges.of(target) for target in targets], empties or {}, page)
        return [(made.remaining.start, made.remaining.end) for made in walks]

    def test_neighbours_share_a_page(self) -> None:
        assert self.spans((50, 60), (10, 20), (100, 110)) == [(10, 110)]
        assert self.spans((10, 20), (50, 60), (101, 111)) == [(10, 60), (101, 111)]

    def test_known_empties_between_them_take_no_room(self) -> None:
        assert self.spans((10, 20), (1_000, 1_010)) == [(10, 20), (1_000, 1_010)]
        assert self.spans((10, 20), (1_000, 1_010), empties={0: BLOCK - 100}) == [(10, 1_010)]

    def test_a_target_within_another_is_done_with_it(self) -> None:
        assert self.spans((0, 90), (10, 20), (85, 95)) == [(0, 95)]

    def test_a_target_longer_than_a_page_is_a_walk_of_its_own(self) -> None:
        assert self.spans((0, 500), (600, 610)) == [(0, 500), (600, 610)]

    def test_walks_are_asked_oldest_first(self) -> None:
        (made,) = planner.repairs(SERIES, [Ranges.of((5, 6))], {}, 50)
        assert (made.newest_first, made.page) == (False, 50)

    @given(st.integers(0, 5_000), st.integers(1, 4_000), st.dictionaries(st.integers(0, 7), st.integers(0, BLOCK)))
    def test_rows_at_most_bounds_the_candles(self, start: int, length: int, empties: dict[int, int]) -> None:
        """Whichever intervals of a block are the empty ones."""
        span = (start, start + length)
        rows = planner.rows_at_most(span, empties)
        worst = 0
        for number in range(start // BLOCK, (span[1] - 1) // BLOCK + 1):
            inside = range(max(start, number * BLOCK), min(span[1], (number + 1) * BLOCK))
            outside = BLOCK - len(inside)
            worst += len(inside) - max(0, empties.get(number, 0) - outside)  # empties lie outside, as far as they fit
        assert rows == worst

    @settings(max_examples=200)
    @given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 15)), min_size=1, max_size=7), st.integers(3, 60))
    def test_no_packing_needs_fewer_asks(self, spans: list[tuple[int, int]], page: int) -> None:
        targets = list(Ranges.of(*((start, start + length) for start, length in spans)))  # no two of them owe the same
        made = self.spans(*targets, page=page)
        assert Ranges.of(*made).covers(Ranges.of(*targets))
        assert all(left[1] <= right[0] for left, right in pairwise(made))
        if all(end - start <= page - ANCHORS for start, end in targets):
            assert len(made) == fewest(targets, page - ANCHORS)


def fewest(targets: Sequence[Span], room: int) -> int:
    """The fewest asks of ``room`` that cover ``targets``, over all ways to cut the sorted list."""
    best = [0] + [len(targets) + 1] * len(targets)
    for last in range(1, len(targets) + 1):
        for first in range(last):
            part = targets[first:last]
            if max(end for _, end in part) - part[0][0] <= room:
                best[last] = min(best[last], best[first] + 1)
    return best[-1]


class TestDueGaps:
    GAPS = tuple(
        Gap(Cause.FAILED, Ranges.of((start, start + 1)), 0, id=start, next_attempt_ms=due)
        for start, due in ((30, 100), (10, 101), (20, None), (40, 99))
    )

    def due(self, **more: object) -> list[int | None]:
        return [gap.id for gap in planner.due_gaps(self.GAPS, 100, **more)]  # type: ignore[arg-type]

    def test_are_tried_oldest_first_when_their_time_has_come(self) -> None:
        assert self.due() == [20, 30, 40]

    def test_are_tried_by_hand_due_or_not(self) -> None:
        assert self.due(by_hand=True) == [10, 20, 30, 40]

    def test_are_due_where_they_wait_for_longer_than_anything_does(self) -> None:
        """A clock that was days ahead has opened them."""
        day_ms = 86_400_000
        assert not planner.is_due(100 + day_ms, 100)
        assert not planner.is_due(100 + planner.LONGEST_WAIT_MS, 100)
        assert planner.is_due(101 + planner.LONGEST_WAIT_MS, 100)

    def test_are_limited(self) -> None:
        assert self.due(most=2) == [20, 30]
        assert self.due(most=0) == []


@given(st.integers(0, 50), st.integers(2, 50), st.sets(st.integers(0, 100)), st.booleans())
def test_halves_are_the_ask(start: int, length: int, known: set[int], newest_first: bool) -> None:
    ask = Ask(SERIES, start, start + length, newest_first, numbers(known) & Ranges.of((start, start + length)))
    low, high = planner.halves(ask)
    assert (low.start, low.end, high.end) == (ask.start, high.start, ask.end)
    assert abs((low.end - low.start) - (high.end - high.start)) <= 1
    assert low.known | high.known == ask.known
    assert Ranges.of(low.span).covers(low.known)
    assert Ranges.of(high.span).covers(high.known)
    assert low.newest_first is high.newest_first is newest_first


@pytest.mark.parametrize(
    ("remaining", "requests", "seconds"),
    [(NOTHING, 0, 0), (Ranges.of((0, 100)), 2, 2.5), (Ranges.of((0, 101), (200, 201)), 4, 7.5)],
)
def test_an_estimate_is_an_upper_bound(remaining: Ranges, requests: int, seconds: float) -> None:
    estimate = planner.estimate(SERIES, remaining, page=100, per_minute=24, lookups=1)
    assert (estimate.intervals, estimate.requests, estimate.seconds) == (remaining.size, requests, seconds)
    assert estimate.disk_bytes == remaining.size * planner.BYTES_A_CANDLE


def test_an_estimate_counts_passes_of_the_budget_for_time_and_requests_for_requests() -> None:
    estimate = planner.estimate(SERIES, Ranges.of((0, 250)), page=100, per_minute=60, lookups=2, weight=5)
    assert (estimate.requests, estimate.seconds) == (5, 16)


# A walk to its end, as the engine makes it.

LOW, HIGH = 0, 120
LATER = closed_at(HIGH, 10**9)


def walk_to_the_end(walk: Walk, toy: Toy, book: Book, limits: Sequence[int] = ()) -> tuple[list[Ask], Book]:
    """The asks made, and the book after them; the page limit after each ask is the next of ``limits``."""
    asks: list[Ask] = []
    edges: Edges | None = None
    stalled = 0
    lowered = iter(limits)
    while walk.remaining:
        span = walk.current
        assert span is not None
        edges = edges or book.edges(span)
        ask = planner.next_ask(walk, edges)
        assert ask is not None
        asks.append(ask)
        answer = toy.answer(ask, LATER)
        toy.limit = next(lowered, toy.limit)
        moved = planner.after(walk, answer)
        edges = planner.edges_after(edges, answer, moved)
        change = book.record(answer)
        assert not change.contradicted
        stalled = stalled + 1 if moved.remaining == walk.remaining else 0
        assert stalled < 3, "answers in a row that speak for nothing new"
        walk = moved
    return asks, book


CANDLES = st.sets(st.integers(LOW, HIGH - 1), max_size=100)
PAGES = st.integers(4, 40)  # as the exchange counts them
HOLES = st.lists(st.tuples(st.integers(LOW, HIGH), st.integers(1, 40)), min_size=1, max_size=5).map(
    lambda spans: Ranges.of(*((start, min(start + length, HIGH)) for start, length in spans))
)


@settings(max_examples=300, deadline=None)
@given(CANDLES, HOLES, PAGES, st.booleans(), st.lists(st.integers(3, 40), max_size=4))
def test_every_walk_ends_and_covers_exactly_what_was_to_do(
    candles: set[int], remaining: Ranges, limit: int, newest_first: bool, lowered: list[int]
) -> None:
    """Whatever lies around it, in whatever order, and where the exchange lowers its limit in silence on the way."""
    book, toy = Book(), Toy(candles)
    for start, end in Ranges.of((LOW, HIGH)) - remaining:
        book.record(answered(start, end, (numbers(candles) & Ranges.of((start, end))).numbers(), at_ms=LATER))
    before = book.answered
    toy.limit = limit
    limits = [min(limit, lower) for lower in lowered]
    first = min(candles) if candles and newest_first else None
    _, book = walk_to_the_end(Walk(SERIES, remaining, limit - ANCHORS, newest_first, first), toy, book, limits)
    assert book.answered == before | remaining
    assert book.stored == numbers(candles) & book.answered
    assert book.table == set(book.stored.numbers())


@settings(max_examples=300, deadline=None)
@given(CANDLES, HOLES, PAGES, st.integers(3, 40), st.booleans(), st.booleans())
def test_a_walk_of_counted_asks_covers_exactly_what_was_to_do(
    candles: set[int], remaining: Ranges, limit: int, lower: int, newest_first: bool, cut_at_start: bool
) -> None:
    """In as many asks as were counted before; and in more where pages are smaller than was thought, on whichever side
    they are cut, as long as that size is a known one.
    """
    book, page = Book(), limit - ANCHORS
    for start, end in Ranges.of((LOW, HIGH)) - remaining:
        book.record(answered(start, end, (numbers(candles) & Ranges.of((start, end))).numbers(), at_ms=LATER))
    before = book.answered
    toy = Toy(candles, min(limit, lower), sizes=(limit, lower), cut_at_start=cut_at_start)
    walk = Walk(SERIES, remaining, page, newest_first, counted=True)
    asks, book = walk_to_the_end(walk, toy, book)
    assert book.answered == before | remaining
    assert book.stored == numbers(candles) & book.answered
    assert all(ask.end - ask.start <= limit for ask in asks)
    counted = sum(-(-(end - start) // page) for start, end in remaining)
    if lower >= limit:  # a known candle beyond a stretch may take a neighbouring one with it
        assert len(asks) == counted if len(remaining) == 1 else len(asks) <= counted


@settings(max_examples=300, deadline=None)
@given(CANDLES, PAGES, st.booleans(), st.booleans(), st.booleans())
def test_a_stretch_never_asked_takes_as_few_requests_as_its_rows_fill(
    candles: set[int], limit: int, newest_first: bool, left: bool, right: bool
) -> None:
    """Rows / page, plus one for the end; and one for the turn, where nothing is known on the far side."""
    book, page = Book(), limit - ANCHORS
    candles |= ({LOW} if left else set()) | ({HIGH - 1} if right else set())
    for edge in ({LOW} if left else set()) | ({HIGH - 1} if right else set()):
        book.record(answered(edge, edge + 1, (edge,), at_ms=LATER))
    remaining = Ranges.of((LOW, HIGH)) - book.answered
    rows = (numbers(candles) & remaining).size
    asks, _ = walk_to_the_end(Walk(SERIES, remaining, page, newest_first), Toy(candles, limit), book)
    far_side_is_known = left if newest_first else right
    assert len(asks) <= -(-rows // page) + (1 if far_side_is_known else 2)


def test_a_year_of_a_market_with_holes_takes_fewer_requests_than_its_intervals_fill() -> None:
    candles = {number for number in range(6_000) if number % 3 == 0}
    book, toy = Book(first=0), Toy(candles, limit=102)
    asks, book = walk_to_the_end(Walk(SERIES, Ranges.of((0, 6_000)), 100, first=0), toy, book)
    assert len(asks) <= 2_000 // 100 + 1
    assert book.stored.size == 2_000
