"""What may strike a run, and where.

Owns the kinds of faults and their places: a turn of the event loop, a call that leaves the process, a moment. What
happens at a call is the real thing where that can be had: the connection is gone, another process has taken the
exchange over.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import asyncpg

from marketd.errors import BadReply, Unreachable
from marketd.store.queries import sql
from marketd.transport import Transport
from tests.prove.turns import TurningLoop, Turns

T = TypeVar("T")

CALLS = ("execute", "fetch", "fetchrow", "fetchval", "copy_to_table")


class Kind(StrEnum):
    KILL = "kill"  # SIGKILL at a turn
    CANCEL = "cancel"  # the main task is cancelled at a turn
    BEFORE = "before"  # a call fails before it was carried out: the connection is gone, the exchange out of reach
    AFTER = "after"  # a call was carried out and its answer is lost
    REFUSED = "refused"  # a call is answered with an error: a lock that is not to be had, a reply that is none
    TAKEN = "taken"  # before a call, another process takes the exchange over
    BLIND = "blind"  # SIGKILL after so many milliseconds, under uvloop

    @property
    def at_turns(self) -> bool:
        return self in (Kind.KILL, Kind.CANCEL)

    @property
    def at_calls(self) -> bool:
        return not self.at_turns and self is not Kind.BLIND

    @property
    def place(self) -> str:
        """What is counted."""
        return "turn" if self.at_turns else "call" if self.at_calls else "ms"


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    at: int
    """Number of the turn or of the call, from 1, or milliseconds."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.kind.place} {self.at}"


@dataclass
class Strikes:
    """One fault, or none, in this process; ``struck`` says whether its place was reached."""

    fault: Fault | None
    dsn: str
    calls: int = 0
    struck: bool = False

    def turns(self) -> Turns:
        return Turns(self._at_turn)

    def guard(self) -> None:
        """From now on every call that leaves the process is counted."""
        for name in CALLS:
            setattr(asyncpg.Connection, name, self._counted(getattr(asyncpg.Connection, name), self._lost))
        setattr(Transport, "send", self._counted(Transport.send, _exchange_error))  # noqa: B010  (not a method to mypy)

    def _at_turn(self, loop: TurningLoop, number: int) -> None:
        if self.fault is None or not self.fault.kind.at_turns or number != self.fault.at:
            return
        if self.fault.kind is Kind.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        assert loop.main is not None
        self.struck = loop.main.cancel()

    def _counted(
        self, call: Callable[..., Awaitable[T]], error: Callable[[Kind, Any], Exception]
    ) -> Callable[..., Awaitable[T]]:
        async def counted(owner: Any, *given: Any, **named: Any) -> T:
            if self._hit():
                return await self._strike(call, error, owner, *given, **named)
            return await call(owner, *given, **named)

        return counted

    def _hit(self) -> bool:
        self.calls += 1
        hit = self.fault is not None and self.fault.kind.at_calls and self.calls == self.fault.at
        self.struck = self.struck or hit
        return hit

    async def _strike(
        self, call: Callable[..., Awaitable[T]], error: Callable[[Kind, Any], Exception], owner: Any, *given: Any,
        **named: Any,
    ) -> T:  # fmt: skip
        assert self.fault is not None
        kind = self.fault.kind
        if kind is Kind.TAKEN:
            await self._take_over()
            return await call(owner, *given, **named)
        if kind is Kind.AFTER:
            await call(owner, *given, **named)
        raise error(kind, owner)

    def _lost(self, kind: Kind, connection: "asyncpg.Connection[asyncpg.Record]") -> Exception:
        if kind is Kind.REFUSED:
            return asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        connection.terminate()
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def _take_over(self) -> None:
        """As another process does it, which dies at once. What each run has counted by then is noted for the check.

        A page that has passed the fence is waited for by a real one; here its COMMIT is the call that waits for us.
        """
        connection = await asyncpg.connect(self.dsn)
        try:
            async with connection.transaction():
                leases = await connection.fetch("SELECT exchange, kind FROM exchange_leases FOR UPDATE NOWAIT")
                for exchange, kind in leases:
                    epoch = await connection.fetchval(sql("take_lease"), exchange, "another", kind, 0.0)
                    await connection.execute(sql("interrupt_runs"), exchange, epoch)
                await connection.execute("INSERT INTO truth.taken SELECT id, candles_fetched FROM market_data_job_runs")
        except (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError):
            self.struck = False
        finally:
            await connection.close()


def _exchange_error(kind: Kind, _: object) -> Exception:
    if kind is Kind.REFUSED:
        return BadReply("127.0.0.1: the reply is larger than 8388608 bytes")
    return Unreachable("127.0.0.1: Connection reset by peer")
