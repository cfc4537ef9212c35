"""One run of a world, from its first moment to its last.

Owns the order of things: trouble for some days, then rest until everything is complete, within a bound; and so on.
"""

import asyncio
import random
from dataclasses import dataclass, field

from marketd.rehearsal.sources import DAY_MS
from tests.simulation.journal import Journal
from tests.simulation.loop import VirtualLoop
from tests.simulation.pace import pace
from tests.simulation.world import Plan, World

LOOK_S = 600.0


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

    @property
    def digest(self) -> str:
        return self.journal.digest


def run(plan: Plan) -> Result:
    """The same plan makes the same run: nothing but its seed decides."""
    before = random.getstate()
    random.seed(plan.seed)  # the pauses between tries are drawn from the common dice
    try:
        with pace(plan.slower), asyncio.Runner(loop_factory=VirtualLoop, debug=False) as runner:
            return runner.run(_run(plan))
    finally:
        random.setstate(before)


async def _run(plan: Plan) -> Result:
    world = World(plan)
    result = Result(plan, world.journal)
    host = world.host()
    host.start()
    loop = asyncio.get_running_loop()
    complete = None
    while loop.time() < plan.days * DAY_MS / 1000 and not world.journal.violations:
        await asyncio.sleep(LOOK_S)
        host.look()
        if complete is None and not world.incomplete():
            complete = loop.time()
            result.liveness_s.append(complete)
    result.held = world.compare()
    await host.stop()
    result.days = loop.time() / 86_400
    result.requests, result.pages = world.watch.requests, world.watch.pages
    return result
