"""A daemon of the simulation: one process on one host.

Owns its life: it takes the exchange or stands by, works, is drained, killed, frozen. The lane, the scheduler and the
keeper of the jobs are the real ones; here is only what ``marketd.daemon`` puts around them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from marketd import assembly
from marketd.bulletin import Bulletin, News, Verdict
from marketd.config import Config
from marketd.errors import Busy, LeaseLost, StoreError, leaf
from marketd.exchanges.facts import Exchange
from marketd.jobset import JobSet
from marketd.jobtable import JobTable
from marketd.keeper import Keeper
from marketd.limiter import Budget
from marketd.model import JobType
from marketd.ports import Events, Progress
from marketd.runner import Order, Outcome, Runner
from marketd.scheduler import Desk, Scheduler
from marketd.store.leases import Leases
from marketd.store.orders import Orders
from marketd.store.pages import Pages
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.turns import Turns
from marketd.walker import Account
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock
from tests.simulation.server import Line
from tests.simulation.site import Wire, meaning
from tests.simulation.store import SimLeases, SimOrders, SimPages, SimReader, SimRuns
from tests.simulation.watch import Watch

STANDBY_S = 2.0
DRAIN_S = 20.0
_DRAIN_STEP_S = 0.05


class Silence(Bulletin):
    """A bulletin that nobody reads, and that leaves the disk alone."""

    def post(self, news: News) -> None:
        pass

    def tend(self) -> None:
        pass


@dataclass
class WatchedRunner:
    """The runner, and word of what it really runs."""

    runner: Runner
    watch: Watch
    who: str

    @property
    def fetcher(self) -> object:
        return self.runner.fetcher

    @property
    def derived(self) -> Mapping[str, str]:
        return self.runner.derived

    async def unfinished(self, orders: list[tuple[Order, int]]) -> list[bool]:
        return await self.runner.unfinished(orders)

    async def run(self, order: Order, account: Account) -> Outcome:
        self.watch.works(self.who, account.run_id)
        try:
            return await self.runner.run(order, account)
        finally:
            self.watch.rests(self.who, account.run_id)


@dataclass
class Heard(Events):
    """Hears how late the clock's firings are."""

    watch: Watch

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None:
        if outcome in ("run", "late"):
            self.watch.fired(job_type, outcome, delay_s)


@dataclass
class Host:
    name: str
    config: Config
    clock: HostClock
    line: Line
    wire: Wire
    watch: Watch
    journal: Journal
    jobs: JobSet = field(default_factory=JobSet)
    scheduler: Scheduler | None = None
    draining: bool = False
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @property
    def exchange(self) -> Exchange:
        return self.wire.site.exchange

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def budget(self) -> Budget | None:
        """How fast it may ask the exchange; None while it has none to ask."""
        return cast(Budget, self.scheduler.desk.runner.fetcher.gate) if self.scheduler is not None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._live())

    @asynccontextmanager
    async def frozen(self, for_s: float) -> AsyncIterator[None]:
        """Nothing of the process runs for ``for_s``, which the block has to last.

        Its timers would run on here: the budget is held as well, or all the turns of that time would be taken at once.
        """
        self.line.thawed.clear()
        if self.budget is not None:
            self.budget.block(for_s)
        try:
            yield
        finally:
            self.line.thawed.set()

    async def kill(self) -> None:
        """The process is gone in the middle of what it did; nobody hears from it any more."""
        self.line.dead = True
        self.line.thawed.set()
        await self._end()

    async def stop(self) -> None:
        """The process is asked to end: runs stop at their page borders, within a time."""
        self.draining = True
        left_s = DRAIN_S
        while self.scheduler is not None and left_s > 0:
            self.scheduler.stop()
            await asyncio.sleep(_DRAIN_STEP_S)
            left_s -= _DRAIN_STEP_S
        await self._end()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    def look(self) -> None:
        """A process that died of itself is a mistake of marketd."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self.journal.wrong("died", self.name, repr(leaf(self._task.exception() or RuntimeError("ended"))))
            self._task = None

    async def _live(self) -> None:
        runs = cast(Runs, SimRuns(self.line, self.watch))
        keeper = Keeper(
            lambda: self.config, JobTable(runs, self.clock), self.clock, Silence(Path()), take=self._take,
            begin=lambda: None, tell=self._tell, turned=lambda: None, config=self.config, jobs=self.jobs, news=News(1),
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(keeper.keep(None, self.reload))
            group.create_task(self._keep_exchange())

    def _tell(self, verdict: Verdict) -> None:
        self.journal.note("reload", self.name, verdict.outcome)

    def _take(self, config: Config, jobs: JobSet) -> None:
        self.jobs = jobs
        self.loaded.set()
        if self.scheduler is not None and self.budget is not None:
            self.budget.set_rate(config.requests_per_minute_of(self.exchange.name))
            self.scheduler.take(jobs)

    async def _keep_exchange(self) -> None:
        await self.loaded.wait()
        while not self.draining:
            try:
                await self._exchange()
            except LeaseLost:
                self.journal.note("lease_lost", self.name)
            except (Busy, StoreError):
                pass
            finally:
                self.scheduler = None
            await asyncio.sleep(STANDBY_S)
        await asyncio.Event().wait()

    async def _exchange(self) -> None:
        books = assembly.Books(
            cast(Pages, SimPages(self.line, self.watch)),
            cast(SeriesReader, SimReader(self.line)),
            cast(Runs, SimRuns(self.line, self.watch)),
            cast(Orders, SimOrders(self.line)),
            cast(Turns, None),  # the budget is not shared
        )
        leases = cast(Leases, SimLeases(self.line, self.watch))
        try:
            async with assembly.lane(
                self.exchange.name,
                self.config,
                books,
                self.wire,
                self.clock,
                Heard(self.watch),
                Progress(),
                leases=leases,
            ) as lane:
                self.wire.lane = f"{self.name}/{lane.lease.epoch}"
                lane.runner.fetcher.exchange = meaning(self.exchange)
                runner = cast(Runner, WatchedRunner(lane.runner, self.watch, self.wire.lane))
                desk = Desk(self.exchange.name, lane.lease.epoch, runner, lane.runs, lane.orders, books.reader)
                settle_ms, allowance = self.config.settle_ms_of(self.exchange.name), self.config.engine.page_allowance
                self.scheduler = Scheduler(desk, self.clock, Heard(self.watch), settle_ms, allowance)
                self.scheduler.take(self.jobs)
                await self.scheduler.work()
        except BaseExceptionGroup as failures:
            raise leaf(failures) from failures
