"""PostgreSQL stopped for a minute in mid-backfill: the daemon stays up, says so, and goes on by itself."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from marketd.clock import SystemClock
from marketd.embedded import EmbeddedPostgres
from marketd.errors import DatabaseUnavailable
from marketd.rehearsal.faults import Faults, Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from marketd.store import migrations
from marketd.store.session import Database, connection_for_schema
from tests import shapes
from tests.conftest import CARELESS
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, started
from tests.wire import Wire

DAY = 86_400_000
OUTAGE_S = 60
PAGE = 250
SYMBOLS = ("BTCUSD", "ETHUSD")
JOBS = (
    entry("continuous", ("BTCUSD", "ETHUSD"), ("1m",), schedule="* * * * *")
    + entry("backfill", ("BTCUSD", "ETHUSD"), ("1m",))
    + entry("gap_repair", schedule="* * * * *")
)
AWAY = {
    "/livez": (200, {"status": str, "last_turn_seconds": float}),
    "/readyz": (503, {"status": str, "reasons": (str,)}),
    "/health": (503, shapes.UNHEALTHY),
    "/ingestion/status": (200, {**shapes.WHOLE, **shapes.AWAY}),
    "/ingestion/status?exchange=bitfinex&symbol=BTCUSD&timeframe=1m": (200, {**shapes.SERIES, **shapes.AWAY}),
}


@pytest.mark.timeout(200)
async def test_a_minute_without_the_database_loses_nothing_and_is_said_once(
    pg_folder: Path, tmp_path: Path, pg_bin_dir: Path
) -> None:
    """fault_14."""
    async with postgres(pg_folder, pg_bin_dir) as dsn:
        await migrated(dsn)
    async with marketplace() as exchange, Wire(dsn).laid() as wire:
        (tmp_path / "jobs.toml").write_text(JOBS)
        (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n')
        limit = {"MARKETD_EXCHANGES__BITFINEX__PAGE_LIMIT": str(PAGE)}
        async with started(tmp_path, wire.dsn, exchange.base_url, **limit) as daemon:
            async with postgres(pg_folder, pg_bin_dir):
                await until(lambda: at_work(dsn))
            await endure(daemon, exchange, wire)
            async with postgres(pg_folder, pg_bin_dir):
                exchange.faults.clear()
                began_s = time.monotonic()
                await until(lambda: complete(daemon), 60)
                assert time.monotonic() - began_s < 40, "the runs that were cut off are not punished for it"
                assert await violations(dsn) == {}
                await nothing_doubled(dsn, exchange)
            assert daemon.alive


@asynccontextmanager
async def postgres(folder: Path, bin_dir: Path) -> AsyncIterator[str]:
    """The test's own server while the block lasts; its data stays."""
    async with EmbeddedPostgres(folder / "pg", bin_dir=bin_dir, settings=CARELESS) as server:
        yield server.dsn


