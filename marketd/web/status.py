"""What the port needs to be told by others.

Owns two protocols: ``Reports``, the figures that the database holds, and ``Status``, what only the living daemon
knows. Refuses to know who answers them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from marketd.figures import (
    Answered,
    Bucket,
    CandleFigures,
    DayFigures,
    GapFigures,
    GapPage,
    GapSummary,
    JobFigures,
    Missing,
    RevisionFigures,
    RunFigures,
    SeriesFigures,
    SeriesMap,
    SeriesReport,
    Tables,
    Totals,
)
from marketd.fillings import Filling
from marketd.jobs import Feasibility
from marketd.model import Cause, Claim, Series


@dataclass(frozen=True, slots=True)
class JobStatus:
    """When the job fires next (None: not by itself), and whether it runs now."""

    next_run_ms: int | None
    running: bool


@dataclass(frozen=True, slots=True)
class ExchangeStatus:
    """``cooling``: the exchange asked to wait; ``open``: its circuit is open. ``until_ms`` is when that ends.

    ``used`` says what the requests of the last minute were for.
    """

    name: str
    budget_per_minute: float
    used_last_minute: int
    state: Literal["ok", "cooling", "open"] = "ok"
    until_ms: int | None = None
    used: Mapping[Claim, int] = field(default_factory=dict)


class Status(Protocol):
    """Answers at once, from memory."""

    @property
    def version(self) -> str: ...

    @property
    def started_ms(self) -> int: ...

    @property
    def watchdog_s(self) -> float:
        """Within which time the scheduler must turn."""

    def now_ms(self) -> int:
        """The host's time."""

    def exchange_now_ms(self, exchange: str) -> int:
        """The exchange's time; the host's for an exchange that is not worked on."""

    def turn_age_s(self) -> float:
        """How long ago the scheduler turned, by a clock that nobody sets."""

    def unready(self) -> Sequence[str]:
        """Why not ready, draining included: one sentence each, fit for strangers; empty when ready."""

    def jobs(self) -> Mapping[int, JobStatus]: ...

    def follower(self, series: Series) -> int | None:
        """The id of the job that keeps the series fresh."""

    def exchanges(self) -> Sequence[ExchangeStatus]: ...

    def reloaded(self) -> Mapping[str, object] | None:
        """What came of the last reload, as it is shown; None before the first."""

    def tracked(self) -> Collection[Series]:
        """Every series that a job works on."""

    def objectives(self) -> Mapping[Series, float]:
        """Freshness objective in seconds of every series that has one."""

    def feasibility(self) -> Sequence[Feasibility]:
        """What live jobs ask of each exchange against what it allows."""

    def fillings(self) -> Mapping[Series, Filling]:
        """What runs of this process are fetching right now."""

    def reach(self, series: Series) -> int | None:
        """How many of its newest intervals the exchange serves; None: all, or nobody knows."""

    def resting(self, exchange: str) -> Mapping[str, str]:
        """Symbols that the exchange does not trade now, and how its list says so."""


class Reports(Protocol):
    """Every method may raise a MarketdError: the database is away, or refuses."""

    async def ping(self) -> float: ...

    async def tables(self) -> Tables: ...

    async def totals(self) -> Totals: ...

    async def answered(self) -> tuple[Answered, ...]: ...

    async def gap(self, gap_id: int) -> GapFigures | None: ...

    async def runs_of(self, series: Series, limit: int = ...) -> tuple[RunFigures, ...]: ...

    async def revisions(self, series: Series, limit: int = ...) -> tuple[RevisionFigures, ...]: ...

    async def candles(self, series: Series, before_ms: int, limit: int = ...) -> tuple[CandleFigures, ...]: ...

    async def missing(self) -> Mapping[Series, Missing]: ...

    async def figures_of(self, which: Sequence[Series]) -> tuple[SeriesFigures, ...]: ...

    async def maps(
        self, figures: Sequence[SeriesFigures], start_ms: int, end_ms: int, *, least_s: float
    ) -> tuple[SeriesMap, ...]: ...

    async def series_figures(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        limit: int = ...,
        cursor: Series | None = None,
    ) -> tuple[SeriesReport, ...]: ...

    async def runs(
        self, job_id: int | None = None, *, limit: int = ..., cursor: int | None = None
    ) -> tuple[RunFigures, ...]: ...

    async def runs_24h(self, exchange: str | None = None) -> DayFigures: ...

    async def jobs(
        self, exchange: str | None = None, *, limit: int = ..., cursor: int | None = None, at_work: bool = ...
    ) -> tuple[JobFigures, ...]: ...

    async def job_exists(self, job_id: int) -> bool: ...

    async def gaps(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
        cause: Cause | None = None,
        *,
        closed: bool = False,
        limit: int = ...,
        cursor: int | None = None,
    ) -> GapPage: ...

    async def gaps_summary(self, exchange: str | None = None) -> GapSummary: ...

    async def coverage_buckets(
        self, series: Series, start_ms: int, end_ms: int, buckets: int
    ) -> tuple[Bucket, ...]: ...
