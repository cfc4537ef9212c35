"""What the pages of one series and of one gap say.

Owns their words. Pure: figures in, records for the templates out (see ``overview`` for what both share).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from marketd import words
from marketd.coverage import State
from marketd.figures import CandleFigures, GapFigures, RevisionFigures, RunFigures, SeriesMap, SeriesReport
from marketd.model import RunStatus, Series
from marketd.web import axis, chart, overview, shapes
from marketd.web.overview import Given
from marketd.web.status import Status

CANDLES: Final = 500
LISTED: Final = 50

_MEANINGS: Final = {
    State.NOT_ASKED: "Nobody asked for it when it was due: marketd was away, or had no room. It is asked for soon.",
    State.FAILED: "The exchange answered, but not usably. It is asked again, at growing intervals.",
    State.LATE: "The exchange usually sends a candle for every interval, and has none here yet. It is asked again.",
    State.LOST: "It was stored once; the exchange no longer sends it, or rows are gone. It is asked again.",
    State.SUSPECT: "The exchange says that nothing was traded, for longer than is likely. It is asked again.",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    name: str
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class GapView:
    id: int
    series: Series
    title: str
    open: bool
    meaning: str
    drawing: str
    terms: Sequence[Term]
    command: str


@dataclass(frozen=True, slots=True)
class GapLine:
    id: int
    cause: str
    span: str
    missing: str
    attempts: int
    next: str
    error: str


@dataclass(frozen=True, slots=True)
class RunLine:
    id: int
    what: str
    started: str
    took: str
    status: str
    failed: bool
    stored: str
    requests: int
    error: str


@dataclass(frozen=True, slots=True)
class RevisionLine:
    candle: str
    told: str
    changes: str


@dataclass(frozen=True, slots=True)
class Line:
    """Closing prices as points of a line in a box of 1000 by 200, with the lowest and the highest price."""

    points: str
    low: str
    high: str
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class SeriesView:
    series: Series
    given: Given
    drawing: str
    ticks: Sequence[tuple[float, str]]
    terms: Sequence[Term]
    line: Line | None
    before_ms: int
    older_ms: int | None
    gaps: Sequence[GapLine]
    runs: Sequence[RunLine]
    revisions: Sequence[RevisionLine]


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says of a series; ``window`` is the stretch of time of the ``map``, in ms."""

    figures: SeriesReport
    window: tuple[int, int]
    map: SeriesMap
    candles: Sequence[CandleFigures]
    before_ms: int
    gaps: Sequence[GapFigures]
    runs: Sequence[RunFigures]
    revisions: Sequence[RevisionFigures]


def gap(found: GapFigures) -> GapView:
    state = State(found.cause.value)
    closed = found.repaired_ms is not None
    outcome = "" if found.resolution is None else f": {found.resolution.value.replace('_', ' ')}"
    terms = [
        Term("from", f"{words.moment(found.start_ms)} UTC"),
        Term("to", f"{words.moment(found.end_ms)} UTC"),
        Term("owed", f"{words.plural(found.owed, 'candle')}, {words.count(found.missing)} still missing", not closed),
        Term("found since", f"{words.count(found.filled)} stored, {words.count(found.emptied)} without a trade"),
        Term("noticed", f"{words.moment(found.detected_ms)} UTC"),
        Term("tries so far", str(found.attempts)),
        Term("last error", found.last_error or "none", found.last_error is not None),
        Term("next try", "-" if closed else _due(found.next_attempt_ms)),
    ]  # fmt: skip
    if closed:
        terms.append(Term("closed", f"{words.moment(found.repaired_ms)} UTC{outcome}"))
    exchange, symbol, timeframe = found.series
    return GapView(
        found.id, found.series, chart.LABELS[state], not closed, _MEANINGS[state], chart.key(state), terms,
        f"marketd repair-gaps --exchange {exchange} --symbol {symbol} --timeframe {timeframe}",
    )  # fmt: skip


def _due(next_attempt_ms: int | None) -> str:
    return "as soon as possible" if next_attempt_ms is None else f"{words.moment(next_attempt_ms)} UTC"


def series(known: Known, status: Status, given: Given) -> SeriesView:
    figures = known.figures
    start_ms, end_ms = known.window
    stretches = overview.stretches_of(known.map, figures, status)
    return SeriesView(
        series=figures.series,
        given=given,
        drawing=chart.row(stretches, start_ms, end_ms),
        ticks=axis.marks(start_ms, end_ms),
        terms=_terms(figures, status),
        line=_line(known.candles),
        before_ms=known.before_ms,
        older_ms=known.candles[0].open_ms if len(known.candles) == CANDLES else None,
        gaps=[_gap_line(each, status.now_ms()) for each in known.gaps],
        runs=[_run_line(each) for each in known.runs],
        revisions=[_revision_line(each) for each in known.revisions],
    )


def _terms(figures: SeriesReport, status: Status) -> Sequence[Term]:
    lag = shapes.lag(figures, status)
    allowed = "" if lag.objective_s is None else f", {words.duration(lag.objective_s)} are allowed"
    return [
        Term("complete", words.percent(figures.completeness), not figures.complete),
        Term("behind", lag.said + allowed, lag.late),
        Term("stored", words.plural(figures.stored, "candle")),
        Term("without a trade", words.plural(figures.empty, "interval")),
        Term("not asked for yet", words.plural(figures.unknown, "interval")),
        Term("first candle", f"{words.moment(figures.first_ms)}"),
        Term("stored from", f"{words.moment(figures.oldest_ms)}"),
        Term("stored to", f"{words.moment(figures.latest_ms)}"),
        *([Term("built from", figures.derived_from)] if figures.derived_from else []),
    ]


def _line(candles: Sequence[CandleFigures]) -> Line | None:
    if len(candles) < 2:
        return None
    closes = [float(each.close) for each in candles]
    low, high = min(closes), max(closes)
    begin, width = candles[0].open_ms, candles[-1].open_ms - candles[0].open_ms
    points = " ".join(
        f"{(each.open_ms - begin) / width * 1000:.1f},{195 - (close - low) / ((high - low) or 1) * 190:.1f}"
        for each, close in zip(candles, closes, strict=True)
    )
    return Line(points, f"{low:g}", f"{high:g}", words.moment(begin), words.moment(candles[-1].open_ms))


def _gap_line(each: GapFigures, now_ms: int) -> GapLine:
    due = each.next_attempt_ms
    return GapLine(
        each.id, each.cause.value.replace("_", " "), f"{words.moment(each.start_ms)} to {words.moment(each.end_ms)}",
        f"{words.count(each.missing)} of {words.count(each.owed)}", each.attempts,
        "now" if due is None or due <= now_ms else f"in {words.duration((due - now_ms) / 1000)}", each.last_error or "",
    )  # fmt: skip


def _run_line(each: RunFigures) -> RunLine:
    return RunLine(
        each.id, each.job_type.value.replace("_", " "), words.moment(each.started_ms), words.duration(each.took_s),
        each.status.value, each.status in (RunStatus.FAILED, RunStatus.PARTIAL), words.count(each.inserted),
        each.requests, each.error or "",
    )  # fmt: skip


_FIELDS: Final = ("open", "high", "low", "close", "volume")


def _revision_line(each: RevisionFigures) -> RevisionLine:
    changes = "vanished" if each.new is None else ", ".join(
        f"{name} {old.normalize():f} to {new.normalize():f}"
        for name, old, new in zip(_FIELDS, each.old, each.new, strict=True) if old != new
    )  # fmt: skip
    return RevisionLine(words.moment(each.open_ms), words.moment(each.told_ms), changes)
