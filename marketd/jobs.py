"""Which series each job works on.

Owns the reading of a job's row, what is tracked, who of several jobs works a series, and whether the budget can carry
what is asked of it. Refuses rows that cannot be understood: whoever may write the table is not trusted to write it
well. Pure: rows in, values out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from marketd.cron import Crons
from marketd.errors import ConfigError, UsageError
from marketd.jobfields import CATCH_UP, facts_of, flag, instant, jitter, offered, one_of, seconds, spelled, text, typed
from marketd.model import Job, JobType, Series, Slot
from marketd.text import clean

AUTO: Final = "auto"
ORDER: Final = "order"
ORIGINS: Final = ("file", "sql", "cli", AUTO, ORDER)
Derive = Mapping[str, Mapping[str, str]]
"""Exchange to child timeframe to parent."""
NO_DERIVE: Final[Derive] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Feasibility:
    """What the enabled continuous jobs ask of an exchange, in requests a minute, against what it allows."""

    exchange: str
    series: int
    needed_per_minute: float
    budget_per_minute: float

    @property
    def feasible(self) -> bool:
        return self.needed_per_minute <= self.budget_per_minute

    def __str__(self) -> str:
        return (
            f"{self.exchange}: {self.series} series need {self.needed_per_minute:.1f} requests a minute, "
            f"{self.budget_per_minute:.1f} are allowed"
        )


def job_from_row(row: Mapping[str, Any], crons: Crons | None = None, derive: Derive = NO_DERIVE) -> Job:
    """A row of ``market_data_jobs`` as a Job; ConfigError names the row and everything that is wrong with it.

    ``crons`` remembers parsed expressions over many rows.
    """
    crons = Crons() if crons is None else crons
    mistakes: list[str] = []

    def read(key: str, convert: Any, default: Any = None) -> Any:
        value = row.get(key)
        if value is None:
            return default
        try:
            return convert(value)
        except (UsageError, ValueError, OverflowError) as error:
            mistakes.append(f"{key}: {clean(str(error))}")
            return default

    facts = read("exchange", facts_of)
    if facts is not None:
        own = {**facts.derived, **derive.get(facts.name, {})}
        symbol = read("symbol", lambda value: spelled(facts, value))
        timeframe = read("timeframe", lambda value: offered(facts, value, own))
    else:
        symbol = timeframe = None
    job = {
        "job_type": read("job_type", typed),
        "schedule": read("schedule", lambda value: crons[text(value)].expression),
        "enabled": read("enabled", flag),
        "start_ms": read("start_time", instant),
        "end_ms": read("end_time", instant),
        "catch_up": read("catch_up", lambda value: one_of(value, CATCH_UP), "one"),
        "timeout_s": read("timeout_s", seconds),
        "origin": read("origin", lambda value: one_of(value, ORIGINS), "sql"),
        "created_ms": read("created_at", instant, 0),
        "freshness_s": read("freshness_s", seconds),
        "jitter_s": read("jitter_s", jitter),
        "paused_until_ms": read("paused_until", instant),
    }
    mistakes += [f"{key}: must not be empty" for key in ("exchange", "job_type", "enabled") if row.get(key) is None]
    if job["start_ms"] is not None and job["end_ms"] is not None and job["end_ms"] <= job["start_ms"]:
        mistakes.append("end_time: must be later than start_time")
    if facts is None or mistakes:
        raise ConfigError(f"job {clean(str(row.get('id')), 20)} is not usable: {'; '.join(mistakes)}")
    return Job(id=int(row["id"]), exchange=facts.name, symbol=symbol, timeframe=timeframe, **job)


def tracked_series(jobs: Iterable[Job], timeframes: Sequence[str], derive: Derive = NO_DERIVE) -> set[Series]:
    """Every series named by an enabled job with a symbol, and the parents of the derived ones among them.

    A symbol without a timeframe means all of ``timeframes``. Orders and rows that marketd made by itself track nothing.
    """
    tracked: set[Series] = set()
    for job in jobs:
        if job.enabled and job.origin not in (ORDER, AUTO):
            tracked.update(_named(job, timeframes))
    for series in tuple(tracked):
        parents = derive.get(series.exchange, {})
        parent = parents.get(series.timeframe)
        while parent is not None:
            tracked.add(Series(series.exchange, series.symbol, parent))
            parent = parents.get(parent)
    return tracked


def _named(job: Job, timeframes: Sequence[str]) -> tuple[Series, ...]:
    if job.symbol is None:
        return ()
    names = tuple(timeframes) if job.timeframe is None else (job.timeframe,)
    return tuple(Series(job.exchange, job.symbol, name) for name in names)


def working_rows(jobs: Iterable[Job]) -> dict[Slot, Job]:
    """Of the enabled rows with the same exchange, symbol, timeframe and type the one with the lowest id: it works."""
    rows: dict[Slot, Job] = {}
    for job in jobs:
        if job.enabled and job.origin != ORDER:
            slot = job.slot
            if rows.setdefault(slot, job).id > job.id:
                rows[slot] = job
    return rows


def duplicates(jobs: Sequence[Job]) -> tuple[tuple[Job, Job], ...]:
    """Pairs of an enabled row that does not work, and the row that works in its place."""
    rows = working_rows(jobs)
    pairs = [(job, rows[job.slot]) for job in jobs if job.enabled and job.origin != ORDER]
    return tuple((job, works) for job, works in pairs if job.id != works.id)


def work_of(
    jobs: Sequence[Job], timeframes: Sequence[str], derive: Derive = NO_DERIVE
) -> dict[int, tuple[Series, ...]]:
    """The series of each of ``jobs``, where these are all the rows."""
    return assigned(jobs, tracked_series(jobs, timeframes, derive), timeframes, working_rows(jobs))


def ordered(job: Job, tracked: Collection[Series], timeframes: Sequence[str]) -> tuple[Series, ...]:
    """The series that an order by hand works on, in order, whoever else does."""
    return tuple(sorted(_named(job, timeframes) or _matching(job, tracked)))


def assigned(
    jobs: Iterable[Job], tracked: Collection[Series], timeframes: Sequence[str], rows: Mapping[Slot, Job]
) -> dict[int, tuple[Series, ...]]:
    """The series of each of ``jobs``, where ``rows`` are all working rows; no series has two jobs of one type.

    A row that names more of a series beats one that names less: symbol and timeframe, symbol, timeframe, neither.
    """
    return {
        job.id: tuple(
            sorted(
                series
                for series in (_named(job, timeframes) or _matching(job, tracked))
                if _worker(series, job.job_type, timeframes, rows) == job.id
            )
        )
        for job in jobs
    }


def _matching(job: Job, tracked: Collection[Series]) -> tuple[Series, ...]:
    if job.symbol is not None:
        return ()
    return tuple(
        series
        for series in tracked
        if series.exchange == job.exchange and (job.timeframe is None or series.timeframe == job.timeframe)
    )


def _worker(series: Series, job_type: JobType, timeframes: Sequence[str], rows: Mapping[Slot, Job]) -> int | None:
    for slot in _slots(series, job_type, timeframes):
        if slot in rows:
            return rows[slot].id
    return None


def _slots(series: Series, job_type: JobType, timeframes: Sequence[str]) -> Iterator[Slot]:
    """Of the rows that would work ``series``, the narrowest first."""
    exchange, symbol, timeframe = series
    yield exchange, symbol, timeframe, job_type
    if timeframe in timeframes:
        yield exchange, symbol, None, job_type
    yield exchange, None, timeframe, job_type
    yield exchange, None, None, job_type


def feasibility(
    jobs: Iterable[Job], work: Mapping[int, tuple[Series, ...]], budgets: Mapping[str, float],
    derive: Derive = NO_DERIVE, crons: Crons | None = None,
) -> tuple[Feasibility, ...]:  # fmt: skip
    """What the continuous ones of ``jobs`` need of each exchange in ``budgets`` (requests a minute) for their ``work``.

    A series costs a request a firing, but no more than two an interval: one for the closed candle, one for its second
    reading. Derived series cost nothing.
    """
    crons = Crons() if crons is None else crons
    jobs = list(jobs)
    continuous = [job for job in jobs if job.job_type is JobType.CONTINUOUS and job.schedule is not None]
    used = {job.exchange for job in jobs}
    names = [name for name in budgets if name in used]
    needed = dict.fromkeys(names, 0.0)
    counts = dict.fromkeys(names, 0)
    asked: set[Series] = set()
    for job in continuous:
        for series in work[job.id]:
            asked_for = _asked_for(series, derive)
            if series.exchange in needed and asked_for not in asked:
                asked.add(asked_for)
                counts[series.exchange] += 1
                needed[series.exchange] += min(crons[job.schedule or ""].per_minute, 2 * 60 / asked_for.frame.typical_s)
    return tuple(Feasibility(name, counts[name], needed[name], budgets[name]) for name in names)


def _asked_for(series: Series, derive: Derive) -> Series:
    """The series that is asked for at the exchange for the sake of this one."""
    parent = derive.get(series.exchange, {}).get(series.timeframe)
    return series if parent is None else _asked_for(series._replace(timeframe=parent), derive)
