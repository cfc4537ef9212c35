"""The daemon: one process, one loop, everything in its place.

Owns life and death: what is opened in which order, the signals, the reload and the drain. One exit stack, one task
group. Refuses to do any of the work (see ``scheduler``, ``runner``) and to run twice on an exchange (see the lease).
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from marketd import assembly
from marketd.bulletin import ACCEPTED, REFUSED, Bulletin, News, Verdict, folders
from marketd.changes import reopened
from marketd.clock import Clock
from marketd.config import Config
from marketd.errors import Busy, DatabaseUnavailable, LeaseLost, MarketdError, StoreError, leaf
from marketd.gauges import Gauges
from marketd.jobset import JobSet
from marketd.jobtable import JobTable, job_file
from marketd.keeper import Keeper
from marketd.metrics import Metrics
from marketd.model import JobRow
from marketd.nightly import Nightly
from marketd.notify import Notifier
from marketd.pulse import Pulse
from marketd.scheduler import Desk, Scheduler
from marketd.standing import Standing, Working
from marketd.store.leases import Leases
from marketd.store.queries import sql
from marketd.store.reports import Reports
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.web.port import Port

log = logging.getLogger(__name__)

_PORT_STATEMENT_S = 5.0
_STANDBY_S = 2.0
_DRAIN_STEP_S = 0.05
_LOOK_S = 1.0  # how often a drain sees to it that the database is still there
_ANSWER_S = 3.0
_LOOK_STATEMENT_S = 25
_TURN_S = 90.0  # within which everything must turn; the statements of a turn take less even of a slow database


@dataclass(slots=True)
class Daemon:
    """``await Daemon(load, clock).run()`` until SIGTERM or ``stop()``.

    ``load`` reads the configuration anew, at the start and at every reload; ``environ`` says where commands find what
    it posts for them. ``address`` is where the port listens, once
    ``listening`` is set.
    """

    load: Callable[[], Config]
    clock: Clock
    notifier: Notifier = field(default_factory=Notifier)
    metrics: Metrics = field(default_factory=Metrics)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    address: str = ""
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _reload: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Drain and end; also what SIGTERM and SIGINT do. Asked twice, end without draining."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def reload(self) -> None:
        """Read configuration and jobs anew; also what SIGHUP does."""
        self._reload.set()

    async def run(self) -> None:
        config = self.load()
        specs = job_file(
            config, self.clock.now_ms()
        )  # a mistake in it ends the start, as one in the configuration does
        pulse = Pulse(asyncio.get_running_loop().time)
        watchdog_s = self.notifier.watchdog_s or _TURN_S
        in_use = config.in_use({spec.exchange for spec in specs or ()})
        self.metrics.know(in_use, {})
        budgets = {name: config.requests_per_minute_of(name) for name in in_use}
        standing = Standing(self.clock, self.clock.now_ms(), budgets, pulse, watchdog_s)
        async with AsyncExitStack() as stack:
            self._heed_signals(stack)
            bulletin = stack.enter_context(Bulletin(folders(self.environ)[0]))
            bulletin.post(News(os.getpid()))
            url = await self._database_url(stack, config)
            at = partial(Database, url, pooler=config.database.pooler)
            opened = await stack.enter_async_context(at(prepare=sql("page_table")))
            # A lease that is not renewed in time is lost: it waits for nobody.
            renewing = await stack.enter_async_context(at(size=1, application="marketd lease"))
            # The port answers from the first moment, also while the database is away; its readers never wait for pages.
            readers = await stack.enter_async_context(
                at(size=2, application="marketd port", statement_s=_PORT_STATEMENT_S)
            )
            reports = Reports(readers)
            port = await stack.enter_async_context(
                Port(config.http.listen, reports, standing, self.metrics.registry, access=config.web)
            )
            transport = await stack.enter_async_context(Transport(self.clock))
            self.address = port.address
            self.listening.set()
            log.info("listening", extra={"fields": {"address": port.address, "version": standing.version}})
            # The nightly look takes its time: it neither waits for the work nor lets readers wait.
            verifying = await stack.enter_async_context(
                at(size=1, application="marketd verify", statement_s=_LOOK_STATEMENT_S)
            )
            pools = {"pages": opened, "port": readers}
            gauges = Gauges(self.metrics, standing, reports, pools, assembly.room_of(config))
            leases = assembly.leases_of(renewing, "daemon")
            service = _Service(
                self, config, specs, standing, opened, leases, reports, gauges, verifying, transport, bulletin
            )
            await service.live(self._stopping, self._hurry, self._reload)

    async def _database_url(self, stack: AsyncExitStack, config: Config) -> str:
        """The address of the database; a private server that a command has started is waited for."""
        while True:
            try:
                return await stack.enter_async_context(assembly.database_url(config, join=False))
            except Busy as error:
                log.warning("database busy", extra={"fields": {"reason": str(error), "once": "database"}})
                await self.clock.sleep(1)

    def _heed_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        actions: Mapping[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.reload,
        }  # fmt: skip
        for number, action in actions.items():
            try:
                loop.add_signal_handler(number, action)
            except (ValueError, RuntimeError):  # not the main thread: whoever runs it there stops it by ``stop``
                return
            stack.callback(loop.remove_signal_handler, number)


@dataclass(slots=True)
class _Service:
    """What runs between start and stop; everything it needs is open."""

    daemon: Daemon
    config: Config
    specs: Sequence[JobRow] | None
    standing: Standing
    opened: Database
    leases: Leases
    reports: Reports
    gauges: Gauges
    verifying: Database
    transport: Transport
    bulletin: Bulletin
    used: frozenset[str] = frozenset()
    more_used: asyncio.Event = field(default_factory=asyncio.Event)
    reload_began_ms: int = 0

    async def live(self, stopping: asyncio.Event, hurry: asyncio.Event, reload: asyncio.Event) -> None:
        """Serve until asked to stop, then drain; what had to be cut off is recorded as interrupted."""
        cut_off: list[assembly.Lane] = []
        try:
            async with asyncio.TaskGroup() as group:
                works = (self._beat(), self.gauges.sample(), self._serve(reload))
                tasks = [group.create_task(work) for work in works]
                self.daemon.notifier.ready()
                await stopping.wait()
                self.standing.draining = True
                self.daemon.notifier.stopping()
                if await self._drain(hurry):
                    cut_off = [working.lane for working in self.standing.working.values()]
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise leaf(failures) from failures
        for lane in cut_off:
            with suppress(DatabaseUnavailable):  # whoever takes the exchange over records it then
                await lane.runs.interrupt(lane.name, lane.lease.epoch)

    async def _drain(self, hurry: asyncio.Event) -> bool:
        """Let runs end at their page borders, for ``drain_s`` at most.

        False at once where the database does not answer: nothing that still runs can be stored or recorded then.
        """
        for working in self.standing.working.values():
            working.scheduler.stop()
        now_s = asyncio.get_running_loop().time
        ends_s, look_s = now_s() + self.config.engine.drain_s, now_s() + _LOOK_S
        while now_s() < ends_s and self.standing.working and not hurry.is_set():
            if now_s() >= look_s:
                if not await self._answered():
                    log.warning("not drained", extra={"fields": {"reason": "the database does not answer"}})
                    return False
                look_s = now_s() + _LOOK_S
            await asyncio.sleep(_DRAIN_STEP_S)
        return True

    async def _answered(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self.reports.ping()
        except (MarketdError, TimeoutError):
            return False
        return True

    async def _beat(self) -> None:
        """Tell whoever watches that everything turns: this loop, and each one that has work to do."""
        while True:
            self.standing.pulse.beat("loop")
            stuck = self.standing.pulse.stuck(self.standing.watchdog_s)
            if stuck:
                log.error("stuck", extra={"fields": {"loops": " ".join(stuck), "once": "stuck"}})
            else:
                self.daemon.notifier.alive()
            await asyncio.sleep(1)

    async def _serve(self, reload: asyncio.Event) -> None:
        keeper = Keeper(
            self.daemon.load, JobTable(Runs(self.opened), self.daemon.clock), self.daemon.clock, self.bulletin,
            take=self._take, begin=self._reloading, tell=self._reloaded, turned=lambda: self._turned("jobs"),
            config=self.config, jobs=self.standing.job_set, news=News(os.getpid()),
        )  # fmt: skip
        await self._await_schema(keeper, reload)
        async with asyncio.TaskGroup() as group:
            group.create_task(keeper.keep(self.specs, reload))
            group.create_task(self.gauges.read())
            nightly = Nightly(
                self.verifying, self.daemon.clock, self.daemon.metrics, lambda: self.config.verify.schedule
            )
            group.create_task(nightly.watch())
            await self._keep_exchanges(group)

    def _turned(self, name: str) -> None:
        self.standing.pulse.beat(name)

    async def _await_schema(self, keeper: Keeper, reload: asyncio.Event) -> None:
        """Wait for the database, however long it takes to come up; a refused schema ends the daemon at once."""
        delay_s = 1
        while True:
            try:
                database = self.config.database
                await assembly.ready_schema(
                    self.opened.dsn, migrate=database.auto_migrate, name=database.instance, pooler=database.pooler
                )
                return
            except DatabaseUnavailable as error:
                away = error
            for _ in range(delay_s):
                keeper.put_off(reload, away)
                await self.daemon.clock.sleep(1)
            delay_s = min(delay_s * 2, 15)

    def _reloading(self) -> None:
        self.reload_began_ms = self.daemon.clock.now_ms()
        self.daemon.notifier.reloading()

    def _reloaded(self, verdict: Verdict) -> None:
        self.standing.last_reload = verdict
        if verdict.outcome in (ACCEPTED, REFUSED):
            self.daemon.metrics.reloaded(verdict.outcome == ACCEPTED, self.reload_began_ms, verdict.at_ms)
        self.daemon.notifier.ready(f"reload {verdict.outcome}: {verdict.reason or verdict.said}")

    def _take(self, config: Config, jobs: JobSet) -> None:
        """Work with ``config`` and ``jobs`` from now on."""
        standing, before = self.standing, self.config
        self.config = config
        first = not standing.loaded
        if first:
            standing.loaded = True
            self.daemon.metrics.config_loaded(self.daemon.clock.now_ms())
        self.daemon.metrics.show_series(config.metrics.series_limit)
        if config is not before:
            self._take_settings(before, config)
        if first or config is not before or jobs != standing.job_set:
            standing.job_set = jobs
            self._take_exchanges()
            self._tell_jobs(jobs)
            for working in standing.working.values():
                working.scheduler.take(jobs)

    def _take_exchanges(self) -> None:
        """Know those that are in use, and work on them from now on; nobody else's adapter is even read."""
        in_use = self.config.in_use(self.standing.job_set.exchanges)
        self.standing.budgets = {name: self.config.requests_per_minute_of(name) for name in in_use}
        objectives = self.standing.job_set.objectives
        self.daemon.metrics.know(in_use, {series: objectives.get(series) for series in self.standing.job_set.tracked})
        self.used = frozenset(in_use)
        self.more_used.set()

    def _take_settings(self, before: Config, config: Config) -> None:
        """What runs goes on with the new settings; a lane that was opened with others is opened anew."""
        anew = reopened(before, config)
        for name, working in self.standing.working.items():
            working.lane.budget.set_rate(config.requests_per_minute_of(name))
            working.scheduler.settle_ms = config.settle_ms_of(name)
            working.scheduler.page_allowance = config.engine.page_allowance
            if name in anew:
                working.scheduler.stop()

    def _tell_jobs(self, jobs: JobSet) -> None:
        metrics = self.daemon.metrics
        for asked in jobs.feasibility:
            metrics.budget(asked.exchange, asked.budget_per_minute / 60, asked.needed_per_minute / 60)
            if not asked.feasible:
                log.warning("schedule infeasible", extra={"fields": {"said": str(asked)}})
        metrics.jobs_counted({"enabled": len(jobs.jobs), "refused": len(jobs.refused)})
        self.daemon.notifier.status(f"{len(jobs.jobs)} jobs, {len(jobs.tracked)} series")

    async def _keep_exchanges(self, group: asyncio.TaskGroup) -> None:
        """Work on every exchange from the moment on in which it is used.

        Not before the jobs are known: a scheduler without them would take what a stop has missed for done.
        """
        kept: frozenset[str] = frozenset()
        while True:
            await self.more_used.wait()
            self.more_used.clear()
            for name in sorted(self.used - kept):
                group.create_task(self._keep_exchange(name))
            kept |= self.used

    async def _keep_exchange(self, name: str) -> None:
        """Work on an exchange whenever nobody else does; stand by otherwise."""
        while not self.standing.draining:
            try:
                await self._exchange(name)
            except LeaseLost as error:
                log.warning("lease lost", extra={"fields": {"exchange": name, "reason": str(error)}})
            except (Busy, StoreError) as error:
                fields = {"exchange": name, "reason": str(error), "once": f"standby {name}"}
                log.info("standing by", extra={"fields": fields})
            finally:
                self.standing.working.pop(name, None)
                self.standing.pulse.rest(name)
                self.daemon.metrics.lease(name, False)
            await asyncio.sleep(_STANDBY_S)

    async def _exchange(self, name: str) -> None:
        clock, metrics, engine = self.daemon.clock, self.daemon.metrics, self.config.engine
        try:
            async with assembly.lane(
                name, self.config, assembly.Books.of(self.opened), self.transport, clock, metrics,
                self.standing.progress, leases=self.leases,
            ) as lane:  # fmt: skip
                desk = Desk(name, lane.lease.epoch, lane.runner, lane.runs, lane.orders, SeriesReader(self.opened))
                scheduler = Scheduler(
                    desk, clock, metrics, self.config.settle_ms_of(name), engine.page_allowance,
                    turned=lambda: self._turned(name),
                )  # fmt: skip
                self.standing.working[name] = Working(lane, scheduler)
                metrics.lease(name, True)
                metrics.circuit(name, False)  # a new lane begins with a closed one
                scheduler.take(self.standing.job_set)
                await scheduler.work()
        except BaseExceptionGroup as failures:
            raise leaf(failures) from failures
