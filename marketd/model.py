"""The nouns of marketd as frozen records.

Owns the records that more than one floor talks about. Numbers called ``start``, ``end`` or ``number`` are interval
numbers of the record's timeframe, half-open; times are ``_ms`` since the epoch, UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias

from marketd.ranges import NOTHING, Ranges, Span
from marketd.timeframe import TIMEFRAMES, Timeframe


class JobType(StrEnum):
    BACKFILL = "backfill"
    GAP_REPAIR = "gap_repair"
    CONTINUOUS = "continuous"


class Claim(IntEnum):
    """Who is served first by an exchange's budget; lower comes first."""

    CONTINUOUS = 0
    ORDER = 1
    GAP_REPAIR = 2
    BACKFILL = 3
    RECHECK = 4


class Cause(StrEnum):
    """Why an interval is owed (design: gap rows)."""

    NOT_ASKED = "not_asked"
    FAILED = "failed"
    LATE = "late"
    LOST = "lost"
    SUSPECT = "suspect"


class Drop(StrEnum):
    """Why a row that the exchange sent is not stored.

    Of a page that is used: outside of the ask, not closed yet, off the grid, not a possible candle, the same row again.
    Of a page that is refused whole: because two of its candles contradict each other, or for any other reason.
    """

    OUTSIDE = "outside"
    OPEN = "open"
    MISALIGNED = "misaligned"
    IMPLAUSIBLE = "implausible"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"
    PAGE_REFUSED = "page_refused"


class Resolution(StrEnum):
    STORED = "stored"
    EMPTY = "empty"
    MIXED = "mixed"
    NOT_WANTED = "not_wanted"


class RunStatus(StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Series(NamedTuple):
    """Natural key of a series, in the order of the columns."""

    exchange: str
    symbol: str
    timeframe: str

    @property
    def frame(self) -> Timeframe:
        return TIMEFRAMES[self.timeframe]

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe}"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for one range of one series.

    ``newest_first`` says from which side the exchange fills the page: the other side is the cut side. ``known`` are
    intervals in the ask that are known to hold a candle at the exchange (anchors). A ``counted`` one spans no more
    intervals than a page holds: no side of it is cut.
    """

    series: Series
    start: int
    end: int
    newest_first: bool
    known: Ranges = NOTHING
    counted: bool = False

    @property
    def span(self) -> Span:
        return self.start, self.end

    def __str__(self) -> str:
        return f"{self.series} [{self.start}, {self.end})"


@dataclass(frozen=True, slots=True)
class Rows:
    """What an adapter read from a page: one entry a candle in each list, in the order the exchange sent them.

    ``lines`` are the candles as CSV text in the exchange's own digits, ``open_ms`` first, the other fields in the order
    of the adapter's ``columns``; the float lists exist to be compared, never to be stored. ``unfinished`` are positions
    of candles that the exchange itself says are not closed.
    """

    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    lines: list[bytes]
    unfinished: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the exchange said to an ask, after the page check.

    ``covered`` is the range that the answer speaks for, ``rows`` the intervals with a usable candle, ``dropped`` those
    whose row was misaligned or implausible. ``csv`` holds the usable candles, ascending, in ``columns`` order.
    ``at_ms`` is the exchange's time of the answer. ``drops`` counts the rows that are not stored, by the reason; with
    ``rows`` they make up all that was ``fetched``. Below ``served_from`` the exchange serves nothing (any more), so
    that nobody knows; None where the answer does not tell. ``always``: the exchange sends a candle for every interval,
    so that a missing one is a fault.
    """

    ask: Ask
    covered: Ranges
    rows: Ranges
    dropped: Ranges
    csv: bytes
    columns: tuple[str, ...]
    at_ms: int
    fetched: int
    drops: Mapping[Drop, int] = field(default_factory=dict)
    served_from: int | None = None
    always: bool = False

    def still_served(self, intervals: Ranges) -> Ranges:
        """Those of ``intervals`` that the exchange still serves, as far as this answer tells."""
        return intervals if self.served_from is None else intervals & Ranges.of((self.served_from, 2**31))


@dataclass(frozen=True, slots=True)
class Gap:
    """A set of intervals that marketd owes. ``id`` is None until stored.

    ``missing`` holds exactly the intervals still owed; ``filled`` and ``emptied`` count those that have left it since.
    ``detected_ms`` is the exchange's time at which it was opened. ``unwanted`` are intervals that it was opened for and
    that nobody wants any more.
    """

    cause: Cause
    missing: Ranges
    detected_ms: int
    id: int | None = None
    filled: int = 0
    emptied: int = 0
    attempts: int = 0
    next_attempt_ms: int | None = None
    last_error: str | None = None
    repaired_ms: int | None = None
    resolution: Resolution | None = None
    unwanted: Ranges = NOTHING

    @property
    def open(self) -> bool:
        return self.repaired_ms is None


Slot: TypeAlias = tuple[str, str | None, str | None, JobType]
"""Exchange, symbol, timeframe and type of a job: of the enabled rows with the same one, one works."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """What somebody wants of a job, before it has a row of ``market_data_jobs``; see the table for each column.

    ``symbol`` None: all tracked series of the exchange; ``timeframe`` None: all configured timeframes of the symbol.
    """

    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    schedule: str | None = None
    enabled: bool = True
    start_ms: int | None = None
    end_ms: int | None = None
    origin: str = "cli"
    owner: str | None = None
    catch_up: str = "one"
    timeout_s: float | None = None
    freshness_s: float | None = None
    jitter_s: float | None = None

    @property
    def slot(self) -> Slot:
        return self.exchange, self.symbol, self.timeframe, self.job_type

    def job(self, job_id: int) -> "Job":
        """This row as a job, for what is decided before it is written (``check``, feasibility)."""
        return Job(
            id=job_id,
            exchange=self.exchange,
            symbol=self.symbol,
            timeframe=self.timeframe,
            job_type=self.job_type,
            schedule=self.schedule,
            enabled=self.enabled,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            catch_up=self.catch_up,
            timeout_s=self.timeout_s,
            origin=self.origin,
            freshness_s=self.freshness_s,
            jitter_s=self.jitter_s,
        )

    def __str__(self) -> str:
        return f"{self.job_type} {self.exchange} {self.symbol or 'all symbols'} {self.timeframe or 'all timeframes'}"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of ``market_data_jobs`` after validation."""

    id: int
    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    schedule: str | None
    enabled: bool = True
    start_ms: int | None = None
    end_ms: int | None = None
    catch_up: str = "one"
    timeout_s: float | None = None
    origin: str = "sql"
    created_ms: int = 0
    paused_until_ms: int | None = None
    freshness_s: float | None = None
    jitter_s: float | None = None

    @property
    def slot(self) -> Slot:
        return self.exchange, self.symbol, self.timeframe, self.job_type

    def __str__(self) -> str:
        what = f"{self.exchange} {self.symbol or 'all series'} {self.timeframe or 'all timeframes'}"
        return f"job {self.id} ({self.job_type} {what})"


ADDED = ("inserted", "updated", "empties", "gaps_opened", "gaps_closed")
"""Counters of a run to which each of its pages adds what it has changed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run has done so far."""

    requests: int = 0
    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    derived: int = 0
    empties: int = 0
    dropped: int = 0
    gaps_opened: int = 0
    gaps_closed: int = 0
    last_open_ms: int | None = None
    planned: int = 0
    left: int = 0
    """Of the ``planned`` intervals, what is still to be asked for."""
