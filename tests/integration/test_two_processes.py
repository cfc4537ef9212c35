"""Two daemons as processes on one database: the holder is killed, the holder is frozen, and nothing is done twice."""

import logging
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from marketd.clock import SystemClock
from marketd.rehearsal.faults import Faults, Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from marketd.store.queries import sql
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, started

pytestmark = pytest.mark.once

DAY = 86_400_000
PAGE = 250
TAKEOVER_S = 30
SERIES = ("bitfinex", "BTCUSD", "1m")
JOBS = entry("continuous", ("BTCUSD",), ("1m",), schedule="* * * * *") + entry("backfill", ("BTCUSD",), ("1m",))
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
log = logging.getLogger(__name__)


@dataclass
class Seat:
    """A daemon, and the exchange as only this daemon sees it: whoever asks is known."""

    daemon: Marketd
    exchange: RehearsalServer


@dataclass
class House:
    dsn: str
    connection: Connection
    seats: tuple[Seat, Seat]

    async def value(self, statement: str, *values: object) -> Any:
        return await self.connection.fetchval(statement, *values)

    async def epoch(self) -> int:
        return int(await self.value("SELECT coalesce(max(epoch), 0) FROM exchange_leases"))

    async def runs_of(self, epoch: int) -> list[Mapping[str, Any]]:
        """All that is known of the runs of one holder."""
        rows = await self.connection.fetch("SELECT * FROM market_data_job_runs WHERE epoch = $1 ORDER BY id", epoch)
        return [dict(row) for row in rows]

    async def backfilling(self, epoch: int) -> bool:
        """In mid-backfill, with some pages stored."""
        return bool(
            await self.value(
                "SELECT count(*) FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
                "WHERE j.job_type = 'backfill' AND r.status = 'running' AND r.epoch = $1 AND r.candles_inserted > $2",
                epoch, 2 * PAGE,
            )
        )  # fmt: skip

    async def renewed(self) -> None:
        """Until the holder has just renewed its lease."""
        expires = await self.value("SELECT expires_at FROM exchange_leases")

        async def later() -> bool:
            return bool(await self.value("SELECT expires_at > $1 FROM exchange_leases", expires))

        await until(later)

    async def taken_over(self, epoch: int) -> float:
        """Until a later holder than ``epoch`` works; returns for how many seconds that took."""
        began_s = time.monotonic()

        async def later() -> bool:
            return await self.epoch() > epoch

        await until(later, TAKEOVER_S)
        return time.monotonic() - began_s


@asynccontextmanager
async def house(dsn: str, folder: Path) -> AsyncIterator[House]:
    """The first seat holds the exchange and is in mid-backfill, the second one stands by."""
    clock = SystemClock()
    market = synthetic(3, ("BTCUSD",), clock.now_ms() - 60 * DAY, clock.now_ms() + DAY, 0.2)
    (folder / "jobs.toml").write_text(JOBS)
    (folder / "marketd.toml").write_text(f'jobs_file = "{folder}/jobs.toml"\nowner = "test"\n')
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(dsn)
        stack.push_async_callback(connection.close)
        seats = [await seat(stack, market, clock, dsn, folder, name) for name in ("one", "two")]
        found = House(dsn, connection, (seats[0], seats[1]))
        await until(lambda: found.backfilling(1))
        yield found


async def seat(stack: AsyncExitStack, market: Any, clock: SystemClock, dsn: str, folder: Path, name: str) -> Seat:
    exchange = await stack.enter_async_context(RehearsalServer(market, clock, Faults(clock)))
    exchange.faults.add(Latency(delay_s=0.25))
    limit = {"MARKETD_EXCHANGES__BITFINEX__PAGE_LIMIT": str(PAGE)}
    daemon = await stack.enter_async_context(started(folder, dsn, exchange.base_url, name, **limit))
    if name == "one":
        await until(daemon.lease_held)
    else:
        await daemon.said("standing by")
    return Seat(daemon, exchange)


@asynccontextmanager
async def page_in_the_middle(found: House) -> AsyncIterator[int]:
    """Enter when a page transaction of the holder has begun and waits, leave: it may go on. The pid of its backend."""
    async with found.connection.transaction():
        await found.connection.execute(sql("lock_series"), *SERIES)

        async def waiting() -> int | None:
            pid: int | None = await found.value(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'marketd' "
                "AND datname = current_database() AND wait_event = 'advisory'"
            )
            return pid

        await until(waiting)
        pid = await waiting()
        assert pid is not None
        yield pid


