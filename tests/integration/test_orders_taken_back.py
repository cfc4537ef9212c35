"""Orders that nobody waits for any more: whatever ends the command, none of its rows is left to be carried out."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
import pytest

from marketd.cli.orders import Orders
from marketd.clock import SystemClock
from marketd.config import build, read_text
from marketd.errors import DatabaseUnavailable
from marketd.model import Claim, JobType, Series
from marketd.ports import Progress
from marketd.runner import Order
from marketd.store.leases import Leases
from marketd.store.session import Database
from tests.daemons import until
from tests.wire import Wire

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
TEMPLATE = Order(
    JobType.BACKFILL, tuple(Series("bitfinex", "BTCUSD", frame) for frame in ("1m", "5m", "15m", "30m", "1h", "6h")),
    Claim.ORDER, by_hand=True,
)  # fmt: skip
WAITING = "SELECT count(*) FROM market_data_jobs WHERE origin = 'order' AND enabled"
AT_THE_THIRD = """
CREATE FUNCTION hinder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$;
CREATE TRIGGER hinder BEFORE INSERT ON market_data_jobs
    FOR EACH ROW WHEN (NEW.timeframe = '15m') EXECUTE FUNCTION hinder();
"""
AT_COMMIT = """
CREATE FUNCTION hinder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hinder AFTER INSERT ON market_data_jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.timeframe = '1h') EXECUTE FUNCTION hinder();
"""


@dataclass
class Desk:
    """An exchange that a daemon holds which does nothing, and a command that gives it an order."""

    orders: Orders
    connection: Connection
    told: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def given(self) -> AsyncIterator["asyncio.Task[None]"]:
        """The command at work; ended by the block."""
        task = asyncio.get_running_loop().create_task(self.orders.carry_out(TEMPLATE, Progress(), wait=True))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    def when(self, statement: str) -> Callable[[], Awaitable[object]]:
        return lambda: self.connection.fetchval(statement)

    async def waiting(self) -> int:
        found: int = await self.connection.fetchval(WAITING)
        return found


@asynccontextmanager
async def desk(dsn: str, database: str) -> AsyncIterator[Desk]:
    """The command reaches ``database`` by ``dsn``."""
    connection = await asyncpg.connect(database)
    try:
        async with Database(dsn) as opened, Database(database) as elsewhere:
            await Leases(elsewhere, "elsewhere:7", "daemon").take("bitfinex")
            await connection.execute("UPDATE exchange_leases SET expires_at = clock_timestamp() + interval '1 hour'")
            told: list[str] = []
            config = build("", {"DATABASE_URL": "postgresql://nowhere"}, None, read_text)
            yield Desk(Orders(config, opened, SystemClock(), told.append), connection, told)
    finally:
        await connection.close()


SLEEPING = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def test_an_interrupt_while_it_is_given_leaves_nothing(database: str) -> None:
    async with desk(database, database) as found:
        await found.connection.execute(AT_THE_THIRD.format(what="PERFORM pg_sleep(2)"))
        async with found.given() as command:
            await until(found.when(SLEEPING))
            os.kill(os.getpid(), signal.SIGINT)
            await command
        assert found.orders.stopped
        assert await found.waiting() == 0


async def test_two_interrupts_at_once_take_it_back_too(database: str) -> None:
    async with desk(database, database) as found, found.given() as command:
        await until(found.when(WAITING))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        await command
        assert found.orders.stopped
        assert await found.waiting() == 0
        assert await found.connection.fetchval("SELECT count(*) FROM market_data_jobs WHERE origin = 'order'") == 6


async def test_an_order_is_given_whole_or_not_at_all(database: str) -> None:
    async with desk(database, database) as found:
        await found.connection.execute(AT_THE_THIRD.format(what="RAISE 'going down' USING ERRCODE = '57P01'"))
        async with found.given() as command:
            with pytest.raises(DatabaseUnavailable, match="going down"):
                await command
        assert await found.waiting() == 0


async def test_an_order_whose_commit_is_not_answered_is_taken_back(database: str) -> None:
    async with Wire(database).laid() as wire, desk(wire.dsn, database) as found:
        await found.connection.execute(AT_COMMIT)
        async with found.given() as command:
            await until(found.when(SLEEPING))
            wire.cut()
            wire.mend()
            with pytest.raises(DatabaseUnavailable):
                await command
        assert await found.connection.fetchval("SELECT count(*) FROM market_data_jobs WHERE origin = 'order'") == 6
        assert await found.waiting() == 0


async def test_a_database_that_stays_away_is_said_with_what_may_remain(database: str) -> None:
    async with Wire(database).laid() as wire, desk(wire.dsn, database) as found, found.given() as command:
        await until(found.when(WAITING))
        wire.cut()
        with pytest.raises(DatabaseUnavailable):
            await command
        assert await found.waiting() == 6
        assert "may still be carried out" in found.told[-1]
        giver = await found.connection.fetchval("SELECT min(owner) FROM market_data_jobs WHERE origin = 'order'")
        assert giver in found.told[-1]


async def test_what_the_command_was_to_do_itself_is_not_left_to_others(database: str) -> None:
    """Nobody holds the exchange; the database fails between the row of the order and its run."""
    async with desk(database, database) as found:
        await found.connection.execute(
            "UPDATE exchange_leases SET expires_at = clock_timestamp() - interval '1 hour'; "
            "CREATE FUNCTION hinder() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'going down' USING ERRCODE = '57P01'; END $$; "
            "CREATE TRIGGER hinder BEFORE INSERT ON market_data_job_runs FOR EACH ROW EXECUTE FUNCTION hinder()"
        )
        async with found.given() as command:
            with pytest.raises(DatabaseUnavailable, match="going down"):
                await command
        assert await found.connection.fetchval("SELECT count(*) FROM market_data_jobs WHERE origin = 'order'") == 1
        assert await found.waiting() == 0