async def migrated(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrations.apply(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def marketplace() -> AsyncIterator[RehearsalServer]:
    """Eight days of two symbols up to now, at an exchange that takes its time."""
    clock = SystemClock()
    market = synthetic(3, SYMBOLS, clock.now_ms() - 8 * DAY, clock.now_ms() + DAY, 0.2)
    async with RehearsalServer(market, clock, Faults(clock)) as exchange:
        exchange.faults.add(Latency(delay_s=0.3))
        yield exchange


async def at_work(dsn: str) -> bool:
    """In the middle of both backfills."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT r.candles_inserted FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
            "WHERE j.job_type = 'backfill' AND r.status = 'running'"
        )
    finally:
        await connection.close()
    return len(rows) == len(SYMBOLS) and all(row["candles_inserted"] > 4 * PAGE for row in rows)


async def endure(daemon: Marketd, exchange: RehearsalServer, wire: Wire) -> None:
    """The outage: answered for, quiet, and without a crowd at the door."""
    began_s, lines, asked = time.monotonic(), len(daemon.lines()), exchange.stats.requests
    looks = 0
    while time.monotonic() - began_s < OUTAGE_S:
        for path, (status, shape) in AWAY.items():
            answer = await daemon.get(path)
            assert answer.status == status, path
            assert shapes.mistakes(answer.shape, shape, path) == []
        looks += 1
        await asyncio.sleep(OUTAGE_S / 4)
    attempts = [at_s for at_s in wire.attempts if at_s > began_s]
    # The port has a pool of its own, and the test looks at it a few times.
    assert len(attempts) <= OUTAGE_S * 1.2 + looks * len(AWAY)
    assert len(attempts) > OUTAGE_S / 5, "it goes on trying"
    assert exchange.stats.requests - asked <= 2 * len(SYMBOLS), "nothing is asked for that cannot be kept"
    said = daemon.lines()[lines:]
    assert 0 < len(said) <= 10, said
    for event in {line["event"] for line in said}:
        times = [datetime.fromisoformat(line["time"]) for line in said if line["event"] == event]
        assert all((later - earlier).total_seconds() >= 59 for earlier, later in pairwise(times)), event
    assert daemon.alive


async def complete(daemon: Marketd) -> bool:
    found: Sequence[Mapping[str, Any]] = (await daemon.get("/ingestion/status")).shape["series"]
    return len(found) == len(SYMBOLS) and all(one["complete"] for one in found)


async def nothing_doubled(dsn: str, exchange: RehearsalServer) -> None:
    """Each page was asked for once, but for those that the outage met on their way."""
    connection = await asyncpg.connect(dsn)
    try:
        stored = await connection.fetch("SELECT symbol, count(*) AS rows FROM candles GROUP BY symbol")
        others = await connection.fetchval(
            "SELECT sum(r.requests) FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
            "WHERE j.job_type <> 'backfill'"
        )
        twice = await connection.fetch(
            "SELECT job_id, date_trunc('minute', scheduled_for) FROM market_data_job_runs r "
            "JOIN market_data_jobs j ON j.id = r.job_id WHERE j.schedule IS NOT NULL "
            "GROUP BY 1, 2 HAVING count(*) > 1"
        )
        unfinished = await connection.fetchval("SELECT count(*) FROM market_data_job_runs WHERE status = 'running'")
    finally:
        await connection.close()
    pages = sum(-(-row["rows"] // (PAGE - 2)) + 1 for row in stored)
    assert exchange.stats.kinds["candles"] <= pages + others + 2 * len(SYMBOLS)
    assert twice == []
    assert unfinished <= len(SYMBOLS)


async def test_however_many_sessions_wait_the_server_is_tried_once_a_second(database: str) -> None:
    """fault_14."""
    async with Wire(database).laid() as wire, Database(wire.dsn) as opened:

        async def ask() -> bool:
            async with opened.session() as connection:
                return bool(await connection.fetchval("SELECT true"))

        assert await ask()
        wire.cut()
        wire.attempts.clear()
        ends_s = time.monotonic() + 2.5
        failures = 0
        while time.monotonic() < ends_s:
            with pytest.raises(DatabaseUnavailable):
                await ask()
            failures += 1
            await asyncio.sleep(0.01)
        assert failures > 50
        assert len(wire.attempts) <= 4
        wire.mend()

        async def back() -> bool:
            try:
                return await ask()
            except DatabaseUnavailable:
                return False

        await until(back, 3)


async def test_the_last_word_of_a_server_that_stops_is_an_outage(database: str) -> None:
    async with Wire(database, lingers=True).laid() as wire, Database(wire.dsn) as opened:
        with pytest.raises(DatabaseUnavailable):
            await hear_the_last_word(opened, wire, database)


async def hear_the_last_word(opened: Database, wire: Wire, database: str) -> None:
    """Be told that the server ends this connection, and use it before its end is noticed."""
    other = await asyncpg.connect(database)
    try:
        async with opened.session() as connection:
            await other.execute("SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()"))
            await wire.hung_up.wait()
            for _ in range(3):  # turns of the loop, in which the last word is read
                await asyncio.sleep(0)
            await connection.execute("SELECT 1")
    finally:
        await other.close()


async def test_waiting_for_a_server_that_hangs_takes_all_together_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes connections and says nothing."""
    monkeypatch.setattr("marketd.store.session._ACQUIRE_S", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    with silent:
        async with Database(f"postgresql://marketd@127.0.0.1:{port}/marketd", size=1) as opened:

            async def ask() -> None:
                with pytest.raises(DatabaseUnavailable):
                    async with opened.session():
                        raise AssertionError

            began_s = time.monotonic()
            await asyncio.gather(*(ask() for _ in range(8)))
            assert time.monotonic() - began_s < 1.2


async def test_a_connection_that_is_lost_while_the_schema_is_looked_at_is_a_database_that_is_away(
    empty_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "0001_ends.sql"
    file.write_text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(DatabaseUnavailable):
        async with connection_for_schema(empty_database) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(DatabaseUnavailable):
        async with connection_for_schema(empty_database) as connection:
            await migrations.apply(connection, migrations.load(tmp_path))


async def test_a_stop_over_a_dead_link_ends_in_time(database: str, tmp_path: Path) -> None:
    """fault_3, fault_18: nothing that is sent to the database arrives, or is answered."""
    async with marketplace() as exchange, Wire(database).laid() as wire:
        (tmp_path / "jobs.toml").write_text(JOBS)
        (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n')
        limit = {"MARKETD_EXCHANGES__BITFINEX__PAGE_LIMIT": str(PAGE)}
        async with started(tmp_path, wire.dsn, exchange.base_url, **limit) as daemon:
            await until(lambda: at_work(database))
            wire.hold()
            await asyncio.sleep(1)
            began_s = time.monotonic()
            daemon.send(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await daemon.process.wait() == 0
            assert time.monotonic() - began_s < 15