async def goes_on(seat: Seat) -> None:
    """Until ``seat`` has asked the exchange ten times more."""
    before = seat.exchange.stats.requests

    async def there() -> bool:
        return seat.exchange.stats.requests >= before + 10

    await until(there)


async def stands_by(seat: Seat) -> None:
    """Alive, well as soon as it has connections again, and without the lease."""
    assert not await seat.daemon.lease_held()

    async def well() -> bool:
        return [(await seat.daemon.get(path)).status for path in ("/readyz", "/livez")] == [200, 200]

    await until(well, 10)


async def no_firing_twice(found: House) -> None:
    twice = await found.connection.fetch(
        "SELECT job_id, date_trunc('minute', scheduled_for), array_agg(epoch) FROM market_data_job_runs r "
        "JOIN market_data_jobs j ON j.id = r.job_id WHERE j.schedule IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert twice == []
    # Firings by a holder that had lost the exchange by then would be out of order.
    epochs = [
        row["epoch"] for row in await found.connection.fetch("SELECT epoch FROM market_data_job_runs ORDER BY id")
    ]
    assert epochs == sorted(epochs)


@pytest.mark.timeout(180)
async def test_a_frozen_holder_and_then_a_killed_one_are_replaced_and_nothing_is_done_twice(
    database: str, tmp_path: Path
) -> None:
    """fault_11, fault_29."""
    async with house(database, tmp_path) as found:
        first, second = found.seats
        await stands_by(second)
        assert second.exchange.stats.requests == 0
        async with page_in_the_middle(found):
            first.daemon.send(signal.SIGSTOP)
        frozen_s = await found.taken_over(1)
        assert await second.daemon.lease_held()
        assert {run["status"] for run in await found.runs_of(1)} <= {"interrupted", "success"}
        await until(lambda: found.backfilling(2))
        before = await found.runs_of(1)
        first.daemon.send(signal.SIGCONT)
        lost = await first.daemon.said("lease lost")
        assert "another process has taken bitfinex over" in lost["reason"]
        await stands_by(first)
        asked = first.exchange.stats.requests
        await goes_on(second)
        assert first.exchange.stats.requests == asked, "a standby asked the exchange"
        assert await found.runs_of(1) == before, "something was counted after the takeover"

        second.daemon.send(signal.SIGKILL)
        killed_s = await found.taken_over(2)
        assert {run["status"] for run in await found.runs_of(2)} <= {"interrupted", "success"}
        assert "interrupted" in {run["status"] for run in await found.runs_of(2)}
        await until(first.daemon.lease_held)
        log.info("taken over from a frozen holder in %.1f s, from a killed one in %.1f s", frozen_s, killed_s)
        first.exchange.faults.clear()
        await until(lambda: complete(first.daemon), 60)
        assert await violations(database) == {}
        await no_firing_twice(found)


@pytest.mark.timeout(120)
async def test_the_late_page_of_a_holder_that_was_replaced_is_refused_whole(database: str, tmp_path: Path) -> None:
    """fault_11, fault_29."""
    async with house(database, tmp_path) as found:
        first, second = found.seats
        await found.renewed()  # the next renewal, which would be refused as well, is five seconds away
        async with page_in_the_middle(found) as page:
            first.daemon.send(signal.SIGSTOP)
            # Time passes: sooner than the server would end the transaction of a silent client.
            await found.value("UPDATE exchange_leases SET expires_at = clock_timestamp() RETURNING epoch")
        await found.taken_over(1)
        before = await found.runs_of(1)
        assert {run["status"] for run in before} <= {"interrupted", "success"}
        assert await found.value("SELECT state FROM pg_stat_activity WHERE pid = $1", page) == "idle in transaction"
        first.daemon.send(signal.SIGCONT)
        lost = await first.daemon.said("lease lost")
        assert "nothing of this page was written" in lost["reason"]
        assert await found.runs_of(1) == before
        await stands_by(first)
        second.exchange.faults.clear()
        await until(lambda: complete(second.daemon), 60)
        assert await violations(database) == {}
        await no_firing_twice(found)


async def complete(daemon: Marketd) -> bool:
    found = (await daemon.get("/ingestion/status")).shape["series"]
    return bool(found) and all(one["complete"] for one in found)
