"""Sessions with a database that goes away in every way there is, on both event loops.

Whatever happens, a call ends within ten seconds, a cancelled one within five, and it works again within five seconds
after the repair.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from marketd.embedded import EmbeddedPostgres
from marketd.errors import DatabaseUnavailable, MarketdError
from marketd.store.session import Database
from tests.conftest import CARELESS
from tests.integration.test_door import LOOPS
from tests.wire import Wire

CALL_S = 10
CANCEL_S = 5
HEAL_S = 5
SLACK_S = 2  # other processes are at work

Play = Callable[..., None]
Body = Callable[[Database], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Runs a coroutine on one of the loops."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


@asynccontextmanager
async def wired(dsn: str) -> AsyncIterator[tuple[Wire, Database]]:
    async with Wire(dsn).laid() as wire, Database(wire.dsn, size=2) as opened:
        await ask(opened)
        yield wire, opened


async def ask(opened: Database, statement: str = "SELECT true") -> None:
    async with opened.session() as connection:
        await connection.execute(statement)


async def change(opened: Database, statement: str = "SELECT pg_sleep(60)") -> None:
    async with opened.session() as connection, connection.transaction():
        await connection.execute("SELECT true")
        await connection.execute(statement)


async def change_within(opened: Database) -> None:
    """As a page is stored: under a savepoint."""
    async with opened.session() as connection, connection.transaction(), connection.transaction():
        await connection.execute("SELECT pg_sleep(60)")


async def fails(call: "asyncio.Task[None]", within_s: float) -> MarketdError:
    began_s = time.monotonic()
    with pytest.raises(MarketdError) as caught:
        async with asyncio.timeout(within_s + 60):
            await call
    assert time.monotonic() - began_s < within_s + SLACK_S
    return caught.value


async def heals(opened: Database) -> None:
    """A call succeeds within the promised time."""
    began_s = time.monotonic()
    while True:
        try:
            await ask(opened)
            break
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)
    assert time.monotonic() - began_s < HEAL_S + SLACK_S


async def gives_way(call: "asyncio.Task[None]") -> None:
    """A cancelled call ends within the promised time, and as a cancelled one."""
    began_s = time.monotonic()
    call.cancel()
    await asyncio.wait([call], timeout=60)
    assert call.cancelled()
    assert time.monotonic() - began_s < CANCEL_S + SLACK_S


async def soon(work: "asyncio.Task[None]") -> None:
    """Let ``work`` get as far as its statement."""
    await asyncio.sleep(0.3)
    assert not work.done()


def test_a_black_hole_ends_every_call(play: Play, database: str) -> None:
    """fault_18: in a query, in a transaction, under a savepoint, and for who wants a new connection."""

    async def scene() -> None:
        for body in (change, change_within, lambda opened: ask(opened, "SELECT pg_sleep(60)")):
            async with wired(database) as (wire, opened), asyncio.TaskGroup() as group:
                call = asyncio.ensure_future(body(opened))
                await soon(call)
                wire.hold()
                late = group.create_task(_fails_too(opened))
                error = await fails(call, CALL_S)
                assert isinstance(error, DatabaseUnavailable)
                await late
                wire.mend()
                await heals(opened)

    play(scene())


async def _fails_too(opened: Database) -> None:
    assert isinstance(await fails(asyncio.ensure_future(ask(opened)), CALL_S), DatabaseUnavailable)


@pytest.mark.parametrize("body", [change, change_within])
def test_a_black_hole_does_not_hold_a_cancellation(play: Play, database: str, body: Body) -> None:
    """fault_18."""

    async def scene() -> None:
        async with wired(database) as (wire, opened):
            call = asyncio.ensure_future(body(opened))
            await soon(call)
            wire.hold()
            await gives_way(call)
            wire.mend()
            await heals(opened)

    play(scene())


def test_a_pool_closes_over_a_black_hole(play: Play, database: str) -> None:
    """fault_3, fault_18."""

    async def scene() -> None:
        async with Wire(database).laid() as wire:
            async with Database(wire.dsn, size=2) as opened:
                await ask(opened)
                wire.hold()
                began_s = time.monotonic()
            assert time.monotonic() - began_s < CANCEL_S + SLACK_S

    play(scene())


def test_a_cancellation_is_heard_in_the_very_turn_in_which_a_pool_has_closed(
    play: Play, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's wait_for, of Python 3.11, takes it for the answer it was waiting for."""
    close = asyncpg.Pool.close

    async def checked() -> None:
        async def opened_and_closed() -> None:
            async with Database(database, size=2) as opened:
                await ask(opened)

        async def closed(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
            await close(pool)
            task.cancel()

        monkeypatch.setattr(asyncpg.Pool, "close", closed)
        task = asyncio.create_task(opened_and_closed())
        await asyncio.wait([task])
        assert task.cancelled()

    play(checked())


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_link_that_is_cut_is_said_as_it_is(play: Play, database: str, cancelled: bool) -> None:
    """fault_16: asyncpg replaces a cancellation by an error of its own where the connection died."""

    async def scene() -> None:
        async with wired(database) as (wire, opened):
            call = asyncio.ensure_future(change(opened))
            await soon(call)
            wire.cut()
            if cancelled:
                call.cancel()
                await asyncio.wait([call], timeout=60)
                assert call.cancelled()
            else:
                assert isinstance(await fails(call, 1), DatabaseUnavailable)
            wire.mend()
            await heals(opened)

    play(scene())


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(60)", "SELECT pg_terminate_backend(pg_backend_pid())"])
def test_a_backend_that_is_terminated_is_waited_for(play: Play, database: str, statement: str) -> None:
    """fault_15, fault_16: before, during and by a statement; the server's own code is told."""

    async def scene() -> None:
        async with wired(database) as (_, opened):
            call = asyncio.ensure_future(change(opened, statement))
            if "sleep" in statement:
                await soon(call)
                await by_hand(
                    database,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'marketd' AND datname = current_database()",
                )
            error = await fails(call, 2)
            assert isinstance(error, DatabaseUnavailable)
            assert error.sqlstate == "57P01"
            await heals(opened)

    play(scene())


def test_who_is_terminated_at_commit_has_changed_all_or_nothing(play: Play, database: str) -> None:
    """fault_16, fault_17: a deferred trigger ends the session in the midst of COMMIT; the answer to another is lost."""

    async def scene() -> None:
        await by_hand(
            database,
            "CREATE TABLE kept (word text); "
            "CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.word = 'gone' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION ends()",
        )
        async with wired(database) as (wire, opened):
            gone = asyncio.ensure_future(change(opened, "INSERT INTO kept VALUES ('gone')"))
            assert isinstance(await fails(gone, 2), DatabaseUnavailable)
            wire.lose_answer_to(b"COMMIT")
            there = asyncio.ensure_future(change(opened, "INSERT INTO kept VALUES ('there')"))
            assert isinstance(await fails(there, 2), DatabaseUnavailable)
            await heals(opened)
            async with opened.session() as connection:
                assert await connection.fetchval("SELECT array_agg(word) FROM kept") == ["there"]

    play(scene())


def test_a_stopped_backend_is_left_behind(play: Play, database: str) -> None:
    """fault_25: its kernel still takes what is sent."""

    async def scene() -> None:
        async with wired(database) as (_, opened):
            async with opened.session() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
            os.kill(pid, signal.SIGSTOP)
            try:
                assert isinstance(await fails(asyncio.ensure_future(change(opened)), CALL_S), DatabaseUnavailable)
                await heals(opened)
            finally:
                os.kill(pid, signal.SIGCONT)

    play(scene())


def test_a_lock_that_is_held_is_not_waited_for_long(play: Play, database: str) -> None:
    """fault_21: other tables go on."""

    async def scene() -> None:
        holder = await asyncpg.connect(database)
        try:
            async with holder.transaction(), wired(database) as (_, opened):
                await holder.execute("LOCK TABLE candles")
                call = asyncio.ensure_future(change(opened, "SELECT 1 FROM candles LIMIT 1"))
                await soon(call)
                await ask(opened, "SELECT 1 FROM market_data_jobs LIMIT 1")
                error = await fails(call, CALL_S)
                assert isinstance(error, DatabaseUnavailable)
                assert error.sqlstate == "55P03"
        finally:
            await holder.close()

    play(scene())


def test_a_server_that_becomes_read_only_loses_its_sessions(play: Play, database: str) -> None:
    """fault_20: a failover; who could write before must not be kept, or it would fail for ever."""

    async def scene() -> None:
        name = urlsplit(database).path.removeprefix("/")
        await by_hand(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with wired(database) as (wire, opened):
            reset = f"ALTER DATABASE {name} RESET default_transaction_read_only"
            await by_hand(database, "SET default_transaction_read_only = off", reset)
            call = asyncio.ensure_future(change(opened, "CREATE TABLE made (number integer)"))
            error = await fails(call, 2)
            assert isinstance(error, DatabaseUnavailable)
            assert error.sqlstate == "25006"
            before = len(wire.attempts)
            await change(opened, "CREATE TABLE made (number integer)")
            assert len(wire.attempts) == before + 1

    play(scene())


def test_a_server_that_starts_again_is_noticed_by_nobody(play: Play, pg_folder: Path, pg_bin_dir: Path) -> None:
    """fault_13, fault_15, fault_28: connections that rest in the pool; times are UTC wherever the server stands."""
    settings = {**CARELESS, "timezone": "Asia/Kathmandu"}

    async def scene() -> None:
        async with EmbeddedPostgres(pg_folder / "pg", bin_dir=pg_bin_dir, settings=settings) as server:
            dsn = server.dsn
        async with Database(dsn) as opened:
            for _ in range(2):
                async with EmbeddedPostgres(pg_folder / "pg", bin_dir=pg_bin_dir, settings=settings):
                    await heals(opened)
                    async with opened.session() as connection:
                        assert await connection.fetchval("SHOW timezone") == "UTC"
                assert isinstance(await fails(asyncio.ensure_future(ask(opened)), CALL_S), DatabaseUnavailable)

    play(scene())


def test_links_are_watched_by_the_kernel(play: Play, database: str) -> None:
    """fault_19: what rests for an hour must not find out then that a firewall has forgotten it."""

    async def scene() -> None:
        async with wired(database) as (_, opened), opened.session() as connection:
            sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000

    play(scene())


def test_a_table_that_is_altered_costs_one_try(play: Play, database: str) -> None:
    """fault_27: what was prepared for it fits no longer, which inside a transaction is an error."""

    async def scene() -> None:
        await by_hand(database, "CREATE TABLE altered (number integer)")
        async with wired(database) as (_, opened):

            async def look() -> None:
                async with opened.session() as connection, connection.transaction():
                    await connection.fetch("SELECT number FROM altered")

            await look()
            await by_hand(database, "ALTER TABLE altered ALTER number TYPE text")
            assert isinstance(await fails(asyncio.ensure_future(look()), 1), DatabaseUnavailable)
            await look()

    play(scene())


async def by_hand(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_connection_whose_rollback_was_lost_is_not_given_to_anybody(database: str) -> None:
    """A failover between a failed statement and the ROLLBACK after it: the pool would tell of an error."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with Database(database, size=1) as opened:
        async with opened.session() as connection:
            await connection.execute("BEGIN")
            first = await connection.fetchval("SELECT pg_backend_pid()")
        async with opened.session() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != first
    assert told == []
