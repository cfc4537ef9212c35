"""A whole engine for tests: real database, real transport, rehearsal exchange; nothing is mocked."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from marketd.clock import Clock
from marketd.exchanges import exchange
from marketd.fetcher import Fetcher
from marketd.limiter import Budget
from marketd.model import Claim, JobType, Series
from marketd.ports import Events, Progress
from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market
from marketd.rehearsal.server import RehearsalServer
from marketd.runner import Order, Outcome, Runner
from marketd.store.leases import Lease, Leases
from marketd.store.orders import OrderRow, Orders
from marketd.store.pages import Pages
from marketd.store.queries import sql
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account
from tests.oracle import verdict

FAST = 600_000.0  # requests a minute: the budget is not what these tests are about


@dataclass
class Bench:
    """One daemon's worth of engine; ``order`` runs one order to its end."""

    database: Database
    server: RehearsalServer
    clock: Clock
    runner: Runner
    runs: Runs
    lease: Lease
    settle_ms: int = 120_000
    accounts: list[Account] = field(default_factory=list)

    async def begun(self, job_type: JobType, *series: Series, **more: Any) -> tuple[Order, Account]:
        """An order that is recorded as running and waits to be run."""
        claim = {JobType.CONTINUOUS: Claim.CONTINUOUS, JobType.BACKFILL: Claim.BACKFILL}.get(job_type, Claim.GAP_REPAIR)
        job = await self.given(series[0], job_type)
        begun = await self.runs.begin(series[0].exchange, [(job, 1_000)], self.lease.epoch)
        account = Account(begun[job], self.lease.epoch, self.settle_ms)
        self.accounts.append(account)
        return Order(job_type, tuple(series), claim, **more), account

    async def given(self, series: Series, job_type: JobType) -> int:
        """The row of an order, as a command writes it."""
        (job,) = await Orders(self.database).give([OrderRow(*series, job_type)], "test")
        return job

    async def order(self, job_type: JobType, *series: Series, **more: Any) -> Outcome:
        order, account = await self.begun(job_type, *series, **more)
        outcome = await self.runner.run(order, account)
        await self.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally.requests)
        return outcome

    async def backfill(self, *series: Series, **more: Any) -> Outcome:
        return await self.order(JobType.BACKFILL, *series, **more)

    async def continuous(self, *series: Series, **more: Any) -> Outcome:
        return await self.order(JobType.CONTINUOUS, *series, **more)

    async def repair(self, *series: Series, **more: Any) -> Outcome:
        return await self.order(JobType.GAP_REPAIR, *series, **more)

    async def fetch(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        async with self.database.session() as connection:
            return await connection.fetch(statement, *values)

    async def value(self, statement: str, *values: object) -> Any:
        async with self.database.session() as connection:
            return await connection.fetchval(statement, *values)

    async def count(self, statement: str, *values: object) -> int:
        return int(await self.value(statement, *values))

    async def candles(self, series: Series) -> list[tuple[Any, ...]]:
        """(open ms, open, close, high, low, volume) of all stored candles, ascending."""
        rows = await self.fetch(
            "SELECT (extract(epoch FROM open_time) * 1000)::bigint, open, close, high, low, volume FROM candles "
            "WHERE exchange = $1 AND symbol = $2 AND timeframe = $3 ORDER BY open_time",
            *series,
        )
        return [tuple(row) for row in rows]

    async def gaps(self, series: Series) -> Sequence[asyncpg.Record]:
        return await self.fetch(
            "SELECT * FROM candle_gaps WHERE exchange = $1 AND symbol = $2 AND timeframe = $3 ORDER BY gap_start",
            *series,
        )

    async def violations(self) -> Mapping[str, Sequence[Any]]:
        """What ``marketd verify`` would find, warnings left out."""
        return {finding.query.name: finding.rows for finding in (await verdict(self.database)).violations}


@asynccontextmanager
async def bench(
    dsn: str, market: Market, clock: Clock, *, faults: Faults | None = None, settle_s: float = 120, page: int = 0,
    derived: dict[str, str] | None = None, name: str = "bitfinex", archive: bool = False,
) -> AsyncIterator[Bench]:  # fmt: skip
    """An engine for exchange ``name``, which is rehearsed in its own wire format, with its ``archive`` or without."""
    facts = exchange(name)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RehearsalServer(market, clock, faults, dialect=name))
        database = await stack.enter_async_context(Database(dsn, prepare=sql("page_table")))
        transport = await stack.enter_async_context(Transport(clock))
        leases = Leases(database, "test", "command")
        lease = await leases.take(name)
        stack.push_async_callback(leases.release, lease)
        fetcher = Fetcher(
            facts,
            server.base_url,
            transport,
            Budget(FAST),
            clock,
            Events(),
            lambda seconds: None,
            page=page,
            archive_url=server.root_url if archive else None,
        )
        runner = Runner(
            fetcher, Pages(database), SeriesReader(database), clock, Events(), Progress(),
            dict(facts.derived) | (derived or {}),
        )  # fmt: skip
        yield Bench(database, server, clock, runner, Runs(database), lease, int(settle_s * 1000))
