"""``python -m tests.prove``: strike marketd at every turn and every call, or at some of them.

Exit codes: 0 nothing found, 1 a promise was broken or a run did not finish, 2 wrong usage.
"""

import argparse
import asyncio
import random
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.prove.campaign import Campaign, Plan
from tests.prove.children import Forks, warm
from tests.prove.faults import Kind
from tests.prove.flows import FLOWS
from tests.prove.scenery import scenery
from tests.prove.stage import Spares, lane
from tests.prove.templates import made


def main() -> int:
    options = _parser().parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    kinds = tuple(Kind(name) for name in options.fault or list(Kind))
    plan = Plan(
        tuple(options.flow or FLOWS), kinds, options.points, seed, options.seconds, options.at, options.first,
        options.start,
    )  # fmt: skip
    warm()
    forks: list[Forks] = []
    for _ in range(1 if options.at else options.lanes):  # before there is any loop, thread or connection
        forks.append(Forks(forks))
    print(f"seed {seed}", flush=True)
    campaign = asyncio.run(_campaign(plan, forks, options.keep_log))
    campaign.report(print)
    if options.json is not None:
        campaign.write(options.json)
    for fork in forks:
        fork.close()
    return 1 if campaign.failed else 0


async def _campaign(plan: Plan, forks: list[Forks], log: Path | None) -> Campaign:
    async with scenery() as scene, asyncio.TaskGroup() as group:
        spares = Spares(scene, group)
        async with AsyncExitStack() as stack:
            lanes = [
                await stack.enter_async_context(lane(scene, each, spares, number)) for number, each in enumerate(forks)
            ]
            await made(scene, lanes[0], {FLOWS[name].template for name in plan.flows})
            campaign = Campaign(plan, lanes)
            if log is not None:
                stack.callback(shutil.copy, lanes[0].folder / "log", log)
            await campaign.run()
    return campaign


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description="Strike marketd everywhere.")
    parser.add_argument("--flow", action="append", choices=list(FLOWS), help="this flow only; may be given again")
    parser.add_argument("--fault", action="append", choices=list(Kind), help="this fault only; may be given again")
    parser.add_argument("--points", type=int, help="so many places of each flow and fault; else every one")
    parser.add_argument("--seconds", type=float, help="with --points: begin no more points after so long")
    parser.add_argument("--at", type=int, help="this turn or call only: one point, to look at it")
    parser.add_argument(
        "--from", type=int, default=1, metavar="AT", dest="start",
        help="where every place is struck: begin with this one, to go on where an earlier campaign was ended",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="of the places that --points takes; else a new one, which is printed")
    parser.add_argument("--lanes", type=int, default=2, help="points side by side")
    parser.add_argument("--first", action="store_true", help="end at the first violation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it")
    parser.add_argument("--keep-log", type=Path, metavar="FILE", help="what the last point's runs have logged")
    return parser


if __name__ == "__main__":
    sys.exit(main())
