"""One run of a world, from its first moment to its last.

Owns the order of things: trouble for some days, then rest until everything is complete, within a bound; and so on.
"""

import asyncio
import random
from dataclasses import dataclass, field
from random import Random

from marketd import ledger
from tests.simulation.chaos import HOUR_S, Chaos
from tests.simulation.journal import Journal, listening
from tests.simulation.loop import VirtualLoop
from tests.simulation.pace import pace
from tests.simulation.world import Plan, World

LOOK_S = 600.0
LEAST_REST_S = 2 * HOUR_S
PUNCTUAL_AFTER_MS = 15 * 60_000  # what was missed is caught up, and a lease may have to expire


@dataclass
class Result:
    """What came of a run. ``liveness_s`` are the times from the end of trouble to completeness."""

    plan: Plan
    journal: Journal
    days: float = 0.0
    requests: int = 0
    pages: int = 0
    held: int = 0
    liveness_s: list[float] = field(default_factory=list)
    bound_s: float = 0.0
    lateness_s: float = 0.0

    @property
    def digest(self) -> str:
        return self.journal.digest


def run(plan: Plan) -> Result:
    """The same plan makes the same run: nothing but its seed decides."""
    before = random.getstate()
    random.seed(plan.seed)  # the pauses between tries are drawn from the common dice
    try:
        journal = Journal()
        with pace(plan.slower), listening(journal), asyncio.Runner(loop_factory=VirtualLoop, debug=False) as runner:
            return runner.run(_run(plan, journal))
    finally:
        random.setstate(before)


async def _run(plan: Plan, journal: Journal) -> Result:
    world = World(plan, journal)
    result = Result(plan, journal, bound_s=bound_s(plan))
    chaos, loop = Chaos(world, Random(f"chaos {plan.seed}")), asyncio.get_running_loop()
    end_s = plan.days * 86_400
    while loop.time() < end_s and not world.journal.violations:
        if plan.troubled:
            await chaos.storm(min(chaos.dice.uniform(0.2, 4) * 86_400, max(0.0, end_s - loop.time())))
        await chaos.calm()
        await _rest(world, chaos, result)
    await chaos.end()
    result.days = loop.time() / 86_400
    result.lateness_s = world.watch.lateness_s
    result.requests, result.pages = world.watch.requests, world.watch.pages
    return result


async def _rest(world: World, chaos: Chaos, result: Result) -> None:
    """Wait until everything is complete, within the bound, and see whether it is true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    punctual_ms = chaos.primary.clock.now_ms() + PUNCTUAL_AFTER_MS
    complete_s: float | None = None
    while not world.journal.violations and (complete_s is None or loop.time() - began < LEAST_REST_S):
        missing = {} if complete_s is not None else world.incomplete()
        if complete_s is None and not missing:
            complete_s = loop.time() - began
        elif loop.time() - began > result.bound_s:
            world.journal.wrong("liveness", missing)
        await asyncio.sleep(LOOK_S)
        chaos.look()
        world.watch.punctual = chaos.primary.clock.now_ms() > punctual_ms
    if complete_s is None or world.journal.violations:
        return
    result.liveness_s.append(complete_s)
    world.journal.note("complete")
    world.punctual(punctual_ms, chaos.primary.clock.now_ms())
    world.watch.punctual = False
    result.held += world.compare()
    if not world.plan.troubled:
        await asyncio.sleep(86_400)


def bound_s(plan: Plan) -> float:
    """How long completeness may take once nothing goes wrong any more: the longest pause before what failed is tried
    again, then the day that a silence is doubted for and its next try, the pause of a job that failed, the longest
    silence the exchange was told to want, and the requests at half the rate.
    """
    waits_ms = ledger.RETRIES_MS[-1] + ledger.DAY_MS + ledger.HOUR_MS + ledger.HOUR_MS
    requests = 1440 * (plan.days + plan.history_days) * plan.series / plan.page_limit + 100 * plan.series
    return waits_ms / 1000 + HOUR_S + plan.settle_s + requests * 2 * 60 / plan.per_minute + 2 * LOOK_S
