"""``python -m bench.cycle``: what a cycle of continuous runs costs: a few new candles of each of many series.

One run works on all series, as a job without symbol does, at an exchange without a limit, whose minutes last a second.
Two markets: a dense one, and a thin one of which nine minutes in ten had no trades.
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import asyncpg
import uvloop

from bench import work
from bench.market import Place, exchange
from bench.server import postgres
from marketd import assembly
from marketd.assembly import Lane
from marketd.clock import SystemClock
from marketd.model import Claim, JobType, Series
from marketd.ports import Events, Progress
from marketd.runner import Order
from marketd.store.orders import OrderRow
from marketd.store.queries import sql
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account

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
    place = Place(2, MARKETS[market], symbols=count, ahead=1, speed=_SPEED)
    clock = SystemClock()
    async with (
        postgres() as dsn,
        exchange(place) as at,
        Database(dsn, prepare=sql("page_table")) as database,
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex", work.config_for(dsn, at.base_url, work.UNBOUND), assembly.Books.of(database), transport, clock,
            Events(), Progress(), leases=assembly.leases_of(database, "command"),
        ) as lane,
    ):  # fmt: skip
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
    (job,) = await lane.orders.give([OrderRow(*work.BTC, JobType.CONTINUOUS)], f"bench {time.time_ns()}")
    run = (await lane.runs.begin(lane.name, [(job, time.time_ns() // 1_000_000)], lane.lease.epoch))[job]
    before, began, cpu = await work.weight(connection), time.perf_counter(), work.cpu_s()
    order = Order(JobType.CONTINUOUS, tuple(series), Claim.CONTINUOUS)
    outcome = await lane.runner.run(order, Account(run, lane.lease.epoch, work.SETTLE_MS))
    seconds, used = time.perf_counter() - began, work.cpu_s() - cpu
    after = await work.weight(connection)
    await lane.runs.finish(run, outcome.status, outcome.error, outcome.tally.requests)
    if outcome.error is not None:
        raise SystemExit(outcome.error)
    return seconds, used, after.wal - before.wal, outcome.tally.inserted


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
    results = [uvloop.run(measure(market, count)) for count in COUNTS for market in MARKETS]
    print(json.dumps([asdict(one) for one in results]) if given.json else _table(results))


if __name__ == "__main__":
    main()
