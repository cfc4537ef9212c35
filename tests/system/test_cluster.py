"""A database that fails over: patroni promotes the standby, and marketd goes on; no acknowledged page is gone."""

from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from marketd.clock import SystemClock
from marketd.rehearsal.faults import Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, environment, started, succeed
from tests.system.cluster import Cluster, cluster, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"not installed: {missing()}")

DAY_MS = 86_400_000
DAYS = 40
JOBS = (
    entry("continuous", ("BTCUSD",), ("1m",), schedule="* * * * *")
    + entry("backfill", ("BTCUSD",), ("1m",))
    + entry("gap_repair", schedule="* * * * *")
)
CANDLES = "SELECT count(*), min(open_time), max(open_time) FROM candles"


async def acknowledged(at: asyncpg.Connection) -> tuple[int, datetime, datetime]:
    """What whoever reads sees, and a commit is not seen before the standby has it."""
    row = await at.fetchrow(CANDLES)
    assert row is not None
    return row[0], row[1], row[2]


async def complete(daemon: Marketd) -> bool:
    answer = await daemon.get("/ingestion/status")
    return answer.status == 200 and all(one["complete"] for one in answer.shape["series"])


async def burn(made: Cluster, daemon: Marketd, least: int) -> None:
    """Kill the primary in the middle of a backfill, which goes on in the other; all that was seen before is there."""
    name = await made.primary()
    (other,) = made.ports.keys() - {name}
    connection = await made.connect(name)

    async def under_way() -> bool:
        return (await acknowledged(connection))[0] > least

    await until(under_way, 60)
    count, first, last = await acknowledged(connection)
    made.kill(name)

    async def promoted() -> bool:
        try:
            return await made.primary() == other
        except LookupError:
            return False

    await until(promoted, 60)
    connection = await made.connect(other)
    try:
        after = await acknowledged(connection)
        assert after[0] >= count, "an acknowledged page is gone"
        assert after[1] <= first, "an acknowledged page is gone"
        assert after[2] >= last, "an acknowledged page is gone"

        async def goes_on() -> bool:
            return (await acknowledged(connection))[0] > after[0]

        await until(goes_on, 60)
        assert daemon.alive
    finally:
        await connection.close()


@pytest.mark.parametrize("way", ["by way of pgbouncer and haproxy", "both hosts in the address"])
async def test_a_failover_loses_no_acknowledged_page(way: str, pg_folder: Path, tmp_path: Path) -> None:
    """Nothing is done by hand: the address finds the new primary, and the daemon neither ends nor logs an error."""
    clock = SystemClock()
    market = synthetic(3, ("BTCUSD",), clock.now_ms() - DAYS * DAY_MS, clock.now_ms() + DAY_MS, 0.02)
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n[exchanges.bitfinex]\npage_limit = 200\n'
    )
    pooled = way.startswith("by way")
    more = {"MARKETD_DATABASE__POOLER": "true"} if pooled else {}
    async with cluster(pg_folder) as made, RehearsalServer(market, clock) as exchange:
        exchange.faults.add(Latency(delay_s=0.03, asks=("candles",)))
        dsn = made.pooled if pooled else made.direct
        await succeed(environment(tmp_path, dsn, exchange.base_url, "one", **more), "migrate")
        async with started(tmp_path, dsn, exchange.base_url, **more) as daemon:
            await burn(made, daemon, 5_000)
            await until(lambda: complete(daemon), 120)
            errors = [line for line in daemon.lines() if line["level"] == "error"]
            assert errors == [], errors
        survivor = await made.connect(await made.primary())
        try:
            assert (await acknowledged(survivor))[0] >= DAYS * 1440 * 0.97
        finally:
            await survivor.close()
        assert await violations(made.direct) == {}
