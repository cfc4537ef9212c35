"""Sets of interval numbers as sorted, disjoint, non-adjacent half-open ranges.

Owns the set arithmetic that ledger and planner are made of. Values are immutable; every operation is one merge
over the sorted ranges, O(n + m), or for the few ranges of a page a search among many. Refuses to know what the
numbers mean.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from operator import sub
from typing import Self

Span = tuple[int, int]

_FEW = 3  # so many ranges are looked for one by one among the others


@dataclass(frozen=True, slots=True)
class Ranges:
    """``spans`` are half-open ``(start, end)``; use the constructors, which normalise."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *spans: Span) -> Self:
        """From spans in any order; empty ones are dropped, overlapping and adjacent ones joined."""
        return cls(tuple(_joined(sorted(span for span in spans if span[0] < span[1]))))

    @classmethod
    def from_numbers(cls, numbers: Iterable[int]) -> Self:
        """From ascending interval numbers (repeats allowed)."""
        given = numbers if isinstance(numbers, list) else list(numbers)
        if not given:
            return cls()
        steps = map(sub, islice(given, 1, None), given)
        breaks = [at for at, step in enumerate(steps, 1) if step > 1]
        starts = (given[0], *map(given.__getitem__, breaks))
        ends = (*(given[at - 1] + 1 for at in breaks), given[-1] + 1)
        return cls(tuple(zip(starts, ends, strict=True)))

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __len__(self) -> int:
        """How many separate runs there are; see ``size`` for how many intervals."""
        return len(self.spans)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.spans, number, key=_start)
        return at > 0 and number < self.spans[at - 1][1]

    def __or__(self, other: Self) -> Self:
        if not other.spans:
            return self
        if not self.spans:
            return other
        if self.spans[-1][1] < other.spans[0][0]:
            return type(self)(self.spans + other.spans)
        many, few = (self.spans, other.spans) if len(self.spans) > len(other.spans) else (other.spans, self.spans)
        if len(few) <= _FEW:
            return type(self)(reduce(_with, few, many))
        return type(self)(tuple(_joined(sorted(self.spans + other.spans))))

    def __and__(self, other: Self) -> Self:
        if self.spans == other.spans:
            return self
        many, few = (self.spans, other.spans) if len(self.spans) > len(other.spans) else (other.spans, self.spans)
        if len(few) <= _FEW:
            return type(self)(tuple(chain.from_iterable(_within(many, span) for span in few)))
        return type(self)(tuple(_common(many, few)))

    def __sub__(self, other: Self) -> Self:
        if not other.spans or not self.spans:
            return self
        if self.spans == other.spans:
            return type(self)()
        if len(other.spans) <= _FEW:
            return type(self)(reduce(_without, other.spans, self.spans))
        if len(self.spans) <= _FEW:
            return type(self)(tuple(chain.from_iterable(_between(other.spans, span) for span in self.spans)))
        return type(self)(tuple(_remaining(self.spans, other.spans)))

    @property
    def size(self) -> int:
        """How many intervals."""
        return sum(end - start for start, end in self.spans)

    @property
    def start(self) -> int:
        """Lowest number; IndexError when empty."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Highest number + 1; IndexError when empty."""
        return self.spans[-1][1]

    @property
    def hull(self) -> Self:
        """One range from the lowest to the highest number."""
        return type(self)(((self.start, self.end),)) if self.spans else self

    def covers(self, other: Self) -> bool:
        """True where every number of ``other`` is in this set."""
        return not (other - self)

    def numbers(self) -> Iterator[int]:
        for start, end in self.spans:
            yield from range(start, end)

    def at_or_before(self, number: int) -> int | None:
        """Highest member that is not above ``number``."""
        at = bisect_right(self.spans, number, key=_start)
        return None if at == 0 else min(number, self.spans[at - 1][1] - 1)

    def at_or_after(self, number: int) -> int | None:
        """Lowest member that is not below ``number``."""
        if number in self:
            return number
        at = bisect_right(self.spans, number, key=_start)
        return self.spans[at][0] if at < len(self.spans) else None


NOTHING = Ranges()


def _start(span: Span) -> int:
    return span[0]


def _end(span: Span) -> int:
    return span[1]


def _within(spans: tuple[Span, ...], span: Span) -> tuple[Span, ...]:
    """What of ``spans`` lies in ``span``."""
    start, end = span
    found = spans[bisect_right(spans, start, key=_end) : bisect_left(spans, end, key=_start)]
    if not found or (found[0][0] >= start and found[-1][1] <= end):
        return found
    if len(found) == 1:
        return ((max(found[0][0], start), min(found[0][1], end)),)
    return ((max(found[0][0], start), found[0][1]), *found[1:-1], (found[-1][0], min(found[-1][1], end)))


def _without(spans: tuple[Span, ...], span: Span) -> tuple[Span, ...]:
    """What of ``spans`` lies outside of ``span``."""
    start, end = span
    low, high = bisect_right(spans, start, key=_end), bisect_left(spans, end, key=_start)
    if low >= high:
        return spans
    left = ((spans[low][0], start),) if spans[low][0] < start else ()
    right = ((end, spans[high - 1][1]),) if spans[high - 1][1] > end else ()
    return spans[:low] + left + right + spans[high:]


def _between(spans: tuple[Span, ...], span: Span) -> Iterator[Span]:
    """What of ``span`` lies outside of ``spans``."""
    start, end = span
    found = spans[bisect_right(spans, start, key=_end) : bisect_left(spans, end, key=_start)]
    edges = zip(chain((start,), map(_end, found)), chain(map(_start, found), (end,)), strict=True)
    return (edge for edge in edges if edge[0] < edge[1])


def _with(spans: tuple[Span, ...], span: Span) -> tuple[Span, ...]:
    """``spans`` and ``span``, joined with what it overlaps or touches."""
    start, end = span
    low, high = bisect_left(spans, start, key=_end), bisect_right(spans, end, key=_start)
    if low < high:
        start, end = min(start, spans[low][0]), max(end, spans[high - 1][1])
    return (*spans[:low], (start, end), *spans[high:])


def _joined(ordered: Iterable[Span]) -> Iterator[Span]:
    current: Span | None = None
    for span in ordered:
        if current is None:
            current = span
        elif span[0] <= current[1]:
            if span[1] > current[1]:
                current = (current[0], span[1])
        else:
            yield current
            current = span
    if current is not None:
        yield current


def _common(left: tuple[Span, ...], right: tuple[Span, ...]) -> Iterator[Span]:
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i][0], right[j][0])
        end = min(left[i][1], right[j][1])
        if start < end:
            yield start, end
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1


def _remaining(left: tuple[Span, ...], right: tuple[Span, ...]) -> Iterator[Span]:
    j = 0
    for first, end in left:
        start = first
        while j < len(right) and right[j][1] <= start:
            j += 1
        k = j
        while k < len(right) and right[k][0] < end:
            if right[k][0] > start:
                yield start, right[k][0]
            start = max(start, right[k][1])
            k += 1
        if start < end:
            yield start, end


def highest(*numbers: int | None) -> int | None:
    """The highest of those that are known; None where none is."""
    return max((number for number in numbers if number is not None), default=None)
