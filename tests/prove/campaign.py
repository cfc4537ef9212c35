"""Many points, and what came of them.

Owns where to strike (every place until a run ends by itself, or some of them, spread evenly with a seed), the lanes
that work side by side, progress, and the table at the end.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.prove.faults import Fault, Kind
from tests.prove.flows import FLOWS, Flow
from tests.prove.points import Verdict, point
from tests.prove.stage import Lane

_SAY_EVERY_S = 10.0
_SHOWN = 12  # of the sentences of a violation
_BLIND = 200  # where every place is taken: moments have no number
_PAST_THE_END = 3  # the length of a run is not quite fixed: so many in a row have to end by themselves


@dataclass(frozen=True, slots=True)
class Plan:
    """``points`` a flow and kind, or every place from ``start`` on where that is None; ``at`` is the only one.

    ``seconds`` bounds the whole of it where ``points`` are chosen; ``first`` ends it at the first violation.
    """

    flows: tuple[str, ...]
    kinds: tuple[Kind, ...]
    points: int | None
    seed: int
    seconds: float | None = None
    at: int | None = None
    first: bool = False
    start: int = 1


@dataclass
class Row:
    """The points of one flow and one kind; ``places`` and ``requests`` are how many an undisturbed run has.

    ``more_requests`` is by how many the worst point exceeded those, in both of its runs.
    """

    flow: str
    kind: Kind
    places: int
    requests: int
    points: int = 0
    violations: int = 0
    unfinished: int = 0
    more_requests: int = 0
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)

    def take(self, verdict: Verdict) -> None:
        if not verdict.reached and not verdict.violations:
            return
        self.points += 1
        self.seconds += verdict.seconds
        self.violations += bool(verdict.violations)
        self.unfinished += verdict.unfinished
        self.more_requests = max(self.more_requests, verdict.requests - self.requests)
        if verdict.violations:
            self.said.append(_told(verdict))

    @property
    def shape(self) -> dict[str, object]:
        return {
            "flow": self.flow, "fault": self.kind.value, "places": self.places, "points": self.points,
            "violations": self.violations, "unfinished": self.unfinished, "requests": self.requests,
            "more_requests": self.more_requests,
            "ms_a_point": round(1000 * self.seconds / max(self.points, 1)), "said": self.said,
        }  # fmt: skip


@dataclass
class Campaign:
    plan: Plan
    lanes: Sequence[Lane]
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    undisturbed: dict[str, Verdict] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)
    say_at_s: float = 0.0

    @property
    def failed(self) -> bool:
        return any(row.violations or row.unfinished for row in self.rows) or not any(row.points for row in self.rows)

    async def run(self) -> None:
        dice = random.Random(self.plan.seed)
        pairs = [(name, kind) for name in self.plan.flows for kind in self.plan.kinds]
        if self.plan.seconds is not None:
            dice.shuffle(pairs)  # what there is no time for is not the same each time
        for at, (name, kind) in enumerate(pairs):
            share_s = self._left_s() / (len(pairs) - at)
            if share_s <= 0:
                self.left_out = [f"{name} {kind}" for name, kind in pairs[at:]]
                return
            whole = await self._undisturbed(name)
            row = Row(name, kind, _places(whole, kind), whole.requests)
            self.rows.append(row)
            await self._strike(FLOWS[name], row, self._chosen(row, dice), share_s)
            if self.plan.first and self.failed:
                return

    async def _undisturbed(self, name: str) -> Verdict:
        """A run that nothing strikes; it says how many places there are."""
        if name not in self.undisturbed:
            whole = await point(FLOWS[name], self.lanes[0], None)
            _say(f"{name}: {whole.first.turns} turns, {whole.first.calls} calls, {whole.requests} requests undisturbed")
            if whole.violations:
                raise SystemExit(f"{name} is broken undisturbed:\n" + "\n".join(whole.violations))
            self.undisturbed[name] = whole
        return self.undisturbed[name]

    def _left_s(self) -> float:
        return math.inf if self.plan.seconds is None else self.began_s + self.plan.seconds - time.monotonic()

    def _chosen(self, row: Row, dice: random.Random) -> Iterator[int]:
        if self.plan.at is not None:
            return iter((self.plan.at,))
        points = _BLIND if self.plan.points is None and row.kind is Kind.BLIND else self.plan.points
        if points is None:
            return iter(range(self.plan.start, 100 * row.places))
        most = min(points, row.places)
        spread = [1 + int((part + dice.random()) * row.places / most) for part in range(most)]
        dice.shuffle(spread)
        return iter(spread)

    async def _strike(self, flow: Flow, row: Row, places: Iterator[int], share_s: float) -> None:
        past, until_s = 0, time.monotonic() + share_s
        in_order = self.plan.points is None and row.kind is not Kind.BLIND

        async def work(lane: Lane) -> None:
            nonlocal past
            for at in places:
                verdict = await point(flow, lane, Fault(row.kind, at))
                row.take(verdict)
                past = 0 if verdict.reached else past + 1
                self._tell(row, verdict, at)
                # On a busy host a daemon does more at a turn, and its runs are shorter than the undisturbed one.
                ended = past >= _PAST_THE_END and at >= row.places
                over = ended if in_order else time.monotonic() > until_s
                if over or (self.plan.first and row.violations):
                    return

        async with asyncio.TaskGroup() as group:
            for lane in self.lanes:
                group.create_task(work(lane))

    def _tell(self, row: Row, verdict: Verdict, at: int) -> None:
        if verdict.violations:
            _say(_told(verdict))
        if time.monotonic() >= self.say_at_s:
            self.say_at_s = time.monotonic() + _SAY_EVERY_S
            _say(f"{row.flow} {row.kind}: {row.kind.place} {at} of {row.places}, {row.violations} violations")

    def report(self, say: Callable[[str], None]) -> None:
        say(f"{'flow':<12}{'fault':<10}{'points':>8}{'violations':>12}{'unfinished':>12}{'ms a point':>12}")
        for row in self.rows:
            shape = row.shape
            say(
                f"{row.flow:<12}{row.kind:<10}{row.points:>8}{row.violations:>12}{row.unfinished:>12}"
                f"{shape['ms_a_point']:>12}"
            )
        points = sum(row.points for row in self.rows)
        if self.left_out:
            say(f"no time for {', '.join(self.left_out)}")
        for row in self.rows:
            for violation in row.said:  # once more: whoever reads the end of a log should not have to look for it
                say(violation)
        say(f"{points} points, {sum(row.violations for row in self.rows)} violations, seed {self.plan.seed}")

    def write(self, path: Path) -> None:
        path.write_text(
            json.dumps({"seed": self.plan.seed, "rows": [row.shape for row in self.rows]}, indent=2), encoding="utf-8"
        )


def _places(whole: Verdict, kind: Kind) -> int:
    """How many places an undisturbed run has."""
    if kind is Kind.BLIND:
        return round(whole.first_s * 1000)
    return whole.first.turns if kind.at_turns else whole.first.calls


def _told(verdict: Verdict) -> str:
    assert verdict.fault is not None
    again = f"python -m tests.prove --flow {verdict.flow} --fault {verdict.fault.kind} --at {verdict.fault.at}"
    ends = f"first {verdict.first}, second {verdict.second}"
    return "\n  ".join(
        [f"VIOLATION {verdict.flow}, {verdict.fault}: {ends}", *verdict.violations[:_SHOWN], f"again: {again}"]
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
