"""``python -m bench.verify``: how long it takes to hold the promises against years of candles, all and a sample; and
which of marketd's statements would read them from end to end.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

import uvloop

from bench import stock
from bench.plans import Plans, plans_of
from bench.server import postgres
from bench.work import cpu_s
from marketd.store.oracle import Oracle
from marketd.store.session import Database
from marketd.verification import Sampling, Verdict, hold

DAYS, DAYS_LARGE = 72, 3620
SEED = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One verdict; ``share`` of the pieces were looked at, ``cpu_s`` are this process's own."""

    name: str
    candles: int
    seconds: float
    share: float
    violations: int
    cpu_s: float


async def _held(name: str, oracle: Oracle, sampling: Sampling | None = None) -> Result:
    before = cpu_s()
    verdict: Verdict = await hold(oracle, time.time_ns() // 1_000_000, sampling=sampling)
    broken = sum(finding.total for finding in verdict.violations)
    share, candles = verdict.summary.share, verdict.totals.stored
    return Result(name, candles, verdict.seconds, share, broken, cpu_s() - before)


async def measure(dsn: str) -> tuple[list[Result], Plans]:
    """The database at ``dsn`` is filled already."""
    async with Database(dsn, size=1, application="marketd verify", statement_s=600) as opened:
        oracle = Oracle(opened)
        results = [await _held("full", oracle), await _held("sample", oracle, Sampling(SEED))]
    return results, await plans_of(dsn)


async def _filled_and_measured(days: int, *, debian: bool) -> tuple[list[Result], Plans]:
    async with postgres(debian=debian) as dsn:
        await stock.fill(dsn, days, lambda said: print(said, file=sys.stderr))
        return await measure(dsn)


def _table(results: list[Result], plans: Plans) -> str:
    head = ("verify", "candles", "seconds", "s/million", "looked at", "violations", "own CPU s")
    lines = ["{:<10}{:>12}{:>9}{:>11}{:>11}{:>12}{:>11}".format(*head)]
    lines += [
        f"{one.name:<10}{one.candles:>12}{one.seconds:>9.1f}{one.seconds / one.candles / one.share * 1e6:>11.2f}"
        f"{one.share:>11.1%}{one.violations:>12}{one.cpu_s:>11.1f}"
        for one in results
    ]
    lines.append(f"{plans.planned} statements planned; reading all candles: {', '.join(plans.reading_all) or 'none'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="fifty million candles instead of one")
    parser.add_argument("--days", type=int, help="so many days of minutes of each of twelve series")
    parser.add_argument("--debian", action="store_true", help="with the host's PostgreSQL")
    parser.add_argument("--dsn", help="a database that is filled already")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.dsn:
        results, plans = uvloop.run(measure(given.dsn))
    else:
        days = given.days or (DAYS_LARGE if given.large else DAYS)
        results, plans = uvloop.run(_filled_and_measured(days, debian=given.debian))
    shape = {"verify": [asdict(one) for one in results], "plans": asdict(plans)}
    print(json.dumps(shape) if given.json else _table(results, plans))


if __name__ == "__main__":
    main()
