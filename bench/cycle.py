"""``python -m bench.cycle``: what a cycle of continuous runs costs: a few new candles of each of many series.

One run works on all series, as a job without symbol does, at an exchange without a limit, whose minutes last a second.
Two markets: a dense one, and a thin one of which nine minutes in ten had no trades.
"""

import argparse
import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import asyncpg
import uvloop

from bench import work
from bench.market import Place, exchange
from bench.server import postgres
from marketd.assembly import Lane
from marketd.cli.start import share_time
from marketd.model import Claim, JobType, Series
from marketd.runner import Order
from marketd.store.queries import sql
from marketd.store.session import Database

ROUNDS = 5
MARKETS = {"dense": 0.0, "thin": 0.9}
COUNTS = (60, 600)
_SPEED = 60.0
_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of a cycle of so many series: seconds by the wall, of this process's own, and bytes of WAL."""

    market: str
    series: int
    seconds: float
    cpu_s: float
    wal: float
    candles: float


async def measure(market: str, count: int) -> Result:
    async with postgres() as dsn:
        return await measure_on(dsn, market, count)


async def measure_on(dsn: str, market: str, count: int) -> Result:
    """On a database that is migrated and empty."""
    place = Place(2, MARKETS[market], symbols=count, ahead=1, speed=_SPEED)
    async with (
        exchange(place) as at,
        Database(dsn, prepare=sql("page_table")) as database,
        work.lane_on(database, work.config_for(dsn, at.base_url, work.UNBOUND)) as lane,
    ):
        series = tuple(Series("bitfinex", name, "1m") for name in place.names())
        connection = await asyncpg.connect(dsn)
        await _cycle(lane, series, connection)  # what came before
        await connection.execute("VACUUM ANALYZE")
        found = list[tuple[float, float, int, int]]()
        for _ in range(ROUNDS + 1):
            await asyncio.sleep(_PAUSE_S)
            found.append(await _cycle(lane, series, connection))
        await connection.close()
    # The first one after a checkpoint writes whole pages of the tables to the WAL.
    seconds, cpu_s, wal, candles = (median(values) for values in zip(*found[1:], strict=True))
    return Result(market, count, seconds, cpu_s, wal, candles)


async def _cycle(
    lane: Lane, series: Sequence[Series], connection: "asyncpg.Connection[asyncpg.Record]"
) -> tuple[float, float, int, int]:
    """Seconds, processor seconds, bytes of WAL and candles of one run over all series."""
    account, before = await work.begun(lane, JobType.CONTINUOUS), await work.weight(connection)
    order = Order(JobType.CONTINUOUS, tuple(series), Claim.CONTINUOUS)
    spent = await work.carried_out(lane, order, account)
    return spent.seconds, spent.cpu_s, (await work.weight(connection)).wal - before.wal, spent.tally.inserted


def _table(results: Sequence[Result]) -> str:
    row = "{:<8}{:>8}{:>10}{:>12}{:>14}{:>12}{:>12}"
    lines = [row.format("market", "series", "candles", "seconds", "ms a series", "own CPU s", "WAL kB")]
    lines += [
        row.format(
            one.market, one.series, f"{one.candles:.0f}", f"{one.seconds:.3f}",
            f"{1000 * one.seconds / one.series:.2f}", f"{one.cpu_s:.3f}", f"{one.wal / 1000:.0f}",
        )
        for one in results
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    share_time()  # as the daemon does
    results = [uvloop.run(measure(market, count)) for count in COUNTS for market in MARKETS]
    print(json.dumps([asdict(one) for one in results]) if given.json else _table(results))


if __name__ == "__main__":
    main()
