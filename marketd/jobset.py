"""The jobs of this moment.

Owns what a reading of the job table amounts to: which rows can be worked, on which series each works, and what is
wrong with the others. Pure; a reload computes a new one and swaps it in whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from marketd.cron import Crons, longest_step_s
from marketd.errors import ConfigError
from marketd.jobs import Derive, Feasibility, assigned, duplicates, feasibility, job_from_row, ordered, working_rows
from marketd.jobs import tracked_series as tracked_by
from marketd.model import Job, JobType, Series


@dataclass(frozen=True, slots=True)
class JobSet:
    """``work`` maps a job to the series it works on, ``workers`` a series and a job type to the job.

    ``refused`` maps a row's id to the reason why it is left out. ``objectives`` is how late a series may be, in s;
    ``histories`` the bounds of its wanted history.
    """

    jobs: Mapping[int, Job] = field(default_factory=dict)
    work: Mapping[int, tuple[Series, ...]] = field(default_factory=dict)
    tracked: frozenset[Series] = frozenset()
    refused: Mapping[int, str] = field(default_factory=dict)
    objectives: Mapping[Series, float] = field(default_factory=dict)
    histories: Mapping[Series, tuple[int | None, int | None]] = field(default_factory=dict)
    feasibility: tuple[Feasibility, ...] = ()
    timeframes: tuple[str, ...] = ()
    workers: Mapping[tuple[Series, JobType], int] = field(default_factory=dict)

    @property
    def exchanges(self) -> frozenset[str]:
        return frozenset(job.exchange for job in self.jobs.values())

    def scheduled(self) -> list[tuple[int, str]]:
        """(job id, cron expression) of all that the clock fires."""
        return [(job.id, job.schedule) for job in self.jobs.values() if job.schedule is not None]

    def of_type(self, exchange: str, job_type: JobType) -> list[Job]:
        return [job for job in self.jobs.values() if job.exchange == exchange and job.job_type is job_type]

    def ordered(self, job: Job) -> tuple[Series, ...]:
        """The series that an order by hand works on, whoever else does."""
        return ordered(job, self.tracked, self.timeframes)

    def worker(self, series: Series, job_type: JobType) -> Job | None:
        """The job that works on ``series``."""
        number = self.workers.get((series, job_type))
        return None if number is None else self.jobs.get(number)


def job_set(
    rows: Iterable[Mapping[str, Any]],
    timeframes: Sequence[str],
    derive: Derive,
    budgets: Mapping[str, float],
    settle_s: float,
) -> JobSet:
    """The set that ``rows`` make; rows that cannot be understood, and rows of a slot that is taken, are refused."""
    crons = Crons()
    jobs: dict[int, Job] = {}
    refused: dict[int, str] = {}
    for row in rows:
        try:
            job = job_from_row(row, crons, derive)
            jobs[job.id] = job
        except ConfigError as error:
            refused[int(row["id"])] = str(error)
    for job, works in duplicates(list(jobs.values())):
        refused[job.id] = f"job {works.id} does the same for the same series"
        del jobs[job.id]
    tracked = tracked_by(jobs.values(), timeframes, derive)
    working = working_rows(jobs.values())
    work = assigned(jobs.values(), tracked, timeframes, working)
    return JobSet(
        jobs=jobs,
        work=work,
        tracked=frozenset(tracked),
        refused=refused,
        histories=_histories(jobs.values(), work),
        objectives=_objectives(jobs.values(), work, crons, settle_s),
        feasibility=feasibility(jobs.values(), work, budgets, derive, crons),
        timeframes=tuple(timeframes),
        workers={(series, jobs[number].job_type): number for number, series_of in work.items() for series in series_of},
    )


def _histories(
    jobs: Iterable[Job], work: Mapping[int, tuple[Series, ...]]
) -> dict[Series, tuple[int | None, int | None]]:
    """The wanted history of each series with a backfill job: (start, end) in ms; None is not bounded on that side.

    What a continuous job keeps fresh is wanted without an end.
    """
    jobs = list(jobs)
    fresh = {series for job in jobs if job.job_type is JobType.CONTINUOUS for series in work[job.id]}
    return {
        series: (job.start_ms, None if series in fresh else job.end_ms)
        for job in jobs
        if job.job_type is JobType.BACKFILL
        for series in work[job.id]
    }


def _objectives(
    jobs: Iterable[Job], work: Mapping[int, tuple[Series, ...]], crons: Crons, settle_s: float
) -> dict[Series, float]:
    """How late each series of a continuous job may be, in seconds: the job's own word, else interval + longest step of
    its schedule + settle."""
    objectives: dict[Series, float] = {}
    step_of = cache(lambda schedule: longest_step_s(crons[schedule]))  # many jobs share few expressions
    for job in jobs:
        if job.job_type is JobType.CONTINUOUS and job.schedule is not None:
            own, step_s = job.freshness_s, step_of(job.schedule)
            for series in work[job.id]:
                objectives[series] = series.frame.typical_s + step_s + settle_s if own is None else own
    return objectives
