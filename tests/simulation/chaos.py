"""What goes wrong in a world.

Owns every kind of trouble: how it begins, how long it lasts, and that it ends. All of it is drawn from one seed. A
storm is a time full of trouble; when it is over, everything is as it was but for what has happened meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from marketd.clock import at
from marketd.rehearsal import faults as fault
from marketd.rehearsal.sources import DAY_MS
from tests.simulation.host import Host
from tests.simulation.site import TIMEFRAME
from tests.simulation.store import retire
from tests.simulation.truth import MINUTE_MS, Delay, Hidden, Revision
from tests.simulation.world import World

HOUR_S = 3600.0
_PASSING = tuple(kind for kind in fault.KINDS.values() if kind is not fault.Revised)

Trouble = Callable[[], Awaitable[None]]


@dataclass
class Chaos:
    world: World
    dice: Random
    delisted: list[str] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.primary = self.world.host()
        self.primary.start()
        self.spare: Host | None = None
        self.busy: set[str] = set()

    @property
    def kinds(self) -> dict[str, tuple[Trouble, int]]:
        """What may happen, and how often in comparison."""
        return {
            "down": (self.down, 3), "slow": (self.slow, 2), "hang": (self.hang, 2), "throttled": (self.throttled, 3),
            "lost": (self.lost, 4), "revised": (self.revised, 4), "late": (self.late, 3), "delisted": (self.delist, 1),
            "unlisted": (self.unlisted, 1), "silent": (self.silent, 2), "short_pages": (self.short_pages, 2),
            "limit_refused": (self.limit_refused, 1), "malformed": (self.malformed, 4), "ignores": (self.ignores, 2),
            "cut_off": (self.cut_off, 2), "timeframe_refused": (self.timeframe_refused, 1),
            "exchange_clock": (self.exchange_clock, 2), "host_clock": (self.host_clock, 3),
            "killed": (self.killed, 3), "stopped": (self.stopped, 2), "frozen": (self.frozen, 2),
            "second": (self.second, 2), "database_away": (self.database_away, 3),
            "database_failing": (self.database_failing, 2), "answers_lost": (self.answers_lost, 3),
            "database_slow": (self.database_slow, 1), "paused": (self.paused, 2), "rescheduled": (self.rescheduled, 2),
            "disabled": (self.disabled, 2), "narrowed": (self.narrowed, 1), "order": (self.order, 2),
            "reload": (self.reload, 2), "retired": (self.retired, 1),
        }  # fmt: skip

    # Storm and calm

    async def storm(self, for_s: float) -> None:
        """Trouble after trouble for a time, several at once."""
        loop = asyncio.get_running_loop()
        end = loop.time() + for_s
        plan = self.world.plan
        names = [name for name in self.kinds if not plan.only or name in plan.only]
        weights = [self.kinds[name][1] for name in names]
        while (pause_s := self.dice.expovariate(1 / plan.pause_s)) + loop.time() < end and self._well:
            await asyncio.sleep(pause_s)
            name = self.dice.choices(names, weights)[0]
            if name not in self.busy:
                self._begin(name)
        await asyncio.sleep(max(0.0, end - loop.time()))

    @property
    def _well(self) -> bool:
        self.look()
        return not self.world.journal.violations

    def _begin(self, name: str) -> None:
        task = asyncio.create_task(self._one(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, name: str) -> None:
        self.busy.add(name)
        self.world.journal.trouble(name)
        try:
            await self.kinds[name][0]()
        finally:
            self.busy.discard(name)

    async def calm(self) -> None:
        """All trouble is over: what it had changed is changed back."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        world = self.world
        gone = [one for one in world.site.faults.standing(fault.Delisted) if one.for_s is None]
        world.site.faults.clear(*_PASSING)
        world.site.faults.add(*gone)
        world.site.trouble.forget()
        now_ms = world.site.clock.now_ms()
        for hidden in world.truth.hidden:
            hidden.until_ms = min(hidden.until_ms, now_ms)
        for late in world.truth.late:
            late.until_ms = min(late.until_ms, now_ms)
        if not self.primary.alive:
            self._new_primary()
        if self.spare is not None and self.dice.random() < 0.7:
            await self.spare.stop()
            self.spare = None
        world.journal.note("calm")

    def look(self) -> None:
        for host in (self.primary, self.spare):
            if host is not None:
                host.look()

    async def end(self) -> None:
        for host in (self.primary, self.spare):
            if host is not None:
                await host.stop()

    # The exchange

    def _strike(self, kind: type[fault.Fault], shortest_s: float, longest_s: float, **given: Any) -> float:
        """Set a fault for a time, on all series or on some; returns for how long."""
        for_s = self._length(shortest_s, longest_s)
        self._set(kind(for_s=for_s, **given))
        return for_s

    def _set(self, one: fault.Fault) -> None:
        self.world.site.faults.add(one)
        self.world.journal.note("fault", fault.KIND_NAMES[type(one)], repr(one))

    def _length(self, shortest_s: float, longest_s: float) -> float:
        """Short ones are more frequent than long ones."""
        return float(shortest_s * (longest_s / shortest_s) ** self.dice.random())

    def _some(self) -> tuple[str, ...]:
        symbols = self.world.symbols
        return tuple(self.dice.sample(symbols, self.dice.choice([1, 1, 2, len(symbols)]) if len(symbols) > 1 else 1))

    def _stretch(self, longest: int) -> tuple[int, int]:
        """Some intervals, ending now or somewhere in history."""
        now = self.world.true.now_ms() // MINUTE_MS
        size = int(self._length(1, longest))
        back = self.dice.choice([0, 0, int(self._length(1, 1440)), int(self._length(1, 1440 * self._age_days()))])
        return now - back - size, now - back

    def _age_days(self) -> int:
        return max(2, int((self.world.true.now_ms() - self.world.start_ms) / DAY_MS) + self.world.plan.history_days)

    async def down(self) -> None:
        share = self.dice.choice([1.0, 1.0, 0.5])
        kind = self.dice.choice(["reset", "html", "array", "maintenance", "redirect"])
        if kind == "reset":
            for_s = self._strike(fault.Reset, 60, 8 * HOUR_S, share=share)
        elif kind == "maintenance":
            for_s = self._strike(fault.Maintenance, 60, 4 * HOUR_S)
        elif kind == "redirect":
            for_s = self._strike(fault.Redirect, 60, HOUR_S)
        else:
            for_s = self._strike(fault.ServerError, 60, 4 * HOUR_S, share=share, body=kind)
        await asyncio.sleep(for_s)

    async def slow(self) -> None:
        await asyncio.sleep(self._strike(fault.Latency, 300, 6 * HOUR_S, delay_s=self.dice.uniform(1, 40)))

    async def hang(self) -> None:
        where: Literal["headers", "body"] = self.dice.choice(["headers", "body"])
        await asyncio.sleep(self._strike(fault.Hang, 60, HOUR_S, where=where, share=self.dice.choice([0.3, 1.0])))

    async def throttled(self) -> None:
        for_s = self._strike(
            fault.RateLimit, 120, 4 * HOUR_S, per_minute=self.dice.randint(1, 10),
            block_s=self._length(10, 3600), retry_after=self.dice.choice(["", "seconds", "date"]),
            prolongs=self.dice.random() < 0.3,
        )  # fmt: skip
        await asyncio.sleep(for_s)

    async def lost(self) -> None:
        """The exchange loses a stretch of its history, and finds it again."""
        start, end = self._stretch(2000)
        symbols, for_s = self._some(), self._length(600, 96 * HOUR_S)
        self._set(fault.Lost(start_ms=start * MINUTE_MS, end_ms=end * MINUTE_MS, symbols=symbols, for_s=for_s))
        now_ms = self.world.site.clock.now_ms()
        self.world.truth.hidden.append(Hidden(symbols, start, end, now_ms, now_ms + int(for_s * 1000)))
        await asyncio.sleep(min(for_s, HOUR_S))  # several stretches may be lost at the same time

    async def revised(self) -> None:
        start, end = self._stretch(300)
        symbols = self._some()
        self._set(fault.Revised(start_ms=start * MINUTE_MS, end_ms=end * MINUTE_MS, symbols=symbols))
        self.world.truth.revisions.append(Revision(symbols, start, end, self.world.site.clock.now_ms()))

    async def late(self) -> None:
        """Candles are published a while after their close."""
        share, delay_s = self.dice.choice([0.1, 0.5, 1.0]), self._length(10, 1800)
        for_s = self._strike(fault.Late, 600, 12 * HOUR_S, share=share, delay_s=delay_s)
        now_ms = self.world.site.clock.now_ms()
        self.world.truth.late.append(Delay(share, int(delay_s * 1000), now_ms, now_ms + int(for_s * 1000)))
        await asyncio.sleep(for_s)

    async def delist(self) -> None:
        """A market closes for good; what there was is still told."""
        left = [symbol for symbol in self.world.symbols if symbol not in self.delisted]
        if len(self.delisted) < 2 < len(left):
            symbol = self.dice.choice(left)
            self.delisted.append(symbol)
            self.world.close_market(symbol)
            self._set(fault.Delisted(symbols=(symbol,), candles=True))

    async def unlisted(self) -> None:
        """A symbol is unknown for a while."""
        symbols, for_s = (self.dice.choice(self.world.symbols),), self._length(600, 24 * HOUR_S)
        self._set(fault.Delisted(symbols=symbols, candles=False, for_s=for_s))
        await asyncio.sleep(for_s)

    async def silent(self) -> None:
        """The exchange says that there is nothing, whatever it is asked."""
        await asyncio.sleep(self._strike(fault.Nothing, 60, 6 * HOUR_S, symbols=self._some()))

    async def short_pages(self) -> None:
        """Where intervals bound a page a cut one shows only by a number of rows that exchanges choose."""
        rows = 100 if self.world.exchange.counted else self.dice.randint(3, 120)
        await asyncio.sleep(self._strike(fault.PageLimit, 600, 12 * HOUR_S, rows=rows))

    async def limit_refused(self) -> None:
        await asyncio.sleep(self._strike(fault.LimitRefused, 600, 6 * HOUR_S, above=self.dice.choice([120, 1000])))

    async def malformed(self) -> None:
        how = self.dice.choice([
            "html", "cut", "blank", "bom", "nested", "error_200", "nan", "infinity", "negative", "overflow", "null",
            "text", "conflict", "duplicate", "misaligned", "implausible", "shuffled",
        ])  # fmt: skip
        if how == "text" and self.world.plan.exchange != "bitfinex":
            how = "null"  # others send numbers as texts, or may: a wrong one is not to be told from a right one
        for_s = self._strike(
            fault.Malformed, 60, 3 * HOUR_S, how=how, rows=self.dice.choice([1, 1, 2, 5]), symbols=self._some(),
            share=self.dice.choice([0.2, 0.5, 1.0]),
        )  # fmt: skip
        await asyncio.sleep(for_s)

    async def ignores(self) -> None:
        names = self.dice.sample(["start", "end", "sort", "limit"], self.dice.choice([1, 1, 2]))
        await asyncio.sleep(self._strike(fault.Ignores, 60, 3 * HOUR_S, parameters=tuple(names)))

    async def cut_off(self) -> None:
        framing = self.dice.choice(["length", "chunked", "none"])
        share = self.dice.choice([0.3, 1.0])
        await asyncio.sleep(self._strike(fault.Truncated, 60, 2 * HOUR_S, framing=framing, share=share))

    async def timeframe_refused(self) -> None:
        await asyncio.sleep(
            self._strike(fault.TimeframeRefused, 60, HOUR_S, timeframes=(self.world.exchange.timeframes[TIMEFRAME],))
        )

    # Clocks

    async def exchange_clock(self) -> None:
        """The exchange's ``Date`` goes wrong: behind, or ahead while no host is."""
        date = self.world.site.date
        least_ms = self.world.ahead_ms
        ahead_ms = least_ms if any(host.clock.offset_ms > least_ms for host in self._hosts()) else 600_000
        before_ms = date.offset_ms
        date.offset_ms = self.dice.choice([-int(self._length(1000, 4e6)), self.dice.randint(0, ahead_ms)])
        try:
            await self._told_clock("exchange_clock", date.offset_ms, self._length(300, 6 * HOUR_S))
        finally:
            date.offset_ms = before_ms

    async def host_clock(self) -> None:
        host = self.primary
        if self.world.site.date.offset_ms > self.world.ahead_ms:
            return
        before_ms = host.clock.offset_ms
        sign = self.dice.choice([-1, 1])
        host.clock.offset_ms += sign * int(self._length(1000, self.dice.choice([1e4, 1e7, 1e9])))
        try:
            await self._told_clock("host_clock", host.clock.offset_ms, self._length(60, 6 * HOUR_S))
        finally:
            host.clock.offset_ms = before_ms

    async def _told_clock(self, name: str, offset_ms: int, for_s: float) -> None:
        self.world.journal.note("clock", name, offset_ms)
        await asyncio.sleep(for_s)

    def _hosts(self) -> list[Host]:
        return [host for host in (self.primary, self.spare) if host is not None]

    # Hosts

    def _new_primary(self) -> None:
        self.primary = self.world.host()
        self.primary.start()

    async def killed(self) -> None:
        await self._gone(self.primary.kill, self._length(1, 12 * HOUR_S))

    async def stopped(self) -> None:
        await self._gone(self.primary.stop, self._length(1, 2 * HOUR_S))

    async def _gone(self, leave: Trouble, for_s: float) -> None:
        if self.busy & {"killed", "stopped"} - {"killed"} and self.busy & {"killed", "stopped"} - {"stopped"}:
            return
        self.world.journal.note("host_gone", self.primary.name, f"{for_s:.3f}")
        await asyncio.shield(asyncio.ensure_future(leave()))
        await asyncio.sleep(for_s)
        if not self.primary.alive:
            self._new_primary()

    async def frozen(self) -> None:
        host = self.primary
        self.world.journal.note("frozen", host.name)
        for_s = self._length(5, 2 * HOUR_S)
        async with host.frozen(for_s):
            await asyncio.sleep(for_s)

    async def second(self) -> None:
        """A second daemon; one of the two goes after a while."""
        if self.spare is not None:
            return
        self.spare = self.world.host()
        self.spare.start()
        await asyncio.sleep(self._length(60, 24 * HOUR_S))
        if self.dice.random() < 0.5:
            self.primary, self.spare = self.spare, self.primary
        goes, self.spare = self.spare, None
        await asyncio.shield(asyncio.ensure_future(self.dice.choice([goes.kill, goes.stop])()))

    # The database

    async def database_away(self) -> None:
        self.world.server.away = True
        await self._database("away", 1, 2 * HOUR_S)

    async def database_failing(self) -> None:
        self.world.server.failing_share = self.dice.choice([0.02, 0.2])
        await self._database("failing", 60, 2 * HOUR_S)

    async def answers_lost(self) -> None:
        self.world.server.lost_share = self.dice.choice([0.1, 0.5])
        await self._database("answers_lost", 60, 4 * HOUR_S)

    async def database_slow(self) -> None:
        self.world.server.delay_s = self.dice.uniform(0.1, 3)
        await self._database("slow", 60, 2 * HOUR_S)

    async def _database(self, name: str, shortest_s: float, longest_s: float) -> None:
        server = self.world.server
        self.world.journal.note("database", name)
        try:
            await asyncio.sleep(self._length(shortest_s, longest_s))
        finally:
            if name == "away":
                server.away = False
            elif name == "failing":
                server.failing_share = 0.0
            elif name == "answers_lost":
                server.lost_share = 0.0
            else:
                server.delay_s = 0.0

    async def retired(self) -> None:
        """Retention takes the older days of some series away: what is known of them, and later their candles."""
        tables, now_ms = self.world.server.tables, self.world.true.now_ms()
        for symbol in self._some():
            table = self.world.table(symbol)
            if not retire(tables, table, now_ms - self.dice.randint(1, 4) * DAY_MS, now_ms):
                continue
            self.world.journal.note("retired", symbol, table.retired)
            try:
                await asyncio.sleep(self._length(1, HOUR_S))
            finally:
                table.sweep()

    # The jobs

    def _job(self, *types: str) -> int:
        jobs = self.world.server.tables.jobs.values()
        return int(self.dice.choice([r["id"] for r in jobs if r["origin"] == "sql" and r["job_type"] in types]))

    async def _edited(self, number: int, shortest_s: float, longest_s: float, **changed: Any) -> None:
        tables = self.world.server.tables
        before = {name: tables.jobs[number][name] for name in changed}
        tables.change_job(number, **changed)
        self.world.journal.note("job", number, *changed.items())
        try:
            await asyncio.sleep(self._length(shortest_s, longest_s))
        finally:
            tables.change_job(number, **before)

    async def paused(self) -> None:
        until = at(self.world.true.now_ms() + int(self._length(600, 24 * HOUR_S) * 1000))
        await self._edited(self._job("continuous", "backfill", "gap_repair"), 600, 12 * HOUR_S, paused_until=until)

    async def rescheduled(self) -> None:
        schedule = self.dice.choice(["* * * * *", "*/7 * * * *", "13 * * * *", "0 4 * * *"])
        await self._edited(self._job("continuous"), 600, 24 * HOUR_S, schedule=schedule)

    async def disabled(self) -> None:
        await self._edited(self._job("continuous", "backfill", "gap_repair"), 600, 24 * HOUR_S, enabled=False)

    async def narrowed(self) -> None:
        start = at((self.world.start_ms // DAY_MS) * DAY_MS - self.dice.randrange(DAY_MS))
        await self._edited(self._job("backfill"), 3600, 36 * HOUR_S, start_time=start)

    async def order(self) -> None:
        start, end = self._stretch(3000)
        job_type = self.dice.choice(["backfill", "gap_repair"])
        number = self.world.server.tables.add_job(
            at(self.world.true.now_ms()), origin="order", exchange=self.world.plan.exchange,
            symbol=self.dice.choice(self.world.symbols), timeframe=TIMEFRAME, job_type=job_type,
            start_time=at(start * MINUTE_MS), end_time=at(end * MINUTE_MS),
            refetch=job_type == "backfill" and self.dice.random() < 0.7, oldest_first=self.dice.random() < 0.5,
        )  # fmt: skip
        self.world.journal.note("order", number, job_type, start, end)

    async def reload(self) -> None:
        host = self.primary
        host.config = self.world.config(self.dice.choice([1.0, 0.5]))
        host.reload.set()
        self.world.journal.note("reload_asked", host.name)
