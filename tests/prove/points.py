"""One point: a run that is struck, what it leaves, the run after it.

Owns the order of things and the verdict. Refuses to know what a flow checks.
"""

import asyncio
import signal
import time
from dataclasses import dataclass

from tests.prove.children import LONGEST_S, Child, Report
from tests.prove.faults import Fault, Kind
from tests.prove.flows import Flow
from tests.prove.stage import Lane, Stage

# What fails at a call is waited for and tried again: those waits are shortened, by the clock and by the loop.
_HURRY = 10.0
_SPEED = 60.0
_KILLS = (Kind.KILL, Kind.BLIND)
_MEANT = (signal.SIGTERM, signal.SIGHUP)  # what flows send to a daemon


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a point; ``violations`` are sentences, ``reached`` says whether the fault struck at all."""

    flow: str
    fault: Fault | None
    first: Report
    second: Report | None
    violations: tuple[str, ...]
    requests: int
    first_s: float
    seconds: float

    @property
    def reached(self) -> bool:
        """True where the run came to the place of the fault; one that did not has ended by itself."""
        if self.fault is None:
            return False
        if self.fault.kind in _KILLS:
            return self.first.signal != 0
        return (self.first.turns if self.fault.kind.at_turns else self.first.calls) >= self.fault.at

    @property
    def unfinished(self) -> bool:
        """True where the run after the strike did not end well."""
        return (self.second or self.first).code != 0


async def point(flow: Flow, lane: Lane, fault: Fault | None) -> Verdict:
    began_s = time.monotonic()
    async with lane.stage(flow.template, speed=_speed(flow, fault)) as stage:
        seen = await lane.seen(flow.template, lambda: flow.before(stage))
        first_s = time.monotonic()
        first = await _run(flow, stage, fault, again=False)
        first_s = time.monotonic() - first_s
        said = _of_report(first, fault)
        if not await stage.alone():
            said.append("a connection is left at the server")
        second = None
        if fault is not None:
            said += [f"after the strike: {one}" for one in await flow.after_strike(stage, seen)]
            await stage.expire_leases()
            second = await _run(flow, stage, None, again=True)
            await stage.alone()
            said += _of_report(second, None)
        said += stage.unexpected()
        said += [f"after the end: {one}" for one in await flow.after_end(stage, seen)]
        requests = stage.exchange.stats.requests
    return Verdict(flow.name, fault, first, second, tuple(said), requests, first_s, time.monotonic() - began_s)


def _speed(flow: Flow, fault: Fault | None) -> float:
    return max(flow.speed, _SPEED) if fault is not None and fault.kind.at_calls else flow.speed


async def _run(flow: Flow, stage: Stage, fault: Fault | None, *, again: bool) -> Report:
    flow.set(stage, again=again)
    hurried = fault is not None and fault.kind.at_calls
    task = stage.task(flow.words, fault, hurry=_HURRY if hurried else 1.0)
    async with stage.forks.started(task) as child, asyncio.TaskGroup() as group:
        world = group.create_task(flow.enact(stage, child, again=again))
        killing = group.create_task(_kill(child, fault))
        report = await child.ended()
        world.cancel()
        killing.cancel()
    return report


async def _kill(child: Child, fault: Fault | None) -> None:
    """What strikes from outside."""
    if fault is not None and fault.kind is Kind.BLIND:
        await asyncio.sleep(fault.at / 1000)
        child.send(signal.SIGKILL)


def _of_report(report: Report, fault: Fault | None) -> list[str]:
    """What is wrong with how a run ended."""
    kind = None if fault is None else fault.kind
    said = [f"left behind: {one}" for one in report.left]
    if kind is Kind.CANCEL and report.signal in _MEANT:
        return said  # the world's signal met it on its last way, when nobody heeded any more: says nothing, is no point
    if report.signal:
        if kind not in _KILLS or report.signal != signal.SIGKILL:
            said.append(f"{report}, within {LONGEST_S} s")
    elif report.unexpected is not None:
        said.append(f"unexpected: {report.unexpected}")
    elif kind is Kind.CANCEL and report.struck and not report.cancelled:
        said.append(f"the cancellation was swallowed: {report}")
    elif fault is None and report.code != 0:
        said.append(f"{report} without a fault")
    return said
