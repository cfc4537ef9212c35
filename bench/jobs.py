"""What many jobs cost: memory, load and reload time, and how late the runs of one moment are recorded.

Run in a process of its own (``python -m bench.jobs DSN COUNT``), so that its memory is that of these jobs alone. All jobs
are due at the same moments, which is the worst case; while they are, the same loop backfills a series of a local
exchange, as a daemon's does.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import cast

import uvloop

from bench import work
from marketd.changes import changes
from marketd.clock import SystemClock
from marketd.config import Config, build, read_text
from marketd.jobset import JobSet
from marketd.jobtable import JobTable
from marketd.model import JobType, RunStatus, Series, Tally
from marketd.ports import Events
from marketd.runner import Order, Outcome, Runner
from marketd.scheduler import Desk, Scheduler
from marketd.store.leases import Leases
from marketd.store.orders import Orders
from marketd.store.queries import sql
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.walker import Account

MINUTE_MS = 60_000
MOMENTS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of ``jobs`` jobs; times in ms. ``late_*``: from the due time to the commit of the record, of all runs."""

    jobs: int
    memory_mb: float
    load_ms: float
    reload_ms: float
    poll_ms: float
    longest_block_ms: float
    late_p50_ms: float
    late_p99_ms: float
    late_p99_recorded_ms: float
    fetched: int


class Instant:
    """A runner whose runs end at once: what is measured is the way to them."""

    class fetcher:
        class time:
            known = True

        @staticmethod
        def now_ms() -> int:
            return time.time_ns() // 1_000_000

    async def run(self, order: Order, account: Account) -> Outcome:
        return Outcome(RunStatus.SUCCESS, Tally())

    async def unfinished(self, series: Series, order: Order, closed_ms: int) -> bool:
        return False


@dataclass
class Heard(Events):
    delays: list[float] = field(default_factory=list)

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None:
        self.delays.append(delay_s * 1000)


async def measure(dsn: str, count: int) -> Cost:
    async with Database(dsn, prepare=sql("page_table")) as database, work.exchange(1, 60, 0.02) as base_url:
        async with database.session() as connection:
            await connection.execute(
                "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule, created_at) "
                "SELECT 'bitfinex', 'S' || lpad(n::text, 6, '0') || ':USD', '1m', 'continuous', '* * * * *', now() "
                "FROM generate_series(1, $1::int) AS n",
                count,
            )
            await connection.execute(
                "INSERT INTO market_data_jobs (exchange, job_type) VALUES ('bitfinex', 'backfill')"
            )
        config = _config(base_url, dsn)
        table, before = JobTable(Runs(database), SystemClock()), _rss_mb()
        began = time.perf_counter()
        jobs = await table.read(config)
        load_ms = (time.perf_counter() - began) * 1000
        memory = _rss_mb() - before
        began = time.perf_counter()
        again = await table.read(config)
        changes((config, jobs), (config, again))
        reload_ms = (time.perf_counter() - began) * 1000
        poll_ms, block_ms, heard, fetched = await _fired(database, config, again)
        async with database.session() as connection:
            recorded = await connection.fetch(
                "SELECT extract(epoch FROM recorded_at - scheduled_for) * 1000 AS ms FROM market_data_job_runs r "
                "JOIN market_data_jobs j ON j.id = r.job_id WHERE j.job_type = 'continuous'"
            )
    late, written = quantiles(heard.delays, n=100), quantiles([float(row["ms"]) for row in recorded], n=100)
    return Cost(
        len(again.jobs), memory, load_ms, reload_ms, poll_ms, block_ms, late[49], late[98], written[98], fetched
    )


async def _fired(database: Database, config: Config, jobs: JobSet) -> tuple[float, float, Heard, int]:
    leases, heard = Leases(database, "bench", "daemon"), Heard()
    lease = await leases.take("bitfinex")
    runs = Runs(database)
    desk = Desk("bitfinex", lease.epoch, cast(Runner, Instant()), runs, Orders(database), SeriesReader(database))
    scheduler = Scheduler(desk, SystemClock(), heard, 120_000, 10)
    began = time.perf_counter()
    scheduler.take(jobs)
    poll_ms = (time.perf_counter() - began) * 1000
    task = asyncio.create_task(scheduler.work())
    watch = asyncio.create_task(_longest_block())
    while len(heard.delays) < MOMENTS * len(jobs.jobs):
        await leases.renew(lease)
        await asyncio.sleep(1)
    watch.cancel()
    scheduler.stop()
    await task
    return poll_ms, 0.0, heard, 0


async def _longest_block() -> float:
    longest = 0.0
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - began - 0.005)
        if longest:
            BLOCK[0] = max(BLOCK[0], longest * 1000)


BLOCK = [0.0]


def _config(base_url: str, dsn: str) -> Config:
    return build("", {"DATABASE_URL": dsn, "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url}, None, read_text)


def _rss_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    cost = uvloop.run(measure(given.dsn, given.count))
    json.dump(asdict(cost), sys.stdout)
    print(BLOCK, file=sys.stderr)


if __name__ == "__main__":
    main()
