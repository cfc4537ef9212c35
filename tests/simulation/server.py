"""The database server of a simulation, and a host's line to it.

Owns when a statement is answered and when it fails. A transaction happens in one instant, whole or not at all: between
``begin`` and ``end`` of a line nobody else has a turn.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

from marketd.errors import DatabaseUnavailable
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock
from tests.simulation.tables import Tables

_SLOW_SHARE = 0.02  # of statements that take a moment; the others are answered at once


@dataclass
class Server:
    """``away`` refuses every statement; of ``lost_share`` the effect stays and the answer is lost; each takes
    ``delay_s`` more."""

    clock: HostClock
    journal: Journal
    dice: Random
    tables: Tables = field(default_factory=Tables)
    away: bool = False
    lost_share: float = 0.0
    failing_share: float = 0.0
    delay_s: float = 0.0

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()


@dataclass
class Line:
    """One process's connections: a frozen one asks nothing, a dead one reaches nobody."""

    server: Server
    who: str
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    dead: bool = False

    def __post_init__(self) -> None:
        self.thawed.set()

    async def begin(self) -> Tables:
        """The tables, for one instant. DatabaseUnavailable where the server does not hear."""
        server = self.server
        if not self.thawed.is_set():
            await self.thawed.wait()
        if server.delay_s or server.dice.random() < _SLOW_SHARE:
            await asyncio.sleep(server.delay_s + server.dice.uniform(0.001, 0.05))
            if not self.thawed.is_set():
                await self.thawed.wait()
        if self.dead or server.away or (server.failing_share and server.dice.random() < server.failing_share):
            raise DatabaseUnavailable("the database is away")
        return server.tables

    def end(self) -> None:
        """After a write: it is done, but its answer may be lost."""
        if self.server.lost_share and self.server.dice.random() < self.server.lost_share:
            self.server.journal.note("answer_lost", self.who)
            raise DatabaseUnavailable("the answer to COMMIT was lost")
