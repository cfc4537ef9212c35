"""Runs of empty intervals that look wrong.

Owns the judgement which empties are not believed at once: a run far longer than usual for its series, or one that
several symbols of an exchange share. Pure, over runs as half-open spans; the rule was set on real candles of thin and
dense markets, where it names the exchange's known outages and almost nothing else.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import islice

from marketd.ranges import Ranges, Span
from marketd.timeframe import Timeframe

NEAR_S = 30 * 86_400
"""How far to both sides the usual length of a run is measured, in seconds (at least 30 intervals)."""

_LEAST_S = 3600  # shorter silences are never suspect: they heal by the ordinary looks
_LEAST_INTERVALS = 3
_TIMES_USUAL = 3
_RANK = 3  # "usual" is the third longest run nearby (else 1), so that two outages in a month do not hide each other
_SHARING = 3  # symbols that must be silent at once


def near(frame: Timeframe) -> int:
    """Intervals to both sides within which runs are compared."""
    return max(30, NEAR_S // frame.typical_s)


def unusual(runs: Sequence[Span], frame: Timeframe, *, times: float = _TIMES_USUAL) -> list[Span]:
    """Those of ``runs`` (ascending, disjoint) that are more than ``times`` the usual length around them.

    Shorter runs than ``comparable`` may be left out of ``runs``: they change nothing.
    """
    # Long runs only, and each stops at the third that is like it: a thin market has a hundred thousand runs.
    least = max(shortest(frame), int(times) + 1)
    long = [run for run in runs if run[1] - run[0] >= least]
    if not long:
        return []
    reach = near(frame)
    lengths = [end - start for start, end in runs]

    def rare(run: Span) -> bool:
        first = bisect_right(runs, run[0] - reach, key=_end)
        last = bisect_left(runs, run[1] + reach, key=_start)
        alike = (at for at in range(first, last) if times * lengths[at] >= _length(run) and runs[at] != run)
        return len(list(islice(alike, _RANK))) < _RANK

    return [run for run in long if rare(run)]


def shortest(frame: Timeframe) -> int:
    """Intervals that a run has at least to be suspect at all."""
    return max(_LEAST_INTERVALS, -(-_LEAST_S // frame.typical_s))


def comparable(frame: Timeframe) -> int:
    """Intervals that a run has at least to matter for whether another is unusual."""
    return -(-max(shortest(frame), _TIMES_USUAL + 1) // _TIMES_USUAL)


def shared(runs: Mapping[str, Sequence[Span]], frame: Timeframe) -> dict[str, list[Span]]:
    """Runs, longer than usual for their symbol, that at least three symbols of a majority have at the same time."""
    longer = {symbol: unusual(spans, frame, times=1) for symbol, spans in runs.items()}
    return {
        symbol: found
        for symbol, spans in longer.items()
        if (found := [span for span in spans if _is_shared(symbol, span, longer)])
    }


def _is_shared(symbol: str, span: Span, longer: Mapping[str, Sequence[Span]]) -> bool:
    silent = 1 + sum(
        any(_overlap(span, other) * 2 > _length(span) for other in others)
        for name, others in longer.items()
        if name != symbol
    )
    return silent >= _SHARING and silent * 2 > len(longer)


def doubtful(run: Span, closed: Ranges, first: int | None) -> Ranges:
    """What of ``run`` may be doubted: nothing that a closed suspect gap has settled, nothing before ``first``."""
    start = run[0] if first is None else max(run[0], first)
    return Ranges.of((start, run[1])) - closed


def _start(run: Span) -> int:
    return run[0]


def _end(run: Span) -> int:
    return run[1]


def _length(run: Span) -> int:
    return run[1] - run[0]


def _overlap(one: Span, other: Span) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))
