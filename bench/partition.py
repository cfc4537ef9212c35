"""``python -m bench.partition``: what a table for each year costs: work A and a continuous cycle, beside one table."""

import argparse
import asyncio
import json
import logging
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

import uvloop

from bench import cycle
from bench.market import DENSE, exchange
from bench.server import fresh_database, postgres
from bench.work import Work, measured
from marketd.cli.start import share_time
from marketd.store.partitions import Partitions
from marketd.store.session import Database

ROUNDS: Final = 5
SERIES: Final = 200


@dataclass(frozen=True, slots=True)
class Result:
    """Candles a second of A, and seconds of a cycle, with one table and with many; medians."""

    rate: float
    rate_years: float
    cycle_s: float
    cycle_years_s: float


async def partitioned(dsn: str) -> None:
    """Give candles, of which there are none yet, a table for each year."""
    async with Database(dsn) as database:
        work = Partitions(database, asyncio.sleep)
        await work.begin()
        await work.finish()


async def measure(*, debian: bool) -> Result:
    rates: dict[bool, list[float]] = {False: [], True: []}
    seconds = dict[bool, float]()
    async with postgres(debian=debian) as dsn:
        async with exchange(DENSE) as at:
            for _ in range(ROUNDS):
                for years, found in rates.items():
                    await at.behave()
                    async with fresh_database(dsn, "round") as fresh:
                        if years:
                            await partitioned(fresh)
                        found.append((await measured(Work(fresh), at)).rate)
        for years in rates:
            async with fresh_database(dsn, "cycle") as fresh:
                if years:
                    await partitioned(fresh)
                seconds[years] = (await cycle.measure_on(fresh, "dense", SERIES)).seconds
    return Result(median(rates[False]), median(rates[True]), seconds[False], seconds[True])


def _table(found: Result) -> str:
    row = "{:<34}{:>12}{:>12}{:>8}"
    return "\n".join(
        (
            row.format("", "one table", "years", ""),
            row.format(
                "A, candles a second", f"{found.rate:.0f}", f"{found.rate_years:.0f}",
                f"{found.rate_years / found.rate:.2f}",
            ),
            row.format(
                f"a cycle of {SERIES} series, seconds", f"{found.cycle_s:.2f}", f"{found.cycle_years_s:.2f}",
                f"{found.cycle_years_s / found.cycle_s:.2f}",
            ),
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--debian", action="store_true", help="with the host's PostgreSQL")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    share_time()  # as the daemon does
    found = uvloop.run(measure(debian=given.debian))
    print(json.dumps(asdict(found)) if given.json else _table(found))


if __name__ == "__main__":
    main()
