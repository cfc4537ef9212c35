"""The scheduler: what is due, and starting it.

Owns the cron table, the firings and the work that falls due by itself (unfinished backfill, gaps, looks). Each firing
is recorded before it starts and runs once. Refuses to do the work itself (see ``runner``) and to know where jobs come
from; it is handed a new job set whole.
"""

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any, Protocol

from marketd.clock import Clock
from marketd.cron import CronTable
from marketd.errors import ConfigError, DatabaseUnavailable, LeaseLost, MarketdError, StoreError, UnknownSymbol
from marketd.fetcher import Asking
from marketd.jobs import job_from_row
from marketd.jobset import JobSet
from marketd.markets import LOOK_AGAIN_MS, LOOK_MS, Markets, Rest, Resting
from marketd.model import Claim, Job, JobType, RunStatus, Series
from marketd.ports import Events
from marketd.runner import Order, Outcome, Runner
from marketd.walker import Account

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 1.0
"""The clock is read again at least this often: it may be stepped, and the host may have slept."""

SHORTEST_PAUSE_S = 0.001

_OWN_WORK_MS = 10_000  # how often work that falls due by itself is looked for
_BACKOFF_MS = (60_000, 300_000, 900_000, 3_600_000)
_LEARN_AGAIN_MS = 30_000
_UNKNOWN_AGAIN_MS = 60_000  # a symbol that the exchange does not know any more shows in its list, too
ORDERS_EVERY_S = 1.0
_LEAVE_STEP_S = 0.05
_LATE_MS = 60_000  # a firing seen later than this was missed: the host slept, or its clock was set forward
_SET_BACK_MS = 60_000  # a clock that is set back by less costs a firing at most
_AT_ONCE = 16  # runs of one exchange and job type that are under way together; the budget decides who is served

CLAIMS = {
    JobType.CONTINUOUS: Claim.CONTINUOUS,
    JobType.GAP_REPAIR: Claim.GAP_REPAIR,
    JobType.BACKFILL: Claim.BACKFILL,
}


LONGEST_JITTER_MS = 3_600_000


def jitter(job: Job, at_ms: int) -> int:
    """By how many ms the firing of ``job`` at ``at_ms`` is held back: the same whenever it is asked, spread evenly."""
    if job.jitter_s is None:
        return 0
    return int(job.jitter_s * 1000) * zlib.crc32(f"{job.id} {at_ms}".encode()) >> 32


class Runs(Protocol):
    """The rows of the runs."""

    async def last_firings(self) -> dict[int, int]: ...

    async def begin(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int) -> dict[int, int]: ...

    async def skip(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int, reason: str) -> None: ...

    async def under_way(self, exchange: str, epoch: int) -> dict[int, int]: ...

    async def finish(self, run: int, status: RunStatus, error: str | None, requests: int) -> None: ...

    async def note_job(self, job: int, status: str, error: str | None) -> None: ...


class Orders(Protocol):
    """The rows of orders by hand."""

    async def open(self, exchange: str) -> Sequence[Mapping[str, Any]]: ...


class Reader(Protocol):
    async def due_series(self, exchange: str, now_ms: int) -> Sequence[Series]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """An exchange that this process may work on, and with what."""

    exchange: str
    epoch: int
    runner: Runner
    runs: Runs
    orders: Orders
    reader: Reader


@dataclass(slots=True)
class _Retry:
    """When a job that fell due by itself may be tried again."""

    failures: int = 0
    not_before_ms: int = 0

    def holds(self, now_ms: int) -> bool:
        """True while it has to wait; a clock that is set back makes that no longer than twice the longest pause.

        Twice: ``now_ms`` is that of a turn, which may have begun before the run ended that has to wait.
        """
        return now_ms < self.not_before_ms <= now_ms + 2 * _BACKOFF_MS[-1]

    def ended(self, now_ms: int, *, well: bool) -> None:
        """Wait for a moment after a run that ended ``well``, and longer after each failure in a row."""
        self.failures = 0 if well else self.failures + 1
        self.not_before_ms = now_ms + _BACKOFF_MS[min(max(self.failures, 1), len(_BACKOFF_MS)) - 1]


