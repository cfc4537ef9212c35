"""The daemon: one process, one loop, everything in its place.

Owns life and death: what is opened in which order, the signals, the reload and the drain. One exit stack, one task
group. Refuses to do any of the work (see ``scheduler``, ``runner``) and to run twice on an exchange (see the lease).
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import marketd
from marketd import assembly
from marketd.clock import Clock
from marketd.config import Config, read_text
from marketd.errors import Busy, ConfigError, DatabaseUnavailable, LeaseLost, leaf
from marketd.exchanges import EXCHANGES
from marketd.figures import Missing
from marketd.jobfile import JobSpec, read_jobs
from marketd.joblist import difference
from marketd.jobset import JobSet, job_set
from marketd.metrics import Metrics
from marketd.model import Series
from marketd.notify import Notifier
from marketd.ports import Unwatched
from marketd.scheduler import Desk, Scheduler
from marketd.store.queries import sql
from marketd.store.reports import Reports
from marketd.store.runs import JobRow, Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.web.port import Port
from marketd.web.status import ExchangeStatus, JobStatus

log = logging.getLogger(__name__)

_JOBS_EVERY_S = 15.0
_FIGURES_EVERY_S = 30.0
_PORT_STATEMENT_S = 5.0
_STANDBY_S = 2.0
_DRAIN_STEP_S = 0.05
_WATCHDOG_S = 30.0


@dataclass(slots=True)
class _Working:
    """An exchange that this process works on right now."""

    lane: assembly.Lane
    scheduler: Scheduler


@dataclass(slots=True)
class Daemon:
    """``await Daemon(load, clock).run()`` until SIGTERM or ``stop()``.

    ``load`` reads the configuration anew, at the start and at every reload.
    """

    load: Callable[[], Config]
    clock: Clock
    notifier: Notifier = field(default_factory=Notifier)
    metrics: Metrics = field(default_factory=Metrics)
    version: str = marketd.__version__
    watchdog_s: float = _WATCHDOG_S
    started_ms: int = 0
    draining: bool = False
    address: str = ""
    _config: Config | None = None
    _jobs: JobSet = field(default_factory=JobSet)
    _loaded: bool = False
    _working: dict[str, _Working] = field(default_factory=dict)
    _turned_s: float = 0.0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _reload: asyncio.Event = field(default_factory=asyncio.Event)
    listening: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Drain and end; also what SIGTERM and SIGINT do."""
        self._stopping.set()

    def reload(self) -> None:
        """Read configuration and jobs anew; also what SIGHUP does."""
        self._reload.set()

    async def run(self) -> None:
        config = self._config = self.load()
        self.started_ms = self.clock.now_ms()
        self._turned_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            self._heed_signals(stack)
            url = await self._database_url(stack, config)
            opened = await stack.enter_async_context(Database(url, prepare=sql("page_table")))
            # The port answers from the first moment, also while the database is away; its readers never wait for pages.
            readers = await stack.enter_async_context(
                Database(url, size=2, application="marketd port", statement_s=_PORT_STATEMENT_S)
            )
            reports = Reports(readers)
            port = await stack.enter_async_context(Port(config.http.listen, reports, self, self.metrics.registry))
            self.address = port.address
            self.listening.set()
            transport = await stack.enter_async_context(Transport(self.clock))
            log.info("listening", extra={"fields": {"address": port.address, "version": self.version}})
            await self._live(opened, reports, transport)

    async def _database_url(self, stack: AsyncExitStack, config: Config) -> str:
        """The address of the database; a private server that a command has started is waited for."""
        while True:
            try:
                return await stack.enter_async_context(assembly.database_url(config, join=False))
            except Busy as error:
                log.warning("database busy", extra={"fields": {"reason": str(error), "once": "database"}})
                await self.clock.sleep(1)

    async def _live(self, opened: Database, reports: Reports, transport: Transport) -> None:
        """Serve until asked to stop, then drain; what had to be cut off is recorded as interrupted."""
        cut_off: list[assembly.Lane] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._beat()),
                    group.create_task(self._serve(opened, reports, transport)),
                ]
                self.notifier.ready()
                await self._stopping.wait()
                self.draining = True
                self.notifier.stopping()
                await self._drain()
                cut_off = [working.lane for working in self._working.values()]
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise leaf(failures) from failures
        for lane in cut_off:
            with suppress(DatabaseUnavailable):  # whoever takes the exchange over records it then
                await lane.runs.interrupt(lane.name, lane.lease.epoch)

    async def _serve(self, opened: Database, reports: Reports, transport: Transport) -> None:
        await self._await_schema(opened.dsn)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_jobs(opened))
            group.create_task(self._keep_figures(reports))
            for name in EXCHANGES:
                group.create_task(self._keep_exchange(name, opened, transport))

    async def _await_schema(self, url: str) -> None:
        """Wait for the database, however long it takes to come up; a refused schema ends the daemon at once."""
        delay_s = 1.0
        while True:
            try:
                await assembly.ready_schema(url, migrate=self._settings.database.auto_migrate)
                return
            except DatabaseUnavailable as error:
                _say_away(error)
            await self.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, 15)

    async def _keep_figures(self, reports: Reports) -> None:
        """What metrics know from the database: how far each series is answered, and what it owes."""
        while True:
            try:
                for known in await reports.answered():
                    self.metrics.answered_until(known.series, known.until_ms)
                owed = await reports.missing()
                for series in self._jobs.tracked:
                    self.metrics.series_missing(series, owed.get(series, Missing()).by_cause())
            except DatabaseUnavailable as error:
                _say_away(error)
            await self.clock.sleep(_FIGURES_EVERY_S)

    async def _drain(self) -> None:
        """Let runs end at their page borders, for ``drain_s`` at most."""
        for working in self._working.values():
            working.scheduler.stop()
        left_s = self._settings.engine.drain_s
        while left_s > 0 and self._working:
            await asyncio.sleep(_DRAIN_STEP_S)
            left_s -= _DRAIN_STEP_S

    @property
    def _settings(self) -> Config:
        if self._config is None:
            raise ConfigError("the daemon has not been started")
        return self._config

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

    async def _beat(self) -> None:
        """The loop turns: tell it to whoever watches."""
        while True:
            self._turned_s = asyncio.get_running_loop().time()
            self.notifier.alive()
            await asyncio.sleep(1)

    async def _keep_jobs(self, opened: Database) -> None:
        """Follow the job file at the start and at every reload, and the job table all the time."""
        runs, first = Runs(opened), True
        while True:
            asked, self._reload = self._reload.is_set(), asyncio.Event() if self._reload.is_set() else self._reload
            try:
                if first or asked:
                    await self._read_anew(runs, initial=first)
                    first = False
                await self._take_jobs(runs)
            except DatabaseUnavailable as error:
                _say_away(error)
            await self._until_reload(_JOBS_EVERY_S)

    async def _until_reload(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._reload.wait()
        except TimeoutError:
            return

    async def _read_anew(self, runs: Runs, *, initial: bool) -> None:
        """Configuration and job file, all or nothing: a mistake changes nothing and is said."""
        try:
            if not initial:
                self.notifier.reloading()
                self._config = self.load()
            await self.follow_file(runs, self._settings)
            self.metrics.config_loaded(self.clock.now_ms())
        except ConfigError as error:
            if initial:
                raise
            self.metrics.config_refused()
            log.error("reload refused", extra={"fields": {"error": str(error)}})
        finally:
            if not initial:
                self.notifier.ready()

    async def follow_file(self, runs: Runs, config: Config) -> None:
        """Bring the rows of the job file up to date. A missing file changes nothing."""
        if config.jobs_file is None:
            return
        specs = read_specs(config.jobs_file, config, self.clock.now_ms())
        if specs is None:
            return
        owner = config.owner or socket.gethostname()
        change = difference(specs, await runs.file_jobs(owner))
        if change:
            await runs.follow_file(
                [_row(spec, owner) for spec in change.added],
                {number: _row(spec, owner) for number, spec in change.changed.items()},
                change.removed,
            )
            log.info("job file read", extra={"fields": {
                "added": len(change.added), "changed": len(change.changed), "removed": len(change.removed),
            }})  # fmt: skip

    async def _take_jobs(self, runs: Runs) -> None:
        config = self._settings
        jobs = job_set(
            await runs.enabled_jobs(), config.timeframes, config.derive, _budgets(config), config.engine.settle_s
        )
        self._loaded = True
        if jobs == self._jobs:
            return
        self._jobs = jobs
        for number, reason in jobs.refused.items():
            log.warning("job refused", extra={"fields": {"job": number, "reason": reason}})
        for asked in jobs.feasibility:
            self.metrics.budget(asked.exchange, asked.budget_per_minute / 60, asked.needed_per_minute / 60)
            if not asked.feasible:
                log.warning("schedule infeasible", extra={"fields": {"said": str(asked)}})
        self.metrics.know(EXCHANGES, {series: jobs.objectives.get(series) for series in jobs.tracked})
        self.metrics.jobs_counted({"enabled": len(jobs.jobs), "refused": len(jobs.refused)})
        for working in self._working.values():
            working.scheduler.take(jobs)
        self.notifier.status(f"{len(jobs.jobs)} jobs, {len(jobs.tracked)} series")

    async def _keep_exchange(self, name: str, opened: Database, transport: Transport) -> None:
        """Work on an exchange whenever nobody else does; stand by otherwise."""
        while not self.draining:
            try:
                await self._exchange(name, opened, transport)
            except (Busy, LeaseLost, DatabaseUnavailable) as error:
                log.info(
                    "standing by", extra={"fields": {"exchange": name, "reason": str(error), "once": f"standby {name}"}}
                )
            finally:
                self._working.pop(name, None)
                self.metrics.lease(name, False)
            await asyncio.sleep(_STANDBY_S)

    async def _exchange(self, name: str, opened: Database, transport: Transport) -> None:
        config = self._settings
        try:
            async with assembly.lane(
                name, config, opened, transport, self.clock, self.metrics, Unwatched(), kind="daemon"
            ) as lane:
                desk = Desk(name, lane.lease.epoch, lane.runner, lane.runs, SeriesReader(opened))
                scheduler = Scheduler(
                    desk, self.clock, self.metrics, int(config.engine.settle_s * 1000), config.engine.page_allowance
                )
                self._working[name] = _Working(lane, scheduler)
                self.metrics.lease(name, True)
                scheduler.take(self._jobs)
                await scheduler.work()
        except BaseExceptionGroup as failures:
            raise leaf(failures) from failures

    # What the port asks (marketd.web.status.Status).

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def exchange_now_ms(self, exchange: str) -> int:
        working = self._working.get(exchange)
        if working is None or not working.lane.fetcher.time.known:
            return self.clock.now_ms()
        return working.lane.fetcher.now_ms()

    def turn_age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._turned_s

    def unready(self) -> Sequence[str]:
        reasons = []
        if self.draining:
            reasons.append("draining: the daemon is about to stop")
        if not self._loaded:
            reasons.append("the job table is not loaded yet")
        return reasons  # whether the database answers, the port finds out by itself

    def jobs(self) -> Mapping[int, JobStatus]:
        found: dict[int, JobStatus] = {}
        for working in self._working.values():
            nexts, running = working.scheduler.next_of(), working.scheduler.running
            for number in working.scheduler.jobs.jobs:
                found[number] = JobStatus(nexts.get(number), number in running)
        return found

    def exchanges(self) -> Sequence[ExchangeStatus]:
        return [self._exchange_status(name) for name in EXCHANGES]

    def _exchange_status(self, name: str) -> ExchangeStatus:
        working = self._working.get(name)
        if working is None:
            return ExchangeStatus(name, _budgets(self._settings)[name], 0)
        budget, circuit = working.lane.budget, working.lane.fetcher.circuit
        now_ms = self.clock.now_ms()
        if circuit.open_until_ms is not None:
            return ExchangeStatus(name, budget.per_minute, budget.used_last_minute, "open", circuit.open_until_ms)
        if budget.blocked_for_s > 0:
            until_ms = now_ms + int(budget.blocked_for_s * 1000)
            return ExchangeStatus(name, budget.per_minute, budget.used_last_minute, "cooling", until_ms)
        return ExchangeStatus(name, budget.per_minute, budget.used_last_minute)

    def objectives(self) -> Mapping[Series, float]:
        return self._jobs.objectives


def _say_away(error: DatabaseUnavailable) -> None:
    log.warning("database away", extra={"fields": {"error": str(error), "once": "database"}})


def _budgets(config: Config) -> dict[str, float]:
    """Requests a minute that each exchange is allowed."""
    return {
        name: config.exchanges[name].requests_per_minute or facts.requests_per_minute
        for name, facts in EXCHANGES.items()
    }


def read_specs(path: Path, config: Config, now_ms: int) -> tuple[JobSpec, ...] | None:
    """The entries of the job file; None, and said, where there is no file. ConfigError where it cannot be used."""
    text = read_text(path)
    if text is None:
        log.warning("job file missing", extra={"fields": {"path": str(path)}})
        return None
    specs = read_jobs(text, now_ms, config.derive)
    if not specs:
        raise ConfigError(f"{path} has no [[jobs]] entry: an empty file would disable every job that came from it")
    return specs


def _row(spec: JobSpec, owner: str) -> JobRow:
    return JobRow(
        spec.exchange, spec.symbol, spec.timeframe, spec.job_type, spec.schedule, spec.enabled, spec.start_ms,
        spec.end_ms, "file", owner, spec.catch_up, spec.timeout_s, spec.freshness_s,
    )  # fmt: skip
