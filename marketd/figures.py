"""The figures that readers are shown, as records.

Owns their names and units, so that the store and the edges that show them agree without knowing each other: times are
``_ms`` since the epoch, UTC; counts are intervals unless they say otherwise. Refuses to fetch or to shape them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from marketd.model import Cause, JobType, Resolution, RunStatus, Series
from marketd.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Tables:
    """Whether the table of candles is there, and which tables of ours are not."""

    candles: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    stored: int
    open_gaps: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when the promises were held against the tables: rows by the name of the promise they break.

    ``kind`` is ``full`` or ``sample``; ``pieces`` of ``pieces_known`` were looked at.
    """

    began_ms: int
    ended_ms: int
    kind: str
    pieces: int
    pieces_known: int
    violations: Mapping[str, int]

    @property
    def share(self) -> float:
        return self.pieces / self.pieces_known if self.pieces_known else 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """Everything before ``until_ms`` has been asked for and answered, or is an open gap; None: nothing yet."""

    series: Series
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run; ``last_open_ms`` is the open time of the last interval it worked on."""

    id: int
    job_id: int
    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    scheduled_ms: int
    started_ms: int | None
    completed_ms: int | None
    status: RunStatus
    requests: int
    fetched: int
    inserted: int
    updated: int
    empties: int
    gaps_opened: int
    gaps_closed: int
    last_open_ms: int | None
    error: str | None

    @property
    def late_s(self) -> float | None:
        """How long after its due time it began."""
        return None if self.started_ms is None else (self.started_ms - self.scheduled_ms) / 1000

    @property
    def took_s(self) -> float | None:
        """None while it runs."""
        if self.started_ms is None or self.completed_ms is None:
            return None
        return (self.completed_ms - self.started_ms) / 1000


@dataclass(frozen=True, slots=True)
class Missing:
    """Intervals owed by open gaps, by cause."""

    not_asked: int = 0
    failed: int = 0
    late: int = 0
    lost: int = 0
    suspect: int = 0

    def by_cause(self) -> dict[Cause, int]:
        return {cause: getattr(self, cause.value) for cause in Cause}

    @property
    def total(self) -> int:
        return self.not_asked + self.failed + self.late + self.lost + self.suspect


@dataclass(frozen=True, slots=True)
class SeriesFigures:
    """What is known of a series.

    ``first_ms`` is the first candle the exchange has.
    ``wanted`` is how many intervals its wanted history holds up to the newest answer; ``unknown``, ``wanted_missing``
    and ``wanted_gaps`` count within it. ``history_known`` is False while nobody knows where the wanted history begins.
    Suspect intervals are in ``missing``, not in ``empty_once``.
    """

    series: Series
    derived_from: str | None
    known_since_ms: int | None
    first_ms: int | None
    answered_from_ms: int | None
    answered_until_ms: int | None
    wanted_from_ms: int | None
    history_known: bool
    wanted: int
    stored: int
    empty_once: int
    empty_confirmed: int
    unknown: int
    wanted_missing: int
    wanted_gaps: int
    open_gaps: int
    missing: Missing
    next_attempt_ms: int | None

    @property
    def empty(self) -> int:
        return self.empty_once + self.empty_confirmed

    @property
    def complete(self) -> bool:
        """No unknown interval and no open gap in the wanted history; whether it is fresh is asked elsewhere."""
        return self.history_known and self.unknown == 0 and self.wanted_gaps == 0

    @property
    def completeness(self) -> float | None:
        """Share of the wanted history that is stored or answered empty, 0 to 1; None where nothing is wanted yet."""
        if self.wanted == 0:
            return None
        return max(0, self.wanted - self.unknown - self.wanted_missing) / self.wanted


@dataclass(frozen=True, slots=True)
class SeriesReport(SeriesFigures):
    """The same, and what takes a look-up each: the first and last candle stored, the next look at empties, runs."""

    oldest_ms: int | None
    latest_ms: int | None
    next_look_ms: int | None
    last_run: RunFigures | None
    last_success_ms: int | None


@dataclass(frozen=True, slots=True)
class DayFigures:
    """Runs started in the last 24 hours, by status; ``running`` counts those that run now, whenever they started.

    ``candles`` were stored by them. The last run and success may be older.
    """

    total: int
    success: int
    partial: int
    failed: int
    interrupted: int
    skipped: int
    running: int
    candles: int
    last_run: RunFigures | None
    last_success_ms: int | None


@dataclass(frozen=True, slots=True)
class JobFigures:
    """``paused_until_ms`` is None where a pause has no end; a pause of its exchange counts as its own."""

    id: int
    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    schedule: str | None
    enabled: bool
    origin: str
    owner: str | None
    start_ms: int | None
    end_ms: int | None
    status: str | None
    last_error: str | None
    paused: bool
    paused_until_ms: int | None
    jitter_s: float | None
    running: bool
    last_run: RunFigures | None


@dataclass(frozen=True, slots=True)
class GapFigures:
    """``missing`` of ``owed`` intervals are still to be proven; start and end are the hull of what was owed."""

    id: int
    series: Series
    start_ms: int
    end_ms: int
    missing: int
    owed: int
    detected_ms: int
    repaired_ms: int | None
    cause: Cause
    resolution: Resolution | None
    filled: int
    emptied: int
    attempts: int
    next_attempt_ms: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class GapPage:
    """A page of gaps; ``total`` counts all open ones that match, on every page."""

    gaps: tuple[GapFigures, ...]
    total: int


@dataclass(frozen=True, slots=True)
class GapSummary:
    open_gaps: int
    repaired_24h: int
    oldest_open_ms: int | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The states of the intervals that open in ``[start_ms, end_ms)``; each is in exactly one."""

    start_ms: int
    end_ms: int
    stored: int
    empty: int
    gap: int
    unknown: int


@dataclass(frozen=True, slots=True)
class LeaseFigures:
    exchange: str
    holder: str
    kind: str
    epoch: int
    alive: bool
    expires_ms: int
    last_request_ms: int | None
    blocked_until_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenGap:
    id: int
    cause: Cause
    missing: Ranges


@dataclass(frozen=True, slots=True)
class SeriesMap:
    """What is known of the intervals ``[start, end)`` of a series; ``quiet`` are longer runs of empty ones."""

    series: Series
    start: int
    end: int
    answered: Ranges
    quiet: Ranges
    gaps: tuple[OpenGap, ...]


@dataclass(frozen=True, slots=True)
class CandleFigures:
    """A stored candle, its numbers exact."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class RevisionFigures:
    """What a candle was before the exchange changed it, and what it is since; ``new`` is None where it vanished.

    Open, high, low, close and volume.
    """

    open_ms: int
    told_ms: int
    old: tuple[Decimal, ...]
    new: tuple[Decimal, ...] | None
