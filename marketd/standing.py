"""What only the living daemon knows.

Owns the answers that the port needs at once and from memory: is it ready, what runs, what each exchange allows (see
``web.status.Status``). Changed by the daemon alone; refuses to do anything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import marketd
from marketd.assembly import Lane
from marketd.bulletin import Verdict
from marketd.clock import Clock
from marketd.cron import Crons
from marketd.fillings import Filling, Fillings
from marketd.jobs import Feasibility
from marketd.jobset import JobSet
from marketd.model import JobType, Series
from marketd.pauses import next_run_ms
from marketd.pulse import Pulse
from marketd.scheduler import Scheduler
from marketd.web.status import ExchangeStatus, JobStatus


@dataclass(slots=True)
class Working:
    """An exchange that this process works on right now."""

    lane: Lane
    scheduler: Scheduler


@dataclass(slots=True)
class Standing:
    """``budgets`` are requests a minute by exchange; ``watchdog_s`` is within which time everything must turn."""

    clock: Clock
    started_ms: int
    budgets: Mapping[str, float]
    pulse: Pulse
    watchdog_s: float
    version: str = marketd.__version__
    draining: bool = False
    loaded: bool = False
    job_set: JobSet = field(default_factory=JobSet)
    last_reload: Verdict | None = None
    working: dict[str, Working] = field(default_factory=dict)
    progress: Fillings = field(default_factory=Fillings)

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def exchange_now_ms(self, exchange: str) -> int:
        working = self.working.get(exchange)
        if working is None or not working.lane.fetcher.time.known:
            return self.clock.now_ms()
        return working.lane.fetcher.now_ms()

    def turn_age_s(self) -> float:
        return self.pulse.age_s()

    def unready(self) -> Sequence[str]:
        reasons = []
        if self.draining:
            reasons.append("draining: the daemon is about to stop")
        if not self.loaded:
            reasons.append("the job table is not loaded yet")
        return reasons  # whether the database answers, the port finds out by itself

    def jobs(self) -> Mapping[int, JobStatus]:
        found: dict[int, JobStatus] = {}
        crons = Crons()
        for working in self.working.values():
            nexts, running = working.scheduler.next_of(), working.scheduler.running
            for number, job in working.scheduler.jobs.jobs.items():
                paused = job.paused_until_ms is not None
                next_ms = next_run_ms(job, crons, self.now_ms()) if paused else nexts.get(number)
                found[number] = JobStatus(next_ms, number in running)
        return found

    def follower(self, series: Series) -> int | None:
        return self.job_set.workers.get((series, JobType.CONTINUOUS))

    def exchanges(self) -> Sequence[ExchangeStatus]:
        return [self._exchange_status(name) for name in self.budgets]

    def _exchange_status(self, name: str) -> ExchangeStatus:
        working = self.working.get(name)
        if working is None:
            return ExchangeStatus(name, self.budgets[name], 0)
        budget, circuit = working.lane.budget, working.lane.fetcher.circuit
        now = ExchangeStatus(name, budget.per_minute, budget.used_last_minute, used=budget.used_by_claim)
        if circuit.open_until_ms is not None:
            return replace(now, state="open", until_ms=circuit.open_until_ms)
        if budget.blocked_for_s > 0:
            return replace(now, state="cooling", until_ms=self.clock.now_ms() + int(budget.blocked_for_s * 1000))
        return now

    def reloaded(self) -> Mapping[str, object] | None:
        return None if self.last_reload is None else self.last_reload.shape()

    def tracked(self) -> Collection[Series]:
        return self.job_set.tracked

    def objectives(self) -> Mapping[Series, float]:
        return self.job_set.objectives

    def feasibility(self) -> Sequence[Feasibility]:
        return self.job_set.feasibility

    def fillings(self) -> Mapping[Series, Filling]:
        return self.progress.now

    def reach(self, series: Series) -> int | None:
        working = self.working.get(series.exchange)
        return None if working is None else working.lane.fetcher.reach(series)

    def resting(self, exchange: str) -> Mapping[str, str]:
        working = self.working.get(exchange)
        return {} if working is None else working.scheduler.resting
