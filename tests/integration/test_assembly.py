"""The parts put together: a lease that is lost ends the work, a lost connection is a database that is away."""

import asyncio
from dataclasses import dataclass, field

import asyncpg
import pytest

from marketd import assembly
from marketd.clock import SystemClock
from marketd.config import build
from marketd.errors import DatabaseUnavailable, LeaseLost
from marketd.ports import Events, Progress
from marketd.store.migrations import LOCK
from marketd.store.session import Database
from marketd.transport import Transport
from tests.daemons import until
from tests.wire import Wire


@dataclass
class Heard(Events):
    failed: list[str] = field(default_factory=list)

    def store_failed(self, kind: str) -> None:
        self.failed.append(kind)


async def test_a_lease_that_is_taken_over_ends_the_lane_and_is_counted(database: str) -> None:
    heard = Heard()
    with pytest.raises(LeaseLost):
        await lose_the_lease(database, heard)
    assert heard.failed == ["lease_lost"]


async def lose_the_lease(dsn: str, events: Events) -> None:
    """Be in a lane whose lease another process takes, until that ends it."""
    clock, config = SystemClock(), build("", {}, None, lambda path: None, need_database=False)
    async with (
        asyncio.timeout(20),
        Database(dsn) as opened,
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex",
            config,
            assembly.Books.of(opened),
            transport,
            clock,
            events,
            Progress(),
            leases=assembly.leases_of(opened, "command"),
        ),
    ):
        async with opened.session() as connection:
            await connection.execute("UPDATE exchange_leases SET epoch = epoch + 1")
        await asyncio.Event().wait()


async def test_a_lane_knows_the_archive_that_is_configured(database: str) -> None:
    named = '[exchanges.binance]\narchive_url = "http://127.0.0.1:8099"'
    clock, config = SystemClock(), build(named, {}, None, lambda path: None, need_database=False)
    async with Database(database) as opened, Transport(clock) as transport:
        books, leases = assembly.Books.of(opened), assembly.leases_of(opened, "command")
        lane = assembly.lane("binance", config, books, transport, clock, Events(), Progress(), leases=leases)
        async with lane as opened_lane:
            assert opened_lane.runner.fetcher.archive_url == "http://127.0.0.1:8099"


async def test_a_connection_that_is_lost_in_a_migration_is_a_database_that_is_away(empty_database: str) -> None:
    other = await asyncpg.connect(empty_database)
    try:
        await other.execute(f"SELECT pg_advisory_lock({LOCK})")
        async with Wire(empty_database).laid() as wire, asyncio.TaskGroup() as group:
            migrating = group.create_task(cut_off(wire))

            async def waits() -> bool:
                return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(waits)
            wire.cut()
            assert "is not available" in str(await migrating)
    finally:
        await other.close()


async def cut_off(wire: Wire) -> DatabaseUnavailable:
    """What a migration over ``wire`` ends in when that is cut."""
    with pytest.raises(DatabaseUnavailable) as away:
        await assembly.ready_schema(wire.dsn, migrate=True)
    return away.value
