"""One order, worked off as a daemon would, and what it cost: in a process of its own, so that memory and processor time
are those of this work alone. ``python -m bench.work ORDER`` prints the cost as JSON; ORDER is a JSON object.
"""

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import NamedTuple

import asyncpg
import uvloop

from bench.market import Exchange
from marketd import assembly
from marketd.assembly import Lane
from marketd.clock import SystemClock
from marketd.config import Config, build, read_text
from marketd.model import Claim, JobType, Series, Tally
from marketd.ports import Events, Progress
from marketd.runner import Order
from marketd.store.orders import OrderRow
from marketd.store.queries import sql
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account

BTC = Series("bitfinex", "BTCUSD", "1m")
SETTLE_MS = 120_000
UNBOUND = 600_000
"""Requests per minute where the exchange is not the limit."""


@dataclass(frozen=True, slots=True)
class Work:
    """What to do with BTCUSD 1m, on which database."""

    dsn: str
    job_type: str = "backfill"
    refetch: bool = False
    by_hand: bool = True
    start_ms: int | None = None
    per_minute: int = UNBOUND


@dataclass(frozen=True, slots=True)
class Cost:
    """``rows`` came in ``seconds`` of wall time, of which ``cpu_s`` were this process's own; the tables grew by
    ``grown`` bytes. ``asks`` for candles reached the exchange, ``others`` for lists and the first candle; ``refused``
    had a 429.
    """

    rows: int
    seconds: float
    cpu_s: float
    peak_mb: float
    wal_bytes: int
    grown: int
    asks: int = 0
    others: int = 0
    refused: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


async def measured(work: Work, at: Exchange) -> Cost:
    """The cost of ``work`` in a process of its own, with what the exchange counted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.work", at.base_url, json.dumps(asdict(work)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{work}: ended with {process.returncode}")
    said = await at.stats()
    asks = said["kinds"]["candles"]
    return Cost(**json.loads(out), asks=asks, others=said["requests"] - asks, refused=said["statuses"].get("429", 0))


def config_for(dsn: str, base_url: str, per_minute: int | None = None) -> Config:
    """At ``per_minute`` requests, or as many as marketd allows itself."""
    environ = {"DATABASE_URL": dsn, "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url}
    if per_minute is not None:
        environ["MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE"] = str(per_minute)
    return build("", environ, None, read_text)


@asynccontextmanager
async def lane_on(database: Database, config: Config) -> AsyncIterator[Lane]:
    clock = SystemClock()
    async with (
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex", config, assembly.Books.of(database), transport, clock, Events(), Progress(),
            leases=assembly.leases_of(database, "command"),
        ) as lane,
    ):  # fmt: skip
        yield lane


@dataclass(frozen=True, slots=True)
class Spent:
    """What an order did, in so many seconds by the wall and of this process's own."""

    tally: Tally
    seconds: float
    cpu_s: float


async def begun(lane: Lane, job_type: JobType) -> Account:
    """The account of a new run."""
    now_ns = time.time_ns()
    (job,) = await lane.orders.give([OrderRow(*BTC, job_type)], f"bench {now_ns}")
    run = (await lane.runs.begin(lane.name, [(job, now_ns // 1_000_000)], lane.lease.epoch))[job]
    return Account(run, lane.lease.epoch, SETTLE_MS)


async def carried_out(lane: Lane, order: Order, account: Account) -> Spent:
    """From the empty hand to the last commit."""
    began, cpu = time.perf_counter(), cpu_s()
    outcome = await lane.runner.run(order, account)
    spent = Spent(outcome.tally, time.perf_counter() - began, cpu_s() - cpu)
    await lane.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally.requests)
    if outcome.error is not None:
        raise SystemExit(outcome.error)
    return spent


async def worked_off(order: Order, config: Config, database: Database) -> Spent:
    async with lane_on(database, config) as lane:
        return await carried_out(lane, order, await begun(lane, order.job_type))


def order_of(work: Work) -> Order:
    return Order(
        JobType(work.job_type), (BTC,), Claim.BACKFILL,
        start_ms=work.start_ms, by_hand=work.by_hand, refetch=work.refetch,
    )  # fmt: skip


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Weight(NamedTuple):
    """Bytes of WAL written so far, and of all tables with their indexes."""

    wal: int
    size: int


async def weight(connection: "asyncpg.Connection[asyncpg.Record]") -> Weight:
    row = await connection.fetchrow(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, sum(pg_total_relation_size(oid))::bigint "
        "FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    assert row is not None
    return Weight(*row)


async def cost(work: Work, base_url: str) -> Cost:
    connection = await asyncpg.connect(work.dsn)
    try:
        config = config_for(work.dsn, base_url, work.per_minute)
        async with Database(work.dsn, prepare=sql("page_table")) as database:
            before = await weight(connection)
            spent = await worked_off(order_of(work), config, database)
            after = await weight(connection)
    finally:
        await connection.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(spent.tally.fetched, spent.seconds, spent.cpu_s, peak, after.wal - before.wal, after.size - before.size)


def main() -> None:
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    found = uvloop.run(cost(Work(**json.loads(sys.argv[2])), sys.argv[1]))
    counted = {name: value for name, value in asdict(found).items() if name not in ("asks", "others", "refused")}
    print(json.dumps(counted))


if __name__ == "__main__":
    main()
