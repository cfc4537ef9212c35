"""Derived timeframes: complete children only, and what their ledger then says."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd import derive
from marketd.blocks import BLOCK, Block
from marketd.clock import ms_of
from marketd.derive import Built, Parent
from marketd.ranges import NOTHING, Ranges
from marketd.timeframe import TIMEFRAMES, Timeframe
from tests.toy import numbers

MINUTE, FIVE, HOUR, DAY = (TIMEFRAMES[name] for name in ("1m", "5m", "1h", "1d"))
WEEK, FORTNIGHT, MONTH = (TIMEFRAMES[name] for name in ("1w", "2w", "1M"))


def number(frame: Timeframe, year: int, month: int, day: int) -> int:
    return frame.number(ms_of(datetime(year, month, day, tzinfo=UTC)))


def days(start: tuple[int, int, int], end: tuple[int, int, int]) -> Ranges:
    return Ranges.of((number(DAY, *start), number(DAY, *end)))


class TestBuild:
    def test_a_child_needs_every_parent(self) -> None:
        known = Parent(stored=Ranges.of((0, 9)), confirmed=NOTHING)
        assert derive.build(known, (0, 2), MINUTE, FIVE) == Built(stored=numbers([0]))

    def test_confirmed_empty_parents_suffice(self) -> None:
        known = Parent(stored=numbers([0, 7]), confirmed=Ranges.of((1, 7), (8, 10)))
        assert derive.build(known, (0, 2), MINUTE, FIVE).stored == Ranges.of((0, 2))

    def test_a_child_without_any_trade_is_empty(self) -> None:
        known = Parent(stored=numbers([0]), confirmed=Ranges.of((1, 10)))
        assert derive.build(known, (0, 2), MINUTE, FIVE) == Built(numbers([0]), numbers([1]))

    def test_parents_before_the_first_candle_count_as_empty(self) -> None:
        known = Parent(stored=Ranges.of((13, 20)), confirmed=NOTHING, first=13)
        assert derive.build(known, (2, 4), MINUTE, FIVE).stored == Ranges.of((2, 4))

    def test_what_lies_wholly_before_the_first_candle_is_not_history(self) -> None:
        known = Parent(stored=Ranges.of((13, 20)), confirmed=Ranges.of((0, 13)), first=13)
        assert derive.build(known, (0, 4), MINUTE, FIVE) == Built(Ranges.of((2, 4)), NOTHING)

    def test_without_a_known_first_candle_nothing_is_assumed(self) -> None:
        known = Parent(stored=Ranges.of((13, 20)), confirmed=NOTHING)
        assert derive.build(known, (0, 4), MINUTE, FIVE).stored == numbers([3])

    def test_a_week_begins_on_monday(self) -> None:
        week = number(WEEK, 2026, 1, 7)
        assert datetime.fromtimestamp(WEEK.open_ms(week) // 1000, UTC).date().isoformat() == "2026-01-05"
        known = Parent(stored=days((2026, 1, 5), (2026, 1, 18)), confirmed=NOTHING)
        assert derive.build(known, (week - 1, week + 2), DAY, WEEK).stored == numbers([week])

    def test_two_weeks_count_from_the_first_monday_of_the_epoch(self) -> None:
        assert FORTNIGHT.open_ms(0) == ms_of(datetime(1970, 1, 5, tzinfo=UTC))
        pair = number(FORTNIGHT, 2026, 1, 7)
        opens = datetime.fromtimestamp(FORTNIGHT.open_ms(pair) // 1000, UTC)
        start, end = derive.parent_span((pair, pair + 1), DAY, FORTNIGHT)
        assert (opens.weekday(), end - start) == (0, 14)
        assert not derive.build(Parent(Ranges.of((start, end - 1)), NOTHING), (pair, pair + 1), DAY, FORTNIGHT).stored
        assert derive.build(Parent(Ranges.of((start, end)), NOTHING), (pair, pair + 1), DAY, FORTNIGHT).stored

    @pytest.mark.parametrize(("month", "length"), [((2024, 2), 29), ((2023, 2), 28), ((2024, 12), 31), ((2024, 4), 30)])
    def test_months_are_those_of_the_calendar(self, month: tuple[int, int], length: int) -> None:
        child = number(MONTH, *month, 15)
        start, end = derive.parent_span((child, child + 1), DAY, MONTH)
        assert (start, end - start) == (number(DAY, *month, 1), length)
        assert derive.build(Parent(Ranges.of((start, end)), NOTHING), (child, child + 1), DAY, MONTH).stored.size == 1
        assert derive.build(Parent(Ranges.of((start + 1, end)), NOTHING), (child, child + 1), DAY, MONTH) == Built()

    @given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.none() | st.integers(0, 59))
    def test_is_the_rule_interval_by_interval(self, stored: set[int], confirmed: set[int], first: int | None) -> None:
        stored = {n for n in stored if first is None or n >= first}
        built = derive.build(Parent(numbers(stored), numbers(confirmed - stored), first), (0, 12), MINUTE, FIVE)
        proven = stored | confirmed | set(range(first or 0))
        complete = [child for child in range(12) if proven.issuperset(range(child * 5, child * 5 + 5))]
        traded = [child for child in complete if stored.intersection(range(child * 5, child * 5 + 5))]
        assert built.stored == numbers(traded)
        assert built.empty == numbers(n for n in set(complete) - set(traded) if first is None or n >= first // 5)


class TestSpans:
    def test_children_of_a_part_are_those_that_overlap_it(self) -> None:
        assert derive.child_span(Ranges.of((4, 6)), MINUTE, FIVE) == (0, 2)
        assert derive.child_span(Ranges.of((5, 10)), MINUTE, FIVE) == (1, 2)
        assert derive.child_span(numbers([0, 61]), MINUTE, HOUR) == (0, 2)

    @given(st.integers(0, 30_000), st.integers(1, 400), st.sampled_from([WEEK, FORTNIGHT, MONTH]))
    def test_parents_of_the_children_cover_what_they_were_made_for(
        self, start: int, length: int, child: Timeframe
    ) -> None:
        children = derive.child_span(Ranges.of((start, start + length)), DAY, child)
        low, high = derive.parent_span(children, DAY, child)
        assert low <= start < start + length <= high
        inner_low, inner_high = derive.parent_span((children[0] + 1, children[1] - 1), DAY, child)
        assert inner_low > start
        assert inner_high < start + length or children[1] - children[0] == 1


class TestLedger:
    def test_follows_the_parents_within_the_stretch_only(self) -> None:
        before = {0: Block(0, answered=Ranges.of((0, 100)), empty_confirmed=Ranges.of((10, 20)))}
        (block,) = derive.ledger(before, (15, 50), Built(Ranges.of((15, 30)), numbers([30])), 7)
        assert block.answered == Ranges.of((0, 31), (50, 100))
        assert block.empty_confirmed == numbers([*range(10, 15), 30])
        assert (block.stored, block.answered_ms) == (block.answered - block.empty_confirmed, 7)

    def test_reaches_over_blocks(self) -> None:
        span = (BLOCK - 5, BLOCK + 5)
        blocks = derive.ledger({}, span, Built(stored=Ranges.of(span)), 7)
        assert [(block.number, block.answered) for block in blocks] == [
            (0, Ranges.of((BLOCK - 5, BLOCK))), (1, Ranges.of((BLOCK, BLOCK + 5))),
        ]  # fmt: skip


DERIVED = {"1w": "1d", "1d": "1h", "1h": "1m", "1M": "1d"}


class TestChain:
    def test_is_nearest_first_and_empty_for_a_native_one(self) -> None:
        assert derive.parents_of("1w", DERIVED) == ["1d", "1h", "1m"]
        assert derive.parents_of("1m", DERIVED) == []

    @pytest.mark.parametrize("circle", [{"1h": "1h"}, {"1d": "1h", "1h": "1d"}, {"1w": "1d", "1d": "1h", "1h": "1d"}])
    def test_a_circle_is_refused(self, circle: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="derived from itself"):
            derive.parents_of(next(iter(circle)), circle)


@pytest.mark.parametrize(
    ("retired", "lasting"), [(None, (10, 20)), (0, (10, 20)), (60, (12, 20)), (61, (13, 20)), (1000, (200, 200))]
)
def test_what_has_a_retired_parent_stays_as_it_was_proven(retired: int | None, lasting: tuple[int, int]) -> None:
    assert derive.lasting((10, 20), retired, MINUTE, FIVE) == lasting
    assert derive.lasting((10, 20), retired, MINUTE, FIVE, own=12) == (max(lasting[0], 12), lasting[1])
