"""``python -m tests.simulation``: simulate so many days, and report.

Owns the command. The days are lived in worlds of ``--life`` days each, every one with a seed of its own that follows
from ``--seed``; ``--world`` lives one of them again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

from marketd.exchanges import NAMES
from tests.simulation.report import Report
from tests.simulation.run import Result, run
from tests.simulation.world import Plan

_BITFINEX_SHARE = 0.4


def main() -> int:
    given = _arguments()
    began = time.monotonic()
    print(f"seed {given.seed}", flush=True)
    results: list[Result] = []
    days = 0.0
    for result in _lived(given):
        results.append(result)
        days += result.days
        print(
            f"{days:9.1f} days  {time.monotonic() - began:7.1f} s  {result.plan.exchange} world {result.plan.seed}",
            flush=True,
        )
        if result.violations or (given.seconds and time.monotonic() - began > given.seconds):
            break
    report = Report(given.seed, results, time.monotonic() - began)
    print("\n".join(report.lines()))
    if given.json is not None:
        given.json.write_text(json.dumps(report.shape(), indent=2) + "\n")
    return 1 if report.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=Random().randrange(2**31))
    parser.add_argument("--world", type=int, help="the seed of a single world, as a report names it")
    parser.add_argument("--exchange", choices=NAMES, help="of every world; else every other one is Bitfinex's")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--life", type=float, default=15, help="days of one world")
    parser.add_argument("--series", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0, help="begin no other world after so long")
    parser.add_argument("--jobs", type=int, default=1, help="worlds at the same time")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.world is not None:
        given.seed, given.life = given.world, given.days
    return given


def plans(seed: int, days: float, life: float, series: int, exchange: str | None = None) -> Iterator[Plan]:
    """The worlds that ``days`` are lived in, of one exchange or of all."""
    dice = Random(f"worlds {seed}")
    while days > 0:
        world, any_other = dice.randrange(2**31), dice.choice(NAMES)
        drawn = "bitfinex" if dice.random() < _BITFINEX_SHARE else any_other
        yield Plan.drawn(world, min(days, life), series, exchange or drawn)
        days -= life


def _lived(given: argparse.Namespace) -> Iterator[Result]:
    if given.world is not None:
        yield run(Plan.drawn(given.world, given.days, given.series, given.exchange or "bitfinex"))
        return
    worlds = plans(given.seed, given.days, given.life, given.series, given.exchange)
    if given.jobs == 1:
        yield from map(run, worlds)
        return
    with ProcessPoolExecutor(given.jobs) as pool:
        yield from pool.map(run, worlds)


if __name__ == "__main__":
    sys.exit(main())
