"""Ranges by example, and by property against Python's own sets."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.ranges import NOTHING, Ranges

NUMBERS = st.integers(-30, 30)
SETS = st.sets(NUMBERS, max_size=40)
SPANS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12)
RUNS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 12)), max_size=20).map(
    lambda runs: Ranges.of(*((start, start + length) for start, length in runs))
)


def ranges(numbers: set[int]) -> Ranges:
    return Ranges.from_numbers(sorted(numbers))


def assert_normal(value: Ranges) -> None:
    """Sorted, no empty span, no two that touch: so that equal sets are equal values."""
    assert all(start < end for start, end in value)
    assert all(left[1] < right[0] for left, right in zip(value.spans, value.spans[1:], strict=False))


@pytest.mark.parametrize(
    ("given_spans", "expected"),
    [
        ([], ()),
        ([(3, 3), (5, 4)], ()),
        ([(1, 2), (2, 3)], ((1, 3),)),
        ([(5, 9), (1, 3), (2, 4)], ((1, 4), (5, 9))),
        ([(1, 10), (3, 4)], ((1, 10),)),
    ],
)
def test_spans_are_normalised(given_spans: list[tuple[int, int]], expected: tuple[tuple[int, int], ...]) -> None:
    assert Ranges.of(*given_spans).spans == expected


def test_repeated_numbers_count_once() -> None:
    assert Ranges.from_numbers([1, 1, 2, 2, 5]).spans == ((1, 3), (5, 6))


def test_nothing_is_false_and_has_no_ends() -> None:
    assert not NOTHING
    assert NOTHING.hull == NOTHING
    with pytest.raises(IndexError):
        _ = NOTHING.start
    with pytest.raises(IndexError):
        _ = NOTHING.end


def test_length_counts_runs_and_size_counts_intervals() -> None:
    value = Ranges.of((0, 10), (20, 21))
    assert (len(value), value.size) == (2, 11)


@given(SPANS)
def test_of_holds_the_numbers_of_its_spans(spans: list[tuple[int, int]]) -> None:
    value = Ranges.of(*spans)
    assert_normal(value)
    assert set(value.numbers()) == {number for start, end in spans for number in range(start, end)}


@given(SETS)
def test_numbers_come_back_in_order(numbers: set[int]) -> None:
    value = ranges(numbers)
    assert_normal(value)
    assert list(value.numbers()) == sorted(numbers)
    assert value.size == len(numbers)


@given(SETS, SETS)
def test_set_arithmetic_is_that_of_sets(left: set[int], right: set[int]) -> None:
    a, b = ranges(left), ranges(right)
    for result, expected in ((a | b, left | right), (a & b, left & right), (a - b, left - right)):
        assert_normal(result)
        assert result == ranges(expected)
    assert a.covers(b) == (left >= right)


def test_set_arithmetic_is_right_for_every_pair_of_small_sets() -> None:
    """All ways in which ranges can touch, cut and enclose each other."""
    small = [{number for number in range(7) if bits >> number & 1} for bits in range(2**7)]
    of = {frozenset(numbers): ranges(numbers) for numbers in small}
    for (left, a), (right, b) in product(of.items(), repeat=2):
        assert (a | b, a & b, a - b) == (of[left | right], of[left & right], of[left - right])


@given(RUNS, RUNS)
def test_set_arithmetic_is_right_for_long_runs(left: Ranges, right: Ranges) -> None:
    a, b = set(left.numbers()), set(right.numbers())
    assert (left | right, left & right, left - right) == (ranges(a | b), ranges(a & b), ranges(a - b))


@given(SETS, NUMBERS)
def test_membership_and_neighbours(numbers: set[int], number: int) -> None:
    value = ranges(numbers)
    assert (number in value) == (number in numbers)
    assert value.at_or_before(number) == max((n for n in numbers if n <= number), default=None)
    assert value.at_or_after(number) == min((n for n in numbers if n >= number), default=None)


@given(SETS.filter(bool))
def test_hull_reaches_from_the_lowest_to_the_highest(numbers: set[int]) -> None:
    value = ranges(numbers)
    assert value.hull.spans == ((min(numbers), max(numbers) + 1),) == ((value.start, value.end),)
