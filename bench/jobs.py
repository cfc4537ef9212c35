"""What many jobs cost: memory, load and reload time, and how late the runs of one moment are recorded.

Jobs are due every five minutes, spread over the five or all at the same moment, which is the worst case; meanwhile the
same loop backfills a series of a local exchange, as a daemon's does. Each work is measured in a process of its own, so
that memory is that of its jobs alone.
"""

import argparse
import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import quantiles

import uvloop

from bench import work
from bench.market import DENSE, exchange
from bench.server import postgres
from marketd import assembly
from marketd.assembly import Lane
from marketd.changes import changes
from marketd.cli.start import share_time
from marketd.clock import SystemClock
from marketd.config import Config
from marketd.jobset import JobSet
from marketd.jobtable import JobTable
from marketd.model import Claim, JobType, RunStatus, Tally
from marketd.ports import Events, Progress
from marketd.runner import Order, Outcome, Runner
from marketd.scheduler import Desk, Scheduler
from marketd.store.orders import OrderRow
from marketd.store.queries import sql
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account

READY_S, READY_PER_S = 15, 4000  # what it takes from the filling of the table to the first moment, at most


@dataclass(frozen=True, slots=True)
class Cost:
    """Of ``jobs`` jobs, in ms. ``late``: from the due time of a run to the commit of its record; ``held``: the longest
    time for which the loop did nothing else. ``poll`` is a look at a table that has not changed."""

    jobs: int
    at_once: int
    memory_mb: float
    load: float
    reload: float
    poll: float
    late_p50: float
    late_p99: float
    held: float
    candles: int


class Instant(Runner):
    """A runner whose runs end at once: what is measured is the way to them."""

    async def run(self, order: Order, account: Account) -> Outcome:
        return Outcome(RunStatus.SUCCESS, Tally())

    async def unfinished(self, orders: Sequence[tuple[Order, int]]) -> list[bool]:
        return [False for _ in orders]


@dataclass
class Heard(Events):
    late_ms: list[float] = field(default_factory=list)

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None:
        self.late_ms.append(delay_s * 1000)


async def measure(dsn: str, count: int, moments: int) -> Cost:
    async with Database(dsn, prepare=sql("page_table")) as database, exchange(DENSE) as at:
        await _fill(database, count, moments)
        config = work.config_for(dsn, at.base_url)
        table, before_mb = JobTable(Runs(database), SystemClock()), _rss_mb()
        began = time.perf_counter()
        jobs = await table.read(config)
        load, memory_mb = _ms_since(began), _rss_mb() - before_mb
        began = time.perf_counter()
        await table.follow(config, None)
        changes((config, jobs), (config, await table.read(config)))
        reload = _ms_since(began)
        began = time.perf_counter()
        await table.read_changed(config)
        poll = _ms_since(began)
        late_ms, held, candles = await _fire(database, config, jobs, count // moments)
    cuts = quantiles(late_ms, n=100)
    return Cost(count, count // moments, memory_mb, load, reload, poll, cuts[49], cuts[98], held, candles)


async def _fill(database: Database, count: int, moments: int) -> None:
    """Jobs whose first moment is the next whole minute that leaves the time to load them."""
    first = int(time.time() + READY_S + count / READY_PER_S) // 60 + 1
    async with database.session() as connection:
        await connection.execute(
            "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule) "
            "SELECT 'bitfinex', 'S' || lpad(n::text, 6, '0') || ':USD', '1m', 'continuous', "
            "((n % $2 + $3) % 5)::text || '-59/5 * * * *' FROM generate_series(1, $1::int) AS n",
            count,
            moments,
            first,
        )
        await connection.execute("INSERT INTO market_data_jobs (exchange, job_type) VALUES ('bitfinex', 'backfill')")
        await connection.execute("ANALYZE market_data_jobs")


async def _fire(database: Database, config: Config, jobs: JobSet, runs: int) -> tuple[list[float], float, int]:
    """How late so many runs were; the longest hold of the loop, and candles stored meanwhile."""
    clock, heard = SystemClock(), Heard()
    leases = assembly.leases_of(database, "daemon")
    async with (
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex", config, assembly.Books.of(database), transport, clock, Events(), Progress(), leases=leases
        ) as lane,
    ):
        runner = Instant(*(getattr(lane.runner, each.name) for each in fields(Runner)))
        desk = Desk(lane.name, lane.lease.epoch, runner, lane.runs, lane.orders, SeriesReader(database))
        scheduler = Scheduler(desk, clock, heard, 120_000, 10)
        scheduler.take(jobs)
        run = await _order(lane)
        async with _beside(_backfill(lane, run)), _beside(scheduler.work()) as working:
            held = 0.0
            while len(heard.late_ms) < runs and not working.done():
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                held = max(held, _ms_since(began) - 1)
            scheduler.stop()
            await working
    async with database.session() as connection:
        candles = await connection.fetchval("SELECT coalesce(sum(stored), 0)::int FROM series_figures")
    return heard.late_ms, held, candles


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _order(lane: Lane) -> int:
    """The run of an order by hand: begun, so that the scheduler leaves it alone."""
    (job,) = await lane.orders.give([OrderRow(*work.BTC, JobType.BACKFILL)], "bench")
    return (await lane.runs.begin(lane.name, [(job, 1)], lane.lease.epoch))[job]


async def _backfill(lane: Lane, run: int) -> None:
    while True:
        order = Order(JobType.BACKFILL, (work.BTC,), Claim.BACKFILL, refetch=True)
        await lane.runner.run(order, Account(run, lane.lease.epoch, 120_000))


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


async def _measured(works: Sequence[tuple[int, int]]) -> list[Cost]:
    """Each (jobs, moments they are spread over) on a server and in a process of its own."""
    costs = []
    for count, moments in works:
        async with postgres() as dsn:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.jobs", "--dsn", dsn, "--count", str(count), "--moments", str(moments),
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await process.communicate()
            costs.append(Cost(**json.loads(out)))
    return costs


def _table(costs: Sequence[Cost]) -> str:
    head = (
        "jobs",
        "at once",
        "memory MB",
        "load ms",
        "reload ms",
        "poll ms",
        "late p50",
        "late p99",
        "held ms",
        "candles",
    )
    row = "{:>8}{:>9}{:>11}{:>9}{:>11}{:>9}{:>10}{:>10}{:>9}{:>10}"
    lines = [row.format(*head)]
    lines += [row.format(cost.jobs, *(round(value) for value in list(asdict(cost).values())[1:])) for cost in costs]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--large", action="store_true", help="100 000 jobs, too")
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--moments", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the made-up exchange lives in another year
    if given.dsn is not None:
        share_time()  # as the daemon does
        json.dump(asdict(uvloop.run(measure(given.dsn, given.count, given.moments))), sys.stdout)
    else:
        works = [(10_000, 5), (10_000, 1), *([(100_000, 5)] if given.large else [])]
        print(_table(asyncio.run(_measured(works))))


if __name__ == "__main__":
    main()
