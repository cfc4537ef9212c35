"""A run of marketd in a process of its own, made by forking.

Owns the server that has imported everything and forks a child for each run, what the child is told and what it
reports. It is forked before there is a loop, a thread or a connection. Refuses to judge how a run ended.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import stamina
import uvloop

from marketd.cli.app import App
from marketd.cli.root import COMMANDS, root
from marketd.clock import ScaledClock
from marketd.errors import MarketdError
from tests.prove.faults import Fault, Kind, Strikes

LONGEST_S = 60  # a run takes about a second


@dataclass(frozen=True, slots=True)
class Task:
    """One run: the words of the command, what it sees, and the fault that strikes it.

    ``now_ms`` and ``speed`` are those of its clock; ``hurry`` says how much faster its loop waits.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    now_ms: int
    speed: float = 1.0
    hurry: float = 1.0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended: ``signal`` where one ended it, else what it came to.

    ``reached`` says that the place of the fault was; ``left`` are tasks and connections that outlived the main task.
    """

    signal: int = 0
    code: int | None = None
    cancelled: bool = False
    unexpected: str | None = None
    turns: int = 0
    calls: int = 0
    struck: bool = False
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.signal:
            return f"ended by {signal.Signals(self.signal).name}"
        return "cancelled" if self.cancelled else self.unexpected or f"exit code {self.code}"


class Forks:
    """Forks a child for each ``Task``, one at a time; ``others`` are those made before, which it must not keep open."""

    def __init__(self, others: Sequence["Forks"] = ()) -> None:
        self._line, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            for other in others:
                other._line.close()
            _serve(theirs)
        theirs.close()

    def close(self) -> None:
        self._line.close()
        os.waitpid(self.pid, 0)

    @asynccontextmanager
    async def started(self, task: Task) -> AsyncIterator["Child"]:
        """The run, under way; its end is awaited when the block is left."""
        self._line.send(task)
        child = Child(await asyncio.to_thread(self._line.recv), self._line)
        try:
            yield child
        finally:
            await child.ended()


class Child:
    """A run that is under way."""

    def __init__(self, pid: int, line: Connection) -> None:
        self.pid = pid
        # One reader for all who wait, also where one of them is cancelled: what it has read is not lost.
        self._end = asyncio.create_task(asyncio.to_thread(line.recv))

    def send(self, number: signal.Signals) -> None:
        if not self._end.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self) -> Report:
        report: Report = await asyncio.shield(self._end)
        return report


def _serve(line: Connection) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            _one(line, line.recv())
    os._exit(0)


def _one(line: Connection, task: Task) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        line.close()
        _live(task, writing)
    os.close(writing)
    line.send(pid)
    with open(reading, encoding="utf-8") as stream:
        said = stream.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        line.send(Report(signal=os.WTERMSIG(status)))
    else:
        fields = json.loads(said) if said else {"unexpected": "ended without a word"}
        line.send(Report(**{**fields, "left": tuple(fields.get("left", ()))}))


def _live(task: Task, writing: int) -> NoReturn:
    """The child: runs the command on a loop that counts, reports, and ends without cleaning up."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(LONGEST_S)
        _talk_to(task.log)
        said = json.dumps(_perform(task))
    except BaseException as error:  # noqa: BLE001  whatever it is, it must not return into the server
        said = json.dumps({"unexpected": f"{type(error).__name__}: {error}"})
    with contextlib.suppress(OSError):
        os.write(writing, said.encode())
    os._exit(0)


def _talk_to(log: Path) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(out, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


class _HurriedClock(ScaledClock):
    """Its sleeps are as long as they say, on a loop whose time runs faster."""

    def __init__(self, start_ms: int, speed: float, hurry: float) -> None:
        super().__init__(start_ms, speed)
        self._hurry = hurry

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s * self._hurry)


def _perform(task: Task) -> Mapping[str, object]:
    strikes = Strikes(task.fault, task.environ["DATABASE_URL"])
    turns = strikes.turns()
    blind = task.fault is not None and task.fault.kind is Kind.BLIND
    if not blind:
        setattr(uvloop, "new_event_loop", lambda: turns.loop(task.hurry))  # noqa: B010  (another kind of loop)
    stamina.set_testing(True, attempts=5, cap=True)  # the same tries, without the waits between them
    if task.fault is None or task.fault.kind.at_calls:
        strikes.guard()
    outcome = _outcome(lambda: _command(task))
    return {
        **outcome, "turns": turns.count, "calls": strikes.calls, "struck": strikes.struck, "left": turns.left,
    }  # fmt: skip


def _command(task: Task) -> int:
    app = App(clock=_HurriedClock(task.now_ms, task.speed, task.hurry), environ=task.environ)
    code = root.main(args=list(task.words), prog_name="marketd", standalone_mode=False, obj=app)
    return code if isinstance(code, int) else 0


def _outcome(command: Callable[[], int]) -> dict[str, object]:
    try:
        return {"code": command()}
    except asyncio.CancelledError:
        return {"cancelled": True}
    except MarketdError as error:
        return {"code": error.exit_code}
    except Exception as error:  # noqa: BLE001  marketd expects the errors of its own tree only
        leaves = list(_leaves(error))
        odd = [leaf for leaf in leaves if not isinstance(leaf, MarketdError)]
        if odd:
            return {"unexpected": "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in odd)}
        return {"code": next(leaf.exit_code for leaf in leaves if isinstance(leaf, MarketdError))}


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def warm() -> None:
    """Import what a command imports when it is called, before anything is forked."""
    for name in COMMANDS:
        root.get_command(root.make_context("marketd", [], resilient_parsing=True), name)
