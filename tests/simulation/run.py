"""One run of a world, from its first moment to its last.

Owns the order of things: trouble for some days, then rest until everything is complete, within a bound; and so on.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Result:
    """What came of a run, as plain values: it may have been lived in another process.

    ``liveness_s`` are the times from the end of trouble to completeness; ``last`` are the last events.
    """

    plan: Plan
    days: float
    requests: int
    pages: int
    held: int
    liveness_s: Sequence[float]
    lateness_s: float
    events: Counter[str]
    troubles: Counter[str]
    violations: Sequence[str]
    last: Sequence[str]
    digest: str

    @property
    def bound_s(self) -> float:
        return bound_s(self.plan)


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
    chaos, loop = Chaos(world, Random(f"chaos {plan.seed}")), asyncio.get_running_loop()
    end_s = plan.days * 86_400
    liveness_s, held = list[float](), 0
    while loop.time() < end_s and not journal.violations:
        if plan.troubled:
            await chaos.storm(min(chaos.dice.uniform(0.2, 4) * 86_400, max(0.0, end_s - loop.time())))
        await chaos.calm()
        complete_s = await _rest(world, chaos)
        if complete_s is not None:
            liveness_s.append(complete_s)
            held += world.compare()
            if not plan.troubled:
                await asyncio.sleep(86_400)
    await chaos.end()
    return Result(
        plan=plan,
        days=loop.time() / 86_400,
        requests=world.watch.requests,
        pages=world.watch.pages,
        held=held,
        liveness_s=liveness_s,
        lateness_s=world.watch.lateness_s,
        events=journal.events,
        troubles=journal.troubles,
        violations=journal.violations,
        last=tuple(journal.last),
        digest=journal.digest,
    )


async def _rest(world: World, chaos: Chaos) -> float | None:
    """Wait until everything is complete, within the bound: after how many seconds it was, or None for a violation.

    At the end of the rest it has to be complete once more, by the time it is then: what was answered before the trouble
    ended does not count twice.
    """
    loop = asyncio.get_running_loop()
    began, most_s = loop.time(), bound_s(world.plan)
    least_s = max(LEAST_REST_S, world.plan.lag_ms / 1000)  # each live job falls due, by the schedule it has now
    punctual_ms = chaos.primary.clock.now_ms() + PUNCTUAL_AFTER_MS
    complete_s: float | None = None
    while not world.journal.violations:
        spent_s = loop.time() - began
        missing = world.incomplete() if complete_s is None or spent_s >= least_s else {}
        if missing and spent_s > most_s:
            world.journal.wrong("liveness", missing)
        elif not missing and complete_s is None:
            complete_s = spent_s
        if not missing and spent_s >= least_s:
            break
        await asyncio.sleep(LOOK_S)
        chaos.look()
        world.watch.punctual = chaos.primary.clock.now_ms() > punctual_ms
    if world.journal.violations:
        return None
    world.journal.note("complete")
    world.punctual(punctual_ms, chaos.primary.clock.now_ms())
    world.watch.punctual = False
    return complete_s


def bound_s(plan: Plan) -> float:
    """How long completeness may take once nothing goes wrong any more: the longest pause before what failed is tried
    again, then the day that a silence is doubted for and its next try, the pause of a job that failed, the longest
    silence the exchange was told to want, and the requests at half the rate.
    """
    waits_ms = ledger.RETRIES_MS[-1] + ledger.DAY_MS + ledger.HOUR_MS + ledger.HOUR_MS
    requests = 1440 * (plan.days + plan.history_days) * plan.series / plan.page_limit + 100 * plan.series
    return waits_ms / 1000 + HOUR_S + plan.settle_s + requests * 2 * 60 / plan.per_minute + 2 * LOOK_S
