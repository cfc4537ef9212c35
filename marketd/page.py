"""The page check: from rows to an answer.

Owns the decision what an answer covers and which of its rows may be stored. Refuses whole pages that contradict
themselves (BadReply); drops single rows that are misaligned or implausible. Knows nothing of the database.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from marketd.errors import BadReply
from marketd.model import Answer, Ask, Drop, Rows
from marketd.ranges import NOTHING, Ranges
from marketd.timeframe import Timeframe

_LEAST = 1e-20
_MOST = 1e20
_FIGURES = bytes.maketrans(b"0123456789.", b"0" * 11)
_LONG = b"0" * 16  # floats tell apart whatever has no more than 15 digits
_DROPPED_SHARE = 0.01  # a page with more dropped rows than this is refused as a whole


class Conflicting(BadReply):
    """Two different candles of one interval: neither can be believed."""


class TooManyDropped(BadReply):
    """So much of the page is unusable that asking in halves would not help: the series' run fails."""


def check(ask: Ask, rows: Rows, *, at_ms: int, columns: tuple[str, ...], grace_s: float) -> Answer:
    """What ``rows``, received at the exchange's time ``at_ms``, say about ``ask``.

    Raises BadReply when two candles of one interval differ, when more than 1 % of the rows are unusable, or when rows
    were sent and none lies in the ask.
    """
    frame = ask.series.frame
    # A candle is closed once the grace of the exchange's cache has passed; an open one ends what the answer speaks for.
    end = min(ask.end, frame.closed_end(at_ms - int(grace_s * 1000)))
    numbers, aligned = _numbers(rows.open_ms, frame)
    outside = sum(1 for number in numbers if not ask.start <= number < ask.end)
    if numbers and outside == len(numbers):
        raise BadReply(f"{len(numbers)} candles came and none lies in the range asked for")
    usable = [fits and sane for fits, sane in zip(aligned, _plausible(rows, columns), strict=True)]
    inside = sorted((number, at) for at, number in enumerate(numbers) if ask.start <= number < end)
    stored = list(_unique([(number, at) for number, at in inside if usable[at]], rows))
    good = Ranges.from_numbers(number for number, _ in stored)
    unusable = [(number, at) for number, at in inside if not usable[at]]
    bad = Ranges.from_numbers(number for number, _ in unusable)
    _refuse_too_many_dropped(len(unusable), len(inside))
    misaligned = sum(1 for _, at in unusable if not aligned[at])
    return Answer(
        ask=ask,
        covered=_covered(ask, end, good | bad, numbers, strays=outside > 0),
        rows=good,
        dropped=bad - good,
        csv=b"".join(rows.lines[at] + b"\n" for _, at in stored),
        columns=columns,
        at_ms=at_ms,
        fetched=len(numbers),
        drops={
            Drop.OUTSIDE: outside,
            Drop.OPEN: len(numbers) - outside - len(inside),
            Drop.MISALIGNED: misaligned,
            Drop.IMPLAUSIBLE: len(unusable) - misaligned,
            Drop.REPEATED: len(inside) - len(unusable) - len(stored),
        },
    )


def _numbers(open_ms: Sequence[int], frame: Timeframe) -> tuple[list[int], list[bool]]:
    if frame.step_s:
        step, anchor = frame.step_s * 1000, frame.anchor_s * 1000
        return [(ms - anchor) // step for ms in open_ms], [(ms - anchor) % step == 0 for ms in open_ms]
    numbers = [_month_number(ms, frame) for ms in open_ms]
    return numbers, [frame.open_ms(number) == ms for number, ms in zip(numbers, open_ms, strict=True)]


def _month_number(ms: int, frame: Timeframe) -> int:
    try:
        return frame.number(ms)
    except (ValueError, OverflowError, OSError) as error:
        raise BadReply(f"open time {ms} is not a date") from error


def _plausible(rows: Rows, columns: Sequence[str]) -> list[bool]:
    """Positive finite prices in order, volume finite and not negative; NaN fails every comparison."""
    plausible = [
        _LEAST <= low <= opened <= high <= _MOST and low <= close <= high and (volume == 0 or _LEAST <= volume <= _MOST)
        for opened, high, low, close, volume in zip(
            rows.open, rows.high, rows.low, rows.close, rows.volume, strict=True
        )
    ]
    if _LONG not in b",".join(rows.lines).translate(_FIGURES):
        return plausible
    return [sane and _in_order(line, columns) for sane, line in zip(plausible, rows.lines, strict=True)]


def _in_order(line: bytes, columns: Sequence[str]) -> bool:
    """The same by all digits: the database compares those, and would refuse the whole page for the last one."""
    if _LONG not in line.translate(_FIGURES):
        return True
    prices = {name: Decimal(text) for name, text in zip(columns, line.decode().split(","), strict=True)}
    return (
        prices["low"] <= min(prices["open"], prices["close"]) <= max(prices["open"], prices["close"]) <= prices["high"]
    )


def _unique(ordered: Sequence[tuple[int, int]], rows: Rows) -> Iterator[tuple[int, int]]:
    """One row an interval: equal repeats are one, different ones refuse the page."""
    last_number, last_at = None, -1
    for number, at in ordered:
        if number != last_number:
            yield number, at
        elif rows.lines[at] != rows.lines[last_at]:
            raise Conflicting(f"two different candles open at {rows.open_ms[at]}")
        last_number, last_at = number, at


def _refuse_too_many_dropped(dropped: int, received: int) -> None:
    if dropped > max(1, received * _DROPPED_SHARE):
        raise TooManyDropped(f"{dropped} of {received} candles are misaligned or implausible")


def _covered(ask: Ask, end: int, seen: Ranges, sent: Sequence[int], *, strays: bool) -> Ranges:
    """The range that the answer speaks for (design: what an answer covers).

    Empty: the whole ask. Else from the uncut edge to the outermost row on the cut side, which is the whole ask where
    an anchor stands at that edge. From the first to the last row only, where the order contradicts the sort asked
    for, or where rows outside the ask show that its bounds were not heeded.
    """
    if not sent:
        return Ranges.of((ask.start, end))
    if not seen:
        return NOTHING
    if strays or _contradicts(sent, newest_first=ask.newest_first):
        return seen.hull
    return Ranges.of((seen.start, end) if ask.newest_first else (ask.start, seen.end))


def _contradicts(sent: Sequence[int], *, newest_first: bool) -> bool:
    if newest_first:
        return any(earlier < later for earlier, later in pairwise(sent))
    return any(earlier > later for earlier, later in pairwise(sent))
