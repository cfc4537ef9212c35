"""What a shared budget costs: how long a turn takes to be reserved, and what two programs have of the rate of one.

Each program is a process of its own that passes as fast as its turns allow, so that what is measured is what bots and
daemons at one address would see.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from statistics import quantiles

import uvloop

from bench.server import postgres
from marketd.limiter import Budget
from marketd.model import Claim
from marketd.store.session import Database
from marketd.store.turns import Turns

PER_MINUTE = 1200.0
SECONDS = 15.0
RESERVATIONS = 5000


@dataclass(frozen=True, slots=True)
class Cost:
    """``reserved_ms`` median and 99th percentile; ``share``: passes of so many programs, of the rate that one may have;
    ``closest``: the shortest time between two passes, of the spacing; ``most``: passes of the fullest minute's tenth.
    """

    programs: int
    reserved_p50_ms: float
    reserved_p99_ms: float
    share: float
    closest: float
    most: float


async def _measure(programs: Sequence[int]) -> list[Cost]:
    async with postgres() as dsn:
        async with Database(dsn) as opened:
            turns = Turns(opened)
            await turns.share("bitfinex", 600_000)
            took_ms = [await _timed_ms(turns) for _ in range(RESERVATIONS)]
            cuts = quantiles(took_ms, n=100)
            await turns.share("bitfinex", PER_MINUTE)
        return [_cost(count, cuts[49], cuts[98], await _passes(dsn, count)) for count in programs]


async def _timed_ms(turns: Turns) -> float:
    began = time.perf_counter()
    await turns.take("bitfinex")
    return (time.perf_counter() - began) * 1000


def _cost(programs: int, p50: float, p99: float, at: Sequence[float]) -> Cost:
    spacing = 60 / PER_MINUTE
    gaps = [later - earlier for earlier, later in pairwise(at)]
    tenth = 6.0
    most = max(sum(1 for other in at if one <= other < one + tenth) for one in at[:: max(1, len(at) // 100)])
    return Cost(
        programs, p50, p99, (len(at) - 1) * spacing / (at[-1] - at[0]), min(gaps) / spacing, most * spacing / tenth
    )


async def _passes(dsn: str, programs: int) -> list[float]:
    """The times of all passes of so many programs, but for those of the first and last second."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.turns", "--dsn", dsn, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(programs)
    ]
    said = await asyncio.gather(*(process.communicate() for process in processes))
    each = [json.loads(out) for out, _ in said]
    start, end = max(one[0] for one in each) + 1, min(one[-1] for one in each) - 1
    return sorted(at for one in each for at in one if start <= at <= end)


async def _pass(dsn: str) -> list[float]:
    """The host's time of each pass of a program that always has a request to send."""
    at: list[float] = []
    async with Database(dsn, size=1) as opened:
        budget = Budget(PER_MINUTE, partial(Turns(opened).take, "bitfinex"), 0.5)
        until = time.time() + SECONDS
        while time.time() < until:
            await budget.acquire(Claim.BACKFILL)
            at.append(time.time())
    return at


def _table(costs: Sequence[Cost]) -> str:
    row = "{:>9}{:>14}{:>14}{:>12}{:>10}{:>12}"
    lines = [row.format("programs", "reserve p50", "reserve p99", "of the rate", "closest", "fullest 6 s")]
    lines += [
        row.format(
            one.programs, f"{one.reserved_p50_ms:.2f} ms", f"{one.reserved_p99_ms:.2f} ms", f"{one.share:.1%}",
            f"{one.closest:.2f}", f"{one.most:.1%}",
        )
        for one in costs
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.dsn is not None:
        json.dump(uvloop.run(_pass(given.dsn)), sys.stdout)
        return
    costs = uvloop.run(_measure((1, 2, 4)))
    print(json.dumps([asdict(cost) for cost in costs]) if given.json else _table(costs))


if __name__ == "__main__":
    main()
