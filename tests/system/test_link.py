"""Sessions with a database over a link that dies without a word; the kernel of this host is all that notices."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from marketd.errors import DatabaseUnavailable
from marketd.store.session import Database
from tests.conftest import BackgroundLoop
from tests.integration.test_sessions import (
    CALL_S,
    SLACK_S,
    Body,
    ask,
    change,
    change_within,
    fails,
    gives_way,
    heals,
    soon,
)
from tests.system.link import NEAR, Link, laid
from tests.wire import Wire

Scene = Callable[[Database], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def link() -> Iterator[Link]:
    with laid() as link:
        yield link


@pytest.fixture
def play(link: Link, background: BackgroundLoop, database: str) -> Iterator[Play]:
    """Plays a scene at the far end, on the daemon's own event loop, with a pool that has been used."""
    wire = Wire(database, at=NEAR)
    entered = wire.laid()
    background.run(entered.__aenter__())

    async def played(scene: Scene) -> None:
        async with Database(wire.dsn, size=2) as opened:
            await ask(opened)
            await scene(opened)

    def run(scene: Scene) -> None:
        def work() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(played(scene))

        link.from_afar(work)

    try:
        yield run
    finally:
        background.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("body", [change, change_within, lambda opened: ask(opened, "SELECT pg_sleep(60)")])
def test_a_link_that_dies_ends_every_call_and_heals(play: Play, link: Link, body: Body) -> None:
    """fault_18: in a query, in a transaction, under a savepoint, and for who wants a connection meanwhile."""

    async def scene(opened: Database) -> None:
        call = asyncio.ensure_future(body(opened))
        await soon(call)
        link.cut()
        late = asyncio.ensure_future(ask(opened))
        assert isinstance(await fails(call, CALL_S), DatabaseUnavailable)
        assert isinstance(await fails(late, CALL_S), DatabaseUnavailable)
        link.mend()
        await heals(opened)

    play(scene)


def test_a_link_that_dies_holds_no_cancellation_and_no_stop(play: Play, link: Link) -> None:
    """fault_3, fault_18."""
    ended_s = 0.0

    async def scene(opened: Database) -> None:
        nonlocal ended_s
        call = asyncio.ensure_future(change(opened))
        await soon(call)
        link.cut()
        await gives_way(call)
        ended_s = time.monotonic()

    play(scene)
    assert time.monotonic() - ended_s < CALL_S + SLACK_S, "the pool was closed in time"


def test_connections_that_a_firewall_forgot_are_replaced(play: Play, link: Link) -> None:
    """fault_19: idle ones get no answer any more, and no refusal; new ones do."""

    async def scene(opened: Database) -> None:
        await asyncio.gather(*(ask(opened, "SELECT pg_sleep(0.2)") for _ in range(2)))  # both connections are open
        link.forget()
        assert isinstance(await fails(asyncio.ensure_future(ask(opened)), CALL_S), DatabaseUnavailable)
        await heals(opened)  # though the other connection was as old

    play(scene)
