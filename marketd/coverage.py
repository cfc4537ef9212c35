"""The coverage map: what each stretch of a series' time is.

Owns the words for it and their precedence: an open gap stands before what is answered, a silence before candles.
Pure: figures in, stretches out. Refuses to draw (see ``web.chart`` and ``cli.blocks``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import dropwhile

from marketd.figures import SeriesFigures, SeriesMap
from marketd.model import Series
from marketd.ranges import NOTHING, Ranges


class State(StrEnum):
    """What is to be seen of an interval. Owed ones have the cause of their gap."""

    COMPLETE = "complete"
    QUIET = "quiet"
    NOT_ASKED = "not_asked"
    FAILED = "failed"
    LATE = "late"
    LOST = "lost"
    SUSPECT = "suspect"
    UNKNOWN = "unknown"
    FILLING = "filling"
    BEFORE = "before"
    UNSERVED = "unserved"
    RESTING = "resting"


OWED = (State.FAILED, State.LATE, State.LOST, State.NOT_ASKED, State.SUSPECT)
"""The open gaps, worst first."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Intervals of one state from ``start_ms`` to ``end_ms``; ``gap`` is the id of the gap that owes them."""

    start_ms: int
    end_ms: int
    state: State
    gap: int | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """What the ledger does not know of a series: how late it is there (``closed_ms``), how many of its newest intervals
    are served (None: all), and what happens to it right now.
    """

    closed_ms: int
    reach: int | None = None
    filling: bool = False
    resting: bool = False


def stretches(known: SeriesMap, figures: SeriesFigures, beside: Beside) -> tuple[Stretch, ...]:
    """The map of a series, ascending; nothing where nothing is wanted, and nothing after what has closed."""
    frame = known.series.frame
    window = Ranges.of((known.start, min(known.end, frame.closed_end(beside.closed_ms))))
    if not window:
        return ()
    found: list[Stretch] = []
    left = window
    for part, state, gap in _layers(known, figures, beside):
        for start, end in (part & left).spans:
            found.append(Stretch(frame.open_ms(start), frame.open_ms(end), state, gap))
        left = left - part
        if not left:
            break
    return tuple(sorted(found, key=lambda one: one.start_ms))


def _layers(known: SeriesMap, figures: SeriesFigures, beside: Beside) -> Iterator[tuple[Ranges, State, int | None]]:
    """What is known, each before what it hides; with the id of its gap."""
    for gap in known.gaps:
        yield gap.missing, State(gap.cause.value), gap.id
    yield known.quiet & known.answered, State.QUIET, None
    yield known.answered, State.COMPLETE, None
    yield _before(figures), State.BEFORE, None
    yield _unserved(known.series, beside), State.UNSERVED, None
    yield _unasked(known, figures), _waiting(beside, known), None


def _before(figures: SeriesFigures) -> Ranges:
    """What lies before the first candle that the exchange has."""
    if figures.first_ms is None:
        return NOTHING
    return Ranges.of((-(2**31), figures.series.frame.number(figures.first_ms)))


def _unserved(series: Series, beside: Beside) -> Ranges:
    """What is too old for the exchange to send."""
    if beside.reach is None:
        return NOTHING
    return Ranges.of((-(2**31), series.frame.closed_end(beside.closed_ms) - beside.reach))


def never_to_come(figures: SeriesFigures, beside: Beside) -> int:
    """How many of the unknown intervals lie before all that is answered, and are too old to be asked for."""
    if figures.wanted_from_ms is None or figures.answered_from_ms is None:
        return 0
    frame = figures.series.frame
    unknown = Ranges.of((frame.number(figures.wanted_from_ms), frame.number(figures.answered_from_ms)))
    return (unknown & _unserved(figures.series, beside)).size


def _unasked(known: SeriesMap, figures: SeriesFigures) -> Ranges:
    begin_ms = figures.wanted_from_ms if figures.wanted_from_ms is not None else figures.answered_from_ms
    return NOTHING if begin_ms is None else Ranges.of((known.series.frame.number(begin_ms), known.end))


def _waiting(beside: Beside, known: SeriesMap) -> State:
    if beside.filling:
        return State.FILLING
    return State.RESTING if beside.resting and known.answered else State.UNKNOWN


def shared(rows: Sequence[Sequence[Stretch]], least_ms: int) -> tuple[tuple[int, int], ...]:
    """When all of at least two series lacked something at once, for ``least_ms`` or longer: spans in ms.

    That is how an exchange looks that was out of reach.
    """
    if len(rows) < 2:
        return ()
    common = Ranges.of(*_lacking(rows[0]))
    for row in rows[1:]:
        common = common & Ranges.of(*_lacking(row))
    return tuple((start, end) for start, end in common.spans if end - start >= least_ms)


def _lacking(row: Sequence[Stretch]) -> Iterator[tuple[int, int]]:
    """What is missing since the series is followed: history that was never asked for says nothing of its exchange."""
    followed = dropwhile(lambda one: one.state in (State.UNKNOWN, State.FILLING, State.UNSERVED, State.BEFORE), row)
    for one in followed:
        if one.state in OWED or one.state is State.UNKNOWN:
            yield one.start_ms, one.end_ms
