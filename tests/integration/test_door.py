"""The port under clients that are slow, silent, greedy or many, on both event loops: the daemon's own is uvloop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import uvloop

from marketd.metrics import Metrics
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.web.guard import Door
from marketd.web.port import Port
from tests.sites import AWAY, Site
from tests.told import Told

pytestmark = pytest.mark.once

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Runs a coroutine on one of the loops."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


@asynccontextmanager
async def port(door: Door) -> AsyncIterator[Site]:
    """A port whose database is away; what is asked here needs none."""
    async with (
        Database(AWAY, size=2) as opened,
        Port("127.0.0.1:0", Reports(opened), Told(), Metrics().registry, door) as listening,
        aiohttp.ClientSession() as http,
    ):
        yield Site(Told(), http, listening.address)


@asynccontextmanager
async def client(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, number = site.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(number))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest(reader: asyncio.StreamReader, wait_s: float = 5) -> bytes:
    """What still comes until the connection is closed or reset."""
    try:
        return await asyncio.wait_for(reader.read(), wait_s)
    except ConnectionError:
        return b""


async def answer(reader: asyncio.StreamReader) -> int:
    """Status of one whole answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    json.loads(await reader.readexactly(length))
    return int(head.split()[1])


def test_a_client_has_so_long_for_its_headers(play: Callable[..., None]) -> None:
    """fault_62."""

    async def scene() -> None:
        async with port(Door(header_s=0.3)) as site:
            for said in (b"", b"GET /livez HTTP/1.1\r\nHost: local"):
                began_s = time.monotonic()
                async with client(site) as (reader, writer):
                    writer.write(said)
                    assert await rest(reader) == b""
                assert 0.2 < time.monotonic() - began_s < 2
            assert await site.get("/livez")

    play(scene())


def test_a_client_that_trickles_its_headers_gains_nothing(play: Callable[..., None]) -> None:
    """fault_62."""

    async def scene() -> None:
        async with port(Door(header_s=0.3)) as site, client(site) as (reader, writer):
            began_s = time.monotonic()
            for byte in LIVEZ:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
                if reader.at_eof() or reader.exception() is not None:
                    break
            assert time.monotonic() - began_s < 2

    play(scene())


@pytest.mark.parametrize("at_once", [True, False])
def test_so_it_has_for_those_of_its_second_request(play: Callable[..., None], at_once: bool) -> None:
    """fault_62: half of it may come together with the first."""

    async def scene() -> None:
        async with port(Door(header_s=0.3)) as site, client(site) as (reader, writer):
            writer.write(LIVEZ + LIVEZ[:20] if at_once else LIVEZ)
            assert await answer(reader) == 200
            if not at_once:
                await asyncio.sleep(0.5)  # longer than its headers may take: a kept connection may rest
                writer.write(LIVEZ[:20])
            began_s = time.monotonic()
            assert await rest(reader) == b""
            assert time.monotonic() - began_s < 2

    play(scene())


def test_a_kept_connection_may_ask_again(play: Callable[..., None]) -> None:
    async def scene() -> None:
        async with port(Door(header_s=0.3)) as site, client(site) as (reader, writer):
            for _ in range(3):
                writer.write(LIVEZ)
                assert await answer(reader) == 200
                await asyncio.sleep(0.4)

    play(scene())


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost:", LIVEZ], ids=["silent", "half", "kept"])
def test_however_many_come_the_next_one_is_answered_at_once(play: Callable[..., None], said: bytes) -> None:
    """fault_62: 290 clients, of whom none may hold a place that another one needs."""

    async def scene() -> None:
        door = Door(most=64, header_s=30)
        async with port(door) as site:
            host, _, number = site.address.rpartition(":")
            crowd = [await asyncio.open_connection(host, int(number)) for _ in range(290)]
            for _, writer in crowd:
                writer.write(said)
            await asyncio.sleep(0.2)
            assert len(door.inside) <= door.most
            began_s = time.monotonic()
            assert await site.get("/livez")
            assert time.monotonic() - began_s < 1
            for _, writer in crowd:
                writer.transport.abort()

    play(scene())


def test_who_does_not_take_an_answer_makes_room_in_the_end(play: Callable[..., None]) -> None:
    """fault_66."""

    async def scene() -> None:
        stuck = asyncio.Event()

        class Stuck(Reports):
            async def ping(self) -> float:
                stuck.set()
                await asyncio.Event().wait()
                return 0

        door = Door(most=2, patience_s=0.4)
        async with (
            Database(AWAY, size=2) as opened,
            Port("127.0.0.1:0", Stuck(opened), Told(), Metrics().registry, door) as listening,
            aiohttp.ClientSession() as http,
        ):
            site = Site(Told(), http, listening.address)
            async with client(site) as (one, first), client(site) as (_, second):
                for writer in (first, second):
                    writer.write(LIVEZ.replace(b"livez", b"health"))
                await stuck.wait()
                await asyncio.sleep(0.1)
                async with client(site) as (late, _):
                    assert await rest(late) == b"", "for a while there is no room"
                await asyncio.sleep(0.5)
                assert await site.get("/livez")
                assert await rest(one) == b""

    play(scene())


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_body_of_two_megabytes_is_not_taken(play: Callable[..., None], method: bytes) -> None:
    """fault_63."""

    async def scene() -> None:
        async with port(Door()) as site, client(site) as (reader, writer):
            writer.write(method + b" /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n")
            assert await answer(reader) == (405 if method == b"POST" else 200)
            began_s = time.monotonic()
            try:
                for _ in range(200):
                    writer.write(b"x" * 10_000)
                    await writer.drain()
                    await asyncio.sleep(0.05)
            except ConnectionError:
                pass
            await rest(reader)
            assert time.monotonic() - began_s < 5

    play(scene())


def test_a_start_that_is_cancelled_leaves_no_socket(play: Callable[..., None]) -> None:
    """fault_2: in whichever turn of the loop."""

    def sockets() -> int:
        return sum(
            1 for one in Path("/proc/self/fd").iterdir() if one.is_symlink() and "socket:" in str(one.readlink())
        )

    async def started(turns: int) -> bool:
        async with Database(AWAY, size=2) as opened:
            port = Port("127.0.0.1:0", Reports(opened), Told(), Metrics().registry)
            starting = asyncio.ensure_future(port.__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await (await starting).__aexit__(None, None, None)
            return not starting.cancelled()

    async def scene() -> None:
        before, turns = sockets(), 0
        while not await started(turns):
            assert sockets() == before, f"cancelled after {turns} turns"
            turns += 1
        assert turns > 1, "it was cancelled on its way"

    play(scene())
