"""What the database knows, as commands show it.

Owns the walk over all series, and ``Onlooker``: what a command can say in the place of the daemon, so that ``--json``
has the shapes of the daemon's own pages. Refuses to write.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import marketd
from marketd.clock import Clock
from marketd.cron import Crons
from marketd.figures import SeriesReport
from marketd.fillings import Filling
from marketd.jobs import Feasibility
from marketd.jobset import JobSet
from marketd.model import JobType, Series
from marketd.pauses import next_run_ms
from marketd.store.reports import PAGE, Reports
from marketd.web.status import ExchangeStatus, JobStatus


async def every_series(
    reports: Reports, exchange: str | None = None, symbol: str | None = None, timeframe: str | None = None
) -> list[SeriesReport]:
    """All series that match, page by page."""
    found: list[SeriesReport] = []
    while True:
        page = await reports.series_figures(
            exchange, symbol, timeframe, limit=PAGE, cursor=found[-1].series if found else None
        )
        found += page
        if len(page) < PAGE:
            return found


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A ``Status`` of what is known without the daemon: the host's time, and what follows from the jobs."""

    clock: Clock
    job_set: JobSet = field(default_factory=JobSet)
    crons: Crons = field(default_factory=Crons)
    version: str = marketd.__version__
    started_ms: int = 0
    watchdog_s: float = 0.0
    draining: bool = False

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def exchange_now_ms(self, exchange: str) -> int:
        return self.clock.now_ms()

    def turn_age_s(self) -> float:
        return 0.0

    def unready(self) -> Sequence[str]:
        return ()

    def jobs(self) -> Mapping[int, JobStatus]:
        return {}

    def follower(self, series: Series) -> int | None:
        return self.job_set.workers.get((series, JobType.CONTINUOUS))

    def next_run_ms(self, series: Series) -> int | None:
        """When the job that keeps the series fresh is due."""
        job = self.job_set.worker(series, JobType.CONTINUOUS)
        return None if job is None else next_run_ms(job, self.crons, self.now_ms())

    def exchanges(self) -> Sequence[ExchangeStatus]:
        return ()

    def reloaded(self) -> None:
        return None

    def tracked(self) -> Collection[Series]:
        return self.job_set.tracked

    def objectives(self) -> Mapping[Series, float]:
        return self.job_set.objectives

    def feasibility(self) -> Sequence[Feasibility]:
        return ()

    def fillings(self) -> Mapping[Series, Filling]:
        return {}

    def reach(self, series: Series) -> None:
        return None

    def resting(self, exchange: str) -> Mapping[str, str]:
        return {}
