"""The scheduler: what is due, and starting it.

Owns the cron table, the firings and the work that falls due by itself (unfinished backfill, gaps, looks). Each firing
is recorded before it starts and runs once. Refuses to do the work itself (see ``runner``) and to know where jobs come
from; it is handed a new job set whole.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from marketd.clock import Clock
from marketd.cron import CronTable
from marketd.errors import ExchangeError, LeaseLost, MarketdError, StoreError
from marketd.fetcher import Asking
from marketd.jobset import JobSet
from marketd.model import Claim, Job, JobType, RunStatus, Series, Tally
from marketd.ports import Events
from marketd.runner import Order, Outcome, Runner
from marketd.walker import Account

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 1.0
"""The clock is read again at least this often: it may be stepped, and the host may have slept."""

_OWN_WORK_MS = 10_000  # how often work that falls due by itself is looked for
_BACKOFF_MS = (60_000, 300_000, 900_000, 3_600_000)
_LEARN_AGAIN_S = 30.0
_AT_ONCE = 16  # runs of one exchange and job type that are under way together; the budget decides who is served

CLAIMS = {
    JobType.CONTINUOUS: Claim.CONTINUOUS,
    JobType.GAP_REPAIR: Claim.GAP_REPAIR,
    JobType.BACKFILL: Claim.BACKFILL,
}


Places = Mapping[JobType, asyncio.Semaphore]


class Runs(Protocol):
    """The rows of the runs."""

    async def last_firings(self) -> dict[int, int]: ...

    async def begin(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int) -> dict[int, int]: ...

    async def skip(self, job: int, scheduled_ms: int, epoch: int, reason: str) -> None: ...

    async def finish(self, run: int, status: RunStatus, error: str | None, tally: Tally) -> None: ...

    async def note_job(self, job: int, status: str, error: str | None) -> None: ...


class Reader(Protocol):
    async def due_series(self, exchange: str, now_ms: int) -> Sequence[Series]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """An exchange that this process may work on, and with what."""

    exchange: str
    epoch: int
    runner: Runner
    runs: Runs
    reader: Reader


@dataclass(slots=True)
class _Retry:
    """When a job that fell due by itself may be tried again."""

    failures: int = 0
    not_before_ms: int = 0


@dataclass(slots=True)
class Scheduler:
    """One exchange's firings; ``work`` runs until it is cancelled, then leaves its runs to ``drain``."""

    desk: Desk
    clock: Clock
    events: Events
    settle_ms: int
    page_allowance: int
    jobs: JobSet = field(default_factory=JobSet)
    _table: CronTable | None = None
    _retries: dict[int, _Retry] = field(default_factory=dict)
    _running: dict[int, Account] = field(default_factory=dict)
    _finished: set[int] = field(default_factory=set)
    _own_work_ms: int = 0
    _stop: bool = False

    def take(self, jobs: JobSet) -> None:
        """Work with ``jobs`` from now on; runs of jobs that are gone stop at a page border."""
        mine = {number: job for number, job in jobs.jobs.items() if job.exchange == self.desk.exchange}
        self.jobs = replace(jobs, jobs=mine)
        seen_ms = self.clock.now_ms() if self._table is None else self._table.seen_ms
        self._table = CronTable(self.jobs.scheduled(), seen_ms)
        for number, account in self._running.items():
            if number not in mine:
                account.stop.set()
        self._finished.clear()
        self._own_work_ms = 0

    @property
    def running(self) -> frozenset[int]:
        return frozenset(self._running)

    def next_of(self) -> Mapping[int, int]:
        """Job -> when the clock fires it next, in ms."""
        return {} if self._table is None else self._table.next_of()

    def stop(self) -> None:
        """No new firings; what runs stops at the next page border."""
        self._stop = True
        for account in self._running.values():
            account.stop.set()

    async def work(self) -> None:
        """Fire until ``stop``, then wait for the runs to end at their page borders.

        While the database is away nothing is fired; what was due meanwhile is caught up as after a stop.
        """
        # One set of places a job type: neither long backfills nor a queue of repairs may keep fresh candles waiting.
        places = {job_type: asyncio.Semaphore(_AT_ONCE) for job_type in JobType}
        async with asyncio.TaskGroup() as group:
            learning = group.create_task(self._learn())
            behind = True
            while not self._stop:
                try:
                    if behind:
                        await self._fire(group, places, await self._missed())
                        behind = False
                    began_ms = self.clock.now_ms()
                    await self._turn(group, places)
                    self.events.turned(self.desk.exchange, (self.clock.now_ms() - began_ms) / 1000)
                except LeaseLost as error:
                    self.events.store_failed(error.kind)
                    raise
                except StoreError as error:
                    behind = True
                    self.events.store_failed(error.kind)
                    log.warning("database away", extra={"fields": {"error": str(error), "once": "database"}})
                await self.clock.sleep(LONGEST_PAUSE_S)
            learning.cancel()

    async def _learn(self) -> None:
        """Learn the exchange's time before the first gap can be due."""
        fetcher = self.desk.runner.fetcher
        while not fetcher.time.known:
            try:
                await fetcher.learn(Asking(fetcher, Claim.CONTINUOUS))
            except ExchangeError as error:
                log.warning(
                    "exchange away",
                    extra={"fields": {"exchange": self.desk.exchange, "error": str(error), "once": "exchange"}},
                )
                await self.clock.sleep(_LEARN_AGAIN_S)

    async def _turn(self, group: asyncio.TaskGroup, places: Places) -> None:
        now_ms = self.clock.now_ms()
        self.events.tick(self.desk.exchange, now_ms)
        if self._table is None:
            return
        firings = [(firing.job_id, firing.scheduled_ms) for firing in self._table.due(now_ms).firings]
        await self._fire(group, places, [(job, at_ms) for job, at_ms in firings if self._awake(job, now_ms)])
        if now_ms - self._own_work_ms >= _OWN_WORK_MS or now_ms < self._own_work_ms:
            self._own_work_ms = now_ms
            await self._fire(group, places, await self._due_by_itself(now_ms))

    def _awake(self, job: int, now_ms: int) -> bool:
        known = self.jobs.jobs.get(job)
        return known is not None and (known.paused_until_ms is None or known.paused_until_ms <= now_ms)

    async def _missed(self) -> list[tuple[int, int]]:
        """What a stop has missed: one firing a job, for those whose policy wants it."""
        if self._table is None:
            return []
        recorded = await self.desk.runs.last_firings()
        now_ms = self.clock.now_ms()
        self._table.due(now_ms)  # slots up to now count as missed, not as due once more
        wanted = {
            job.id: recorded.get(job.id, job.created_ms)
            for job in self.jobs.jobs.values()
            if job.catch_up == "one" and self._awake(job.id, now_ms)
        }
        return [(firing.job_id, firing.scheduled_ms) for firing in self._table.missed(wanted)]

    async def _due_by_itself(self, now_ms: int) -> list[tuple[int, int]]:
        """Backfills with unknown intervals, and repairs of gaps and looks that are due."""
        jobs = self.jobs  # a reload may swap the set while the database is asked
        backfills = [job for job in jobs.of_type(self.desk.exchange, JobType.BACKFILL) if self._may_run(job.id, now_ms)]
        due = [job for job in backfills if await self._unfinished(job, jobs)]
        due += [job for job in await self._due_repairs(jobs) if self._may_run(job.id, now_ms)]
        return [(job.id, now_ms) for job in due]

    def _may_run(self, job: int, now_ms: int) -> bool:
        """True where nothing keeps a job that fell due by itself: it does not run, is awake and has waited enough."""
        waited = self._retries.get(job, _Retry()).not_before_ms <= now_ms
        return job not in self._running and self._awake(job, now_ms) and waited

    async def _unfinished(self, job: Job, jobs: JobSet) -> bool:
        """True while the job's range, up to what was closed when its row was made, holds unknown intervals.

        What was answered stays answered, so a job found finished is not looked at again while the set stands.
        """
        if job.id in self._finished:
            return False
        order = self._order(job, jobs.work[job.id])
        for series in order.series:
            if await self.desk.runner.unfinished(series, order, job.created_ms):
                return True
        if jobs is self.jobs and self.desk.runner.fetcher.time.known:
            self._finished.add(job.id)
        return False

    async def _due_repairs(self, jobs: JobSet) -> list[Job]:
        fetcher = self.desk.runner.fetcher
        if not fetcher.time.known:
            return []
        due = await self.desk.reader.due_series(self.desk.exchange, fetcher.now_ms())
        workers = {jobs.worker(series, JobType.GAP_REPAIR) for series in due}
        return sorted((job for job in workers if job is not None), key=lambda job: job.id)

    async def _fire(self, group: asyncio.TaskGroup, places: Places, firings: Sequence[tuple[int, int]]) -> None:
        """Record the firings of this moment in one statement, then start those that are ours to run."""
        jobs = self.jobs  # what was due is run as it was defined, whatever is reloaded meanwhile
        firings = [(number, at_ms) for number, at_ms in firings if number in jobs.jobs]
        if not firings or self._stop:
            return
        # A run counts as under way until its end is recorded whole, not only until its row says so.
        free = [(number, at_ms) for number, at_ms in firings if number not in self._running]
        for number, at_ms in firings:
            if number in self._running:
                self.events.fired(jobs.jobs[number].job_type, "skipped", 0)
                await self.desk.runs.skip(number, at_ms, self.desk.epoch, "the job's last run is still under way")
        begun = await self.desk.runs.begin(self.desk.exchange, free, self.desk.epoch) if free else {}
        for number, at_ms in free:
            if number in begun:
                job = jobs.jobs[number]
                self.events.fired(job.job_type, "run", (self.clock.now_ms() - at_ms) / 1000)
                self._start(group, places, job, self._order(job, jobs.work[number]), begun[number])

    def _start(self, group: asyncio.TaskGroup, places: Places, job: Job, order: Order, run_id: int) -> None:
        account = Account(run_id, self.desk.epoch, self.settle_ms)
        self._running[job.id] = account
        if self._stop or job.id not in self.jobs.jobs:  # asked to, or removed, while the firing was recorded
            account.stop.set()
        group.create_task(self._run(job, order, account, places))

    async def _run(self, job: Job, order: Order, account: Account, places: Places) -> None:
        began_ms = self.clock.now_ms()
        try:
            async with places[job.job_type]:
                outcome = await self._outcome(job, order, account)
            await self._finish(job, account, outcome)
        finally:
            del self._running[job.id]
        retry = self._retries.setdefault(job.id, _Retry())
        retry.failures = 0 if outcome.status is RunStatus.SUCCESS else retry.failures + 1
        wait_ms = _BACKOFF_MS[min(max(retry.failures, 1), len(_BACKOFF_MS)) - 1]
        retry.not_before_ms = self.clock.now_ms() + wait_ms
        self.events.run_finished(job.job_type, outcome.status, (self.clock.now_ms() - began_ms) / 1000)

    async def _outcome(self, job: Job, order: Order, account: Account) -> Outcome:
        try:
            async with asyncio.timeout(job.timeout_s):
                return await self.desk.runner.run(order, account)
        except TimeoutError:
            return Outcome(RunStatus.PARTIAL, account.tally, note=f"stopped after its timeout of {job.timeout_s:g} s")
        except LeaseLost:
            raise
        except MarketdError as error:
            return Outcome(RunStatus.FAILED, account.tally, note=str(error))
        except Exception as error:  # the one handler for what nobody expected: the run fails, the daemon lives
            log.exception("run failed unexpectedly", extra={"fields": {"job": job.id}})
            return Outcome(RunStatus.FAILED, account.tally, note=f"unexpected {type(error).__name__}: {error}")

    def _order(self, job: Job, series: tuple[Series, ...]) -> Order:
        return Order(
            job.job_type, series, CLAIMS[job.job_type], start_ms=job.start_ms, end_ms=job.end_ms,
            page_allowance=self.page_allowance, histories=self.jobs.histories,
        )  # fmt: skip

    async def _finish(self, job: Job, account: Account, outcome: Outcome) -> None:
        """Record the end of a run, however long the database is away."""
        delay_s = 1.0
        while True:
            try:
                await self.desk.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally)
                await self.desk.runs.note_job(job.id, outcome.status, outcome.error)
                break
            except LeaseLost as error:
                self.events.store_failed(error.kind)
                raise
            except StoreError as error:
                self.events.store_failed(error.kind)
                fields = {"run": account.run_id, "error": str(error), "once": "run not recorded"}
                log.warning("run not recorded", extra={"fields": fields})
                await self.clock.sleep(delay_s)
                delay_s = min(delay_s * 2, 15)
        tally = outcome.tally
        log.log(
            logging.INFO if outcome.status is RunStatus.SUCCESS else logging.WARNING,
            "run ended",
            extra={"fields": {
                "job": job.id, "type": job.job_type, "status": outcome.status, "requests": tally.requests,
                "inserted": tally.inserted, "updated": tally.updated, "empties": tally.empties,
                "gaps_opened": tally.gaps_opened, "gaps_closed": tally.gaps_closed, "error": outcome.error,
            }},
        )  # fmt: skip