@dataclass(frozen=True, slots=True)
class Task:
    """Something to run: a job as it was defined when it fell due, with the job set of then; or an order by hand."""

    job: Job
    account: Account
    jobs: JobSet
    order: Order | None = None

    @property
    def by_hand(self) -> bool:
        return self.order is not None


Queues = Mapping[tuple[JobType, bool], "asyncio.Queue[Task]"]


def _queues() -> Queues:
    """Where runs wait for their turn, by job type and whether by hand: neither long backfills nor many repairs may keep
    fresh candles waiting, nor any of them an order.
    """
    return {(job_type, by_hand): asyncio.Queue() for job_type in JobType for by_hand in (False, True)}


@dataclass(slots=True)
class Scheduler:
    """One exchange's firings; ``work`` runs until it is cancelled or stopped, and lets its runs end at page borders.

    ``turned`` is told at each step, so that a scheduler that hangs is noticed.
    """

    desk: Desk
    clock: Clock
    events: Events
    settle_ms: int
    page_allowance: int
    turned: Callable[[], None] = lambda: None
    jobs: JobSet = field(default_factory=JobSet)
    _table: CronTable | None = None
    _delayed: list[tuple[int, int, int]] = field(default_factory=list)
    _retries: dict[int, _Retry] = field(default_factory=dict)
    _running: dict[int, Account] = field(default_factory=dict)
    _orders: set[int] = field(default_factory=set)
    _finished: dict[int, Job] = field(default_factory=dict)
    _own_work_ms: int = 0
    _used_up_ms: int = 0
    """A clock that was ahead may have recorded firings of times up to here, which come once more."""

    _behind: bool = True
    _resting: Resting = field(init=False)
    _idle: dict[int, str] = field(default_factory=dict)
    """Jobs in whose rows it says why they have nothing to do."""

    _looked_ms: int = 0
    _look: asyncio.Event = field(default_factory=asyncio.Event)

    _queues: Queues = field(default_factory=_queues)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._resting = Resting(self.desk.exchange)

    def take(self, jobs: JobSet) -> None:
        """Work with ``jobs`` from now on; runs of jobs that are gone or paused stop at a page border."""
        mine = {number: job for number, job in jobs.jobs.items() if job.exchange == self.desk.exchange}
        self.jobs = replace(jobs, jobs=mine)
        now_ms = self.clock.now_ms()
        self._table = CronTable(self.jobs.scheduled(), now_ms if self._table is None else self._table.seen_ms)
        if self._resting.listing and self._rest():  # it may have been listed since
            self._look.set()
        for number, account in self._running.items():
            if number not in self._orders and not self._awake(number, now_ms):
                account.stop.set()
        # What was answered stays answered: only a job that is another one now is looked at again.
        self._finished = {number: job for number, job in self._finished.items() if mine.get(number) == job}
        self._own_work_ms = 0

    @property
    def resting(self) -> Mapping[str, Rest]:
        """Tracked symbols that the exchange does not trade, by its list."""
        return self._resting.found

    @property
    def running(self) -> frozenset[int]:
        return frozenset(self._running)

    def next_of(self) -> Mapping[int, int]:
        """Job -> when the clock fires it next, in ms."""
        return {} if self._table is None else self._table.next_of()

    def stop(self) -> None:
        """No new firings; what runs stops at the next page border."""
        self._stop.set()
        for account in self._running.values():
            account.stop.set()

    async def work(self) -> None:
        """Fire until ``stop``, then wait for the runs to end at their page borders.

        While the database is away nothing is fired; what was due meanwhile is caught up as after a stop.
        """
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch_markets())
            heeding = group.create_task(self._heed_orders())
            workers = [
                group.create_task(self._work_off(queue)) for queue in self._queues.values() for _ in range(_AT_ONCE)
            ]
            while not self._stop.is_set():
                self.turned()
                self.events.tick(self.desk.exchange, self.clock.now_ms())
                self._heed_markets()
                try:
                    if self._behind:
                        await self._catch_up()
                    began_ms = self.clock.now_ms()
                    await self._turn()
                    self.events.turned(self.desk.exchange, (self.clock.now_ms() - began_ms) / 1000)
                except LeaseLost as error:
                    self.events.store_failed(error.kind)
                    raise
                except StoreError as error:
                    self._say_away(error)
                await self.clock.sleep(LONGEST_PAUSE_S if self._behind else self._pause_s())
            watching.cancel()
            await heeding
            while self._running:  # a run may wait long for its turn at the budget: that is no hang
                self.turned()
                await self.clock.sleep(_LEAVE_STEP_S)
            for queue in self._queues.values():
                await queue.join()
            for worker in workers:
                worker.cancel()

    def _pause_s(self) -> float:
        """Until the next firing, but the clock is read now and then whatever it said."""
        due_ms = [] if self._table is None or self._table.next_ms is None else [self._table.next_ms]
        due_ms += [self._delayed[0][0]] if self._delayed else []
        left_s = (min(due_ms) - self.clock.now_ms()) / 1000 if due_ms else LONGEST_PAUSE_S
        return min(max(left_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    async def _catch_up(self) -> None:
        """Take up what was recorded without being heard of, and fire what was missed."""
        self._behind = False
        await self._adopt()
        await self._fire(await self._missed(), late=True)

    async def _adopt(self) -> None:
        """Start runs that were begun without our hearing of it: a COMMIT whose answer is lost is a commit."""
        known = frozenset(self._running)  # a run that ends while the database is asked is not to begin again
        found = await self.desk.runs.under_way(self.desk.exchange, self.desk.epoch)
        for number, run_id in found.items():
            if number in known or number in self._running:
                continue
            if number in self.jobs.jobs:
                self._start(self.jobs.jobs[number], run_id, self.jobs)
            else:
                await self.desk.runs.finish(run_id, RunStatus.INTERRUPTED, "its job is gone", 0)

    def _say_away(self, error: StoreError) -> None:
        self._behind = True
        self.events.store_failed(error.kind)
        log.warning("database away", extra={"fields": {"error": str(error), "once": "database"}})

    async def _watch_markets(self) -> None:
        """Learn the exchange's time before the first gap can be due, and from then on which markets rest."""
        markets = Markets(Asking(self.desk.runner.fetcher, Claim.CONTINUOUS))
        while True:
            if await markets.look():
                self._resting.listing = markets.listing
                self._rest()
            self._looked_ms = self.clock.now_ms()
            self._look.clear()
            await self._look.wait()

    def _heed_markets(self, within_ms: int = LOOK_MS) -> None:
        """Look again after a while; sooner where a market rests, and soon where the exchange's time is not known."""
        wait_ms = min(within_ms, LOOK_AGAIN_MS if self._resting.found else LOOK_MS)
        if not self.desk.runner.fetcher.time.known:
            wait_ms = _LEARN_AGAIN_MS
        if not 0 <= self.clock.now_ms() - self._looked_ms < wait_ms:
            self._look.set()

    def _rest(self) -> frozenset[str]:
        """Judge the markets by the list: those that rest and did not before.

        What runs for one that rests stops at a page border.
        """
        symbols = {series.symbol for series in self.jobs.tracked if series.exchange == self.desk.exchange}
        newly = self._resting.judge(symbols, self.clock.now_ms())
        self.events.markets_rest(self.desk.exchange, Counter(self._resting.found.values()))
        for number, account in self._running.items():
            if number not in self._orders and self._why_idle(number) is not None:
                account.stop.set()
        return newly

    def _why_idle(self, number: int) -> str | None:
        job = self.jobs.jobs.get(number)
        return None if job is None else self._resting.why_idle(self.jobs.work.get(number, ()), job.job_type)

    async def _note_idle(self) -> None:
        """Write into the rows of jobs why nothing happens, and take it back when it does again."""
        if not self._resting.found and not self._idle:
            return
        idle = {number: why for number in self.jobs.jobs if (why := self._why_idle(number)) is not None}
        for number, why in idle.items():
            if self._idle.get(number) != why and number not in self._running:
                await self.desk.runs.note_job(number, "idle", why)
                self._idle[number] = why
        for number in self._idle.keys() - idle.keys():
            if number in self.jobs.jobs:
                await self.desk.runs.note_job(number, "resumed", None)
            del self._idle[number]

    async def _work_off(self, queue: "asyncio.Queue[Task]") -> None:
        while True:
            task = await queue.get()
            await self._run(task)
            queue.task_done()

    async def _heed_orders(self) -> None:
        """Carry out what is given by hand; an order that was withdrawn stops at a page border."""
        while not self._stop.is_set():
            try:
                known = frozenset(self._running)
                rows = await self.desk.orders.open(self.desk.exchange)
                for number in self._orders - {row["id"] for row in rows}:
                    self._running[number].stop.set()
                await self._take_orders([row for row in rows if row["id"] not in known and self._is_ours(row)])
            except LeaseLost:
                raise
            except StoreError as error:
                self._say_away(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(ORDERS_EVERY_S):
                    await self._stop.wait()

    def _is_ours(self, row: Mapping[str, Any]) -> bool:
        """True for an order that nobody has begun, or that we have begun unheard (see ``_adopt``)."""
        return row["run_id"] is None or (row["run_status"] == RunStatus.RUNNING and row["epoch"] == self.desk.epoch)

    async def _take_orders(self, rows: Sequence[Mapping[str, Any]]) -> None:
        given: dict[int, tuple[Job, Order]] = {}
        for row in rows:
            try:
                job = job_from_row(row, derive={self.desk.exchange: self.desk.runner.derived})
                given[job.id] = (job, self._order_by_hand(job, row))
            except ConfigError as error:
                await self.desk.runs.note_job(row["id"], "refused", str(error))
        if given and self.desk.runner.fetcher.time.known:
            begun = {row["id"]: row["run_id"] for row in rows if row["run_id"] is not None and row["id"] in given}
            now_ms = self.clock.now_ms()
            begun |= await self.desk.runs.begin(
                self.desk.exchange, [(number, now_ms) for number in given if number not in begun], self.desk.epoch
            )
            for number, run_id in begun.items():
                self._start(given[number][0], run_id, self.jobs, given[number][1])

    def _order_by_hand(self, job: Job, row: Mapping[str, Any]) -> Order:
        return replace(
            self._order(job, self.jobs.ordered(job), self.jobs), claim=Claim.ORDER, by_hand=True,
            refetch=row["refetch"], newest_first=not row["oldest_first"], most_gaps=row["most_gaps"],
        )  # fmt: skip

    async def _turn(self) -> None:
        now_ms = self.clock.now_ms()
        if self._table is None:
            return
        await self._fire(self._due(self._table, now_ms))
        if now_ms - self._own_work_ms >= _OWN_WORK_MS or now_ms < self._own_work_ms:
            self._own_work_ms = now_ms
            await self._note_idle()
            await self._fire(await self._due_by_itself(now_ms))

    def _due(self, table: CronTable, now_ms: int) -> list[tuple[int, int]]:
        """The firings of this moment: those of the clock, each held back by its job's jitter."""
        due: list[tuple[int, int]] = []
        self._note_used_up(table.seen_ms, now_ms)
        for number, at_ms in table.due(now_ms).firings:
            missed = now_ms - at_ms > _LATE_MS
            if not self._awake(number, now_ms) or (missed and self.jobs.jobs[number].catch_up == "none"):
                continue
            jitter_ms = jitter(self.jobs.jobs[number], at_ms)
            if jitter_ms:
                heappush(self._delayed, (at_ms + jitter_ms, number, at_ms))
            else:
                due.append((number, at_ms))
        # A clock that was set back far must not hold firings back for longer than any jitter.
        while self._delayed and not now_ms < self._delayed[0][0] <= now_ms + LONGEST_JITTER_MS:
            _, number, at_ms = heappop(self._delayed)
            due += [(number, at_ms)] if self._awake(number, now_ms) else []
        return due

    def _note_used_up(self, until_ms: int, now_ms: int) -> None:
        if until_ms > now_ms + _SET_BACK_MS:
            self._used_up_ms = max(self._used_up_ms, until_ms)

    def _awake(self, job: int, now_ms: int) -> bool:
        known = self.jobs.jobs.get(job)
        if known is None or self._why_idle(job) is not None:
            return False
        return known.paused_until_ms is None or known.paused_until_ms <= now_ms

    async def _missed(self) -> list[tuple[int, int]]:
        """What a stop has missed: one firing a job, for those whose policy wants it."""
        if self._table is None:
            return []
        recorded = await self.desk.runs.last_firings()
        now_ms = self.clock.now_ms()
        self._table.due(now_ms)  # slots up to now count as missed, not as due once more
        self._delayed.clear()
        self._note_used_up(max((recorded.get(number, 0) for number in self.jobs.jobs), default=0), now_ms)
        wanted = {
            job.id: recorded.get(job.id, job.created_ms)
            for job in self.jobs.jobs.values()
            if job.catch_up == "one" and self._awake(job.id, now_ms)
        }
        return [(firing.job_id, firing.scheduled_ms) for firing in self._table.missed(wanted)]

    async def _due_by_itself(self, now_ms: int) -> list[tuple[int, int]]:
        """Backfills with unknown intervals, and repairs of gaps and looks that are due."""
        jobs = self.jobs  # a reload may swap the set while the database is asked
        due = await self._unfinished(jobs, now_ms)
        due += [job for job in await self._due_repairs(jobs) if self._may_run(job.id, now_ms)]
        return [(job.id, now_ms) for job in due]

    def _may_run(self, job: int, now_ms: int) -> bool:
        """True where nothing keeps a job that fell due by itself: it does not run, is awake and has waited enough."""
        holding = job in self._retries and self._retries[job].holds(now_ms)
        return job not in self._running and self._awake(job, now_ms) and not holding

    async def _unfinished(self, jobs: JobSet, now_ms: int) -> list[Job]:
        """Backfills whose range, up to what was closed when their row was made, holds unknown intervals.

        What was answered stays answered, so a job found finished is not looked at again while it is the same.
        """
        asked = [
            job
            for job in jobs.of_type(self.desk.exchange, JobType.BACKFILL)
            if self._finished.get(job.id) != job and self._may_run(job.id, now_ms)
        ]
        if not asked:
            return []
        left = await self.desk.runner.unfinished(
            [(self._order(job, self._working(job, jobs), jobs), job.created_ms) for job in asked]
        )
        if jobs is self.jobs and self.desk.runner.fetcher.time.known:
            self._finished |= {job.id: job for job, unfinished in zip(asked, left, strict=True) if not unfinished}
        return [job for job, unfinished in zip(asked, left, strict=True) if unfinished]

    async def _due_repairs(self, jobs: JobSet) -> list[Job]:
        fetcher = self.desk.runner.fetcher
        if not fetcher.time.known:
            return []
        due = await self.desk.reader.due_series(self.desk.exchange, fetcher.now_ms())
        workers = {jobs.worker(series, JobType.GAP_REPAIR) for series in due}
        return sorted((job for job in workers if job is not None), key=lambda job: job.id)

    async def _fire(self, firings: Sequence[tuple[int, int]], *, late: bool = False) -> None:
        """Record the firings of this moment in one statement, then start those that are ours to run."""
        jobs = self.jobs  # what was due is run as it was defined, whatever is reloaded meanwhile
        newest = {number: at_ms for number, at_ms in sorted(firings, key=itemgetter(1)) if number in jobs.jobs}
        if not newest or self._stop.is_set():
            return
        # A run counts as under way until its end is recorded whole, not only until its row says so.
        free = [(number, at_ms) for number, at_ms in newest.items() if number not in self._running]
        taken = [(number, at_ms) for number, at_ms in newest.items() if number in self._running]
        overtaken = [(number, at_ms) for number, at_ms in firings if at_ms < newest.get(number, at_ms)]
        await self._skip(taken, jobs, "the job's last run is still under way")
        await self._skip(overtaken, jobs, "a later firing of the job was due at the same moment")
        begun = await self._begin(free, jobs) if free else {}
        now_ms = self.clock.now_ms()
        for number, at_ms in free:
            if number in begun:
                job = jobs.jobs[number]
                outcome = "late" if late or now_ms - at_ms - jitter(job, at_ms) > _LATE_MS else "run"
                self.events.fired(job.job_type, outcome, (now_ms - at_ms) / 1000)
                self._start(job, begun[number], jobs)

    async def _begin(self, firings: Sequence[tuple[int, int]], jobs: JobSet) -> dict[int, int]:
        """Job -> run. A live job whose time was used up by a wrong clock runs under that of the moment: fresh candles
        do not wait until such times are past.
        """
        exchange, epoch, now_ms = self.desk.exchange, self.desk.epoch, self.clock.now_ms()
        begun = await self.desk.runs.begin(exchange, firings, epoch)
        used_up = [
            (number, max(now_ms, at_ms + 1))
            for number, at_ms in firings
            if at_ms <= self._used_up_ms and number not in begun and jobs.jobs[number].job_type is JobType.CONTINUOUS
        ]
        return begun | (await self.desk.runs.begin(exchange, used_up, epoch) if used_up else {})

    async def _skip(self, firings: Sequence[tuple[int, int]], jobs: JobSet, reason: str) -> None:
        if firings:
            await self.desk.runs.skip(self.desk.exchange, firings, self.desk.epoch, reason)
        for number, _ in firings:
            self.events.fired(jobs.jobs[number].job_type, "skipped", 0)

    def _start(self, job: Job, run_id: int, jobs: JobSet, order: Order | None = None) -> None:
        task = Task(job, Account(run_id, self.desk.epoch, self.settle_ms), jobs, order)
        self._running[job.id] = task.account
        if task.by_hand:
            self._orders.add(job.id)
        # Asked to, or removed, while the firing was recorded.
        if self._stop.is_set() or not (task.by_hand or job.id in self.jobs.jobs):
            task.account.stop.set()
        self._queues[job.job_type, task.by_hand].put_nowait(task)

    async def _run(self, task: Task) -> None:
        job, began_ms = task.job, self.clock.now_ms()
        order = task.order or self._order(job, self._working(job, task.jobs), task.jobs)
        try:
            outcome = await self._outcome(job, order, task.account)
            await self._finish(job, task.account, outcome)
        finally:
            del self._running[job.id]
            self._orders.discard(job.id)
        unknown = {series.symbol for series, error in outcome.errors if isinstance(error, UnknownSymbol)}
        if job.job_type is JobType.CONTINUOUS and outcome.note is None and outcome.status is not RunStatus.INTERRUPTED:
            for series in frozenset(order.series) - {series for series, _ in outcome.errors}:
                self._resting.note_followed(series, began_ms)
        if unknown:
            self._resting.unknown |= dict.fromkeys(unknown, self.clock.now_ms())
            self._heed_markets(within_ms=_UNKNOWN_AGAIN_MS)
        if not task.by_hand and not outcome.cut_off:
            retry = self._retries.setdefault(job.id, _Retry())
            retry.ended(self.clock.now_ms(), well=outcome.status is RunStatus.SUCCESS)
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
            away = isinstance(error, DatabaseUnavailable)
            return Outcome(RunStatus.FAILED, account.tally, note=str(error), cut_off=away)
        except Exception as error:  # the one handler for what nobody expected: the run fails, the daemon lives
            log.exception("run failed unexpectedly", extra={"fields": {"job": job.id}})
            return Outcome(RunStatus.FAILED, account.tally, note=f"unexpected {type(error).__name__}: {error}")

    def _working(self, job: Job, jobs: JobSet) -> tuple[Series, ...]:
        """The series of a job whose markets do not rest."""
        return tuple(series for series in jobs.work[job.id] if not self._resting.rests(series, job.job_type))

    def _order(self, job: Job, series: tuple[Series, ...], jobs: JobSet) -> Order:
        return Order(
            job.job_type, series, CLAIMS[job.job_type], start_ms=job.start_ms, end_ms=job.end_ms,
            page_allowance=self.page_allowance, histories=jobs.histories,
        )  # fmt: skip

    async def _finish(self, job: Job, account: Account, outcome: Outcome) -> None:
        """Record the end of a run, however long the database is away."""
        delay_s = 1.0
        while True:
            try:
                await self.desk.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally.requests)
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
