"""``python -m bench.port``: how long the port takes to answer, beside years of candles and while a backfill runs.

The paths are asked from another process, which notices whatever holds up the event loop; the backfill works in the loop
of the port, as in the daemon, and at the exchange's own budget.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import uvloop

from bench import stock, work
from bench.market import Place, exchange
from bench.server import postgres
from marketd.cli.start import share_time
from marketd.clock import SystemClock
from marketd.config import Config
from marketd.jobset import JobSet
from marketd.metrics import Metrics
from marketd.model import Series
from marketd.pulse import Pulse
from marketd.standing import Standing
from marketd.store.queries import sql
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.web import Port

PATHS = (
    "/health", "/system/health", "/system/status", "/ingestion/status?symbol=BENCH0&timeframe=1m", "/ingestion/status",
    "/gaps", "/gaps/summary", "/jobs", "/metrics",
)  # fmt: skip
TIMES = 300
DAYS, DAYS_LARGE = 72, 3620
BESIDE = Place(365, 0.02)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a path took to answer ``TIMES`` times."""

    path: str
    p50_ms: float
    p99_ms: float
    max_ms: float


def _standing(config: Config) -> Standing:
    """What a daemon that works on the stock would know."""
    clock = SystemClock()
    objectives = {Series("bitfinex", symbol, "1m"): 480.0 for symbol in stock.SYMBOLS}
    return Standing(
        clock, clock.now_ms(), config.budgets, Pulse(time.monotonic), 60.0, loaded=True,
        job_set=JobSet(tracked=frozenset(objectives), objectives=objectives),
    )  # fmt: skip


@asynccontextmanager
async def port_on(config: Config, dsn: str) -> AsyncIterator[Port]:
    standing, metrics = _standing(config), Metrics()
    metrics.know(["bitfinex"], dict(standing.objectives()))
    async with (
        Database(dsn, size=2, application="marketd port") as readers,
        Port("127.0.0.1:0", Reports(readers), standing, metrics.registry) as port,
    ):
        yield port


async def backfill(config: Config, dsn: str) -> None:
    """Until cancelled: from the empty hand to the last page, then all of it again."""
    async with Database(dsn, prepare=sql("page_table")) as database:
        while True:
            await work.worked_off(work.order_of(work.Work(dsn, refetch=True)), config, database)


async def _polled(address: str) -> list[Timing]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.poll", address, str(TIMES), *PATHS, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return [timing(path, took) for path, took in json.loads(out).items()]


def timing(path: str, took_ms: list[float]) -> Timing:
    ordered = sorted(took_ms)
    return Timing(path, ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])


async def measure(dsn: str) -> list[Timing]:
    """The timings with the database at ``dsn``, which is filled already."""
    async with exchange(BESIDE) as at:
        config = work.config_for(dsn, at.base_url)
        async with port_on(config, dsn) as port, asyncio.TaskGroup() as group:
            filling = group.create_task(backfill(config, dsn))
            timings = await _polled(port.address)
            filling.cancel()
    return timings


async def _filled_and_measured(days: int) -> tuple[int, list[Timing]]:
    async with postgres() as dsn:
        candles = await stock.fill(dsn, days, lambda said: print(said, file=sys.stderr))
        return candles, await measure(dsn)


def _table(candles: int, timings: list[Timing]) -> str:
    lines = [f"{f'{candles} candles, a backfill running':<48}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"]
    lines += [f"{one.path:<48}{one.p50_ms:>9.1f}{one.p99_ms:>9.1f}{one.max_ms:>9.1f}" for one in timings]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="beside fifty million candles instead of one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    share_time()
    candles, timings = uvloop.run(_filled_and_measured(DAYS_LARGE if given.large else DAYS))
    shape = {"candles": candles, "timings": [asdict(one) for one in timings]}
    print(json.dumps(shape) if given.json else _table(candles, timings))


if __name__ == "__main__":
    main()
