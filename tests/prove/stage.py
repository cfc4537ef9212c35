"""One lane of points: an exchange of its own, a clock that begins anew, a database for each point.

Owns what a point needs around its runs. Databases are copied ahead, while other points run. Refuses to know what a
flow does with them.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg

from marketd.clock import ScaledClock
from marketd.rehearsal.server import RehearsalServer
from marketd.rehearsal.stats import Asked
from tests.prove.children import Forks, Task
from tests.prove.faults import Fault
from tests.prove.scenery import NAME, NOW, PAGE, Scenery

_SETTINGS = f"MARKETD_EXCHANGES__{NAME.upper()}__"
_GONE_S = 10.0
_LOOK_S = 0.002
_OTHERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_UNEXPECTED = ("Traceback", "unexpected", "never retrieved", "was destroyed but it is pending")


class StageClock:
    """The exchange's clock; every point begins at the same moment."""

    def __init__(self) -> None:
        self.begin(NOW, 1.0)

    def begin(self, start_ms: int, speed: float) -> None:
        self.speed = speed
        self._clock = ScaledClock(start_ms, speed)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def sleep(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)


class Spares:
    """Copies of templates, one of each made ahead."""

    def __init__(self, scenery: Scenery, group: asyncio.TaskGroup) -> None:
        self._scenery = scenery
        self._group = group
        self._ready: dict[str, asyncio.Task[str]] = {}
        self._numbers = itertools.count(1)
        # A template can be copied by one at a time, and drops wait for the same locks.
        self._turn = asyncio.Lock()

    async def take(self, template: str) -> str:
        making = self._ready.pop(template, None) or self._begin(template)
        self._ready[template] = self._begin(template)
        return await making

    def forget(self, name: str) -> None:
        self._group.create_task(self._drop(name))

    def _begin(self, template: str) -> "asyncio.Task[str]":
        return self._group.create_task(self._make(template))

    async def _make(self, template: str) -> str:
        name = f"point_{next(self._numbers)}"
        async with self._turn:
            await self._scenery.copied(name, template)
        return name

    async def _drop(self, name: str) -> None:
        async with self._turn:
            await self._scenery.dropped(name)


@dataclass
class Stage:
    """What one point stands on, from its fresh database to its end."""

    scenery: Scenery
    forks: Forks
    exchange: RehearsalServer
    clock: StageClock
    folder: Path
    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"

    @property
    def asks(self) -> Sequence[Asked]:
        return self.exchange.stats.asks

    def task(self, words: tuple[str, ...], fault: Fault | None, *, hurry: float) -> Task:
        return Task(
            words, self._environ(), self.folder / "log", self.clock.now_ms(), self.clock.speed, hurry, fault
        )  # fmt: skip

    def _environ(self) -> Mapping[str, str]:
        return {
            "DATABASE_URL": f"postgresql://{self.dsn.partition('://')[2]}",
            "MARKETD_CONFIG": str(self.folder / "marketd.toml"), "MARKETD_RUN_DIR": str(self.folder / "run"),
            f"{_SETTINGS}BASE_URL": self.exchange.base_url, f"{_SETTINGS}REQUESTS_PER_MINUTE": "600000",
            f"{_SETTINGS}PAGE_LIMIT": str(PAGE),
            "MARKETD_HTTP__LISTEN": "127.0.0.1:0", "MARKETD_LOG__FORMAT": "json",
        }  # fmt: skip

    def unexpected(self) -> Sequence[str]:
        """What the runs have said that nobody expects: a traceback, a run that failed for no known reason."""
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return [f"logged: {line[:300]}" for line in lines if any(word in line for word in _UNEXPECTED)]

    async def alone(self) -> bool:
        """Wait until nobody but us is connected; False where somebody stays."""
        try:
            async with asyncio.timeout(_GONE_S):
                while await self.connection.fetchval(_OTHERS):  # noqa: ASYNC110  (they are other processes)
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return False
        return True

    async def expire_leases(self) -> None:
        """The lease of the dead would be waited for: let its time pass."""
        if await self.connection.fetchval("SELECT to_regclass('exchange_leases')"):
            await self.connection.execute("UPDATE exchange_leases SET expires_at = now()")


@dataclass
class Seen:
    """What was found when a point began (``wrong`` is what the world has broken), and when the first run had ended."""

    wrong: frozenset[str] = frozenset()
    uncounted: int = 0
    known: Mapping[tuple[str, str], frozenset[int]] = field(default_factory=dict)
    asks: int = 0


@dataclass
class Lane:
    """Makes a ``Stage`` for each point, one after the other."""

    scenery: Scenery
    forks: Forks
    spares: Spares
    exchange: RehearsalServer
    clock: StageClock
    folder: Path
    _seen: dict[str, Seen] = field(default_factory=dict)

    async def seen(self, template: str, look: Callable[[], Awaitable[Seen]]) -> Seen:
        """What is found in a copy of ``template`` before anything has run; looked at once."""
        if template not in self._seen:
            self._seen[template] = await look()
        return replace(self._seen[template])

    @asynccontextmanager
    async def stage(self, template: str, *, speed: float) -> AsyncIterator[Stage]:
        """On a copy of ``template`` that is dropped at the end."""
        name = await self.spares.take(template)
        async with self.on(name, speed=speed) as stage:
            yield stage
        self.spares.forget(name)

    @asynccontextmanager
    async def on(self, name: str, *, speed: float = 1.0) -> AsyncIterator[Stage]:
        """On the database ``name`` itself, which stays."""
        self.clock.begin(NOW, speed)
        self.exchange.stats.reset(NOW)
        (self.folder / "log").unlink(missing_ok=True)
        dsn = self.scenery.dsn(name)
        connection = await asyncpg.connect(dsn)
        try:
            yield Stage(self.scenery, self.forks, self.exchange, self.clock, self.folder, dsn, connection)
        finally:
            await connection.close()


@asynccontextmanager
async def lane(scenery: Scenery, forks: Forks, spares: Spares, number: int) -> AsyncIterator[Lane]:
    folder, clock = scenery.folder / f"lane-{number}", StageClock()
    folder.mkdir()
    async with RehearsalServer(scenery.market, clock, dialect=NAME) as exchange:
        yield Lane(scenery, forks, spares, exchange, clock, folder)
