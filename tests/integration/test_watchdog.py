"""The watchdog: the supervisor and ``/livez`` hear of a loop that hangs, while the process itself still answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.notify import Notifier
from marketd.rehearsal.faults import Faults, Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import get, running, until

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
WATCHDOG_S = 3


class HangingClock(ScaledClock):
    """A clock on which, from ``hang`` to ``wake``, whoever falls asleep does not wake."""

    def __init__(self, start_ms: int) -> None:
        super().__init__(start_ms)
        self._awake = asyncio.Event()
        self._awake.set()

    def hang(self) -> None:
        self._awake.clear()

    def wake(self) -> None:
        self._awake.set()

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s)
        await self._awake.wait()


class Supervisor:
    """The other end of NOTIFY_SOCKET: what was said, and when it was last said that all is well."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(WATCHDOG_S * 1_000_000)}
        self.said: list[bytes] = []

    def read(self) -> list[bytes]:
        """What was said since the last look."""
        found = []
        try:
            while True:
                found.append(self._socket.recv(4096))
        except BlockingIOError:
            self.said += found
            return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()


@asynccontextmanager
async def watched(
    database: str, folder: Path, supervisor: Supervisor
) -> AsyncIterator[tuple[Daemon, HangingClock, Faults]]:
    clock, notifier = HangingClock(START + 2 * DAY), Notifier(supervisor.environ)
    async with (
        RehearsalServer(synthetic(3, ("BTCUSD",), START, START + 9 * DAY, 0.2), clock) as server,
        running(database, folder, server.base_url, clock, notifier=notifier) as daemon,
    ):
        yield daemon, clock, server.faults


async def stays_alive(daemon: Daemon, supervisor: Supervisor, seconds: int) -> None:
    for _ in range(seconds):
        supervisor.read()
        await asyncio.sleep(1.2)  # the heart beats once a second
        assert b"WATCHDOG=1" in supervisor.read()
        assert await livez(daemon) == 200


async def livez(daemon: Daemon) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://{daemon.address}/livez") as reply:
        return reply.status


async def works(daemon: Daemon) -> bool:
    return 'marketd_lease_held{exchange="bitfinex"} 1.0' in await get(daemon, "/metrics")


async def test_it_is_alive_only_while_every_scheduler_turns(
    database: str, tmp_path: Path, supervisor: Supervisor
) -> None:
    """fault_7."""
    async with watched(database, tmp_path, supervisor) as (daemon, clock, _):
        await until(lambda: works(daemon))
        await stays_alive(daemon, supervisor, WATCHDOG_S + 1)  # no loop rests for longer than the watchdog allows
        clock.hang()

        async def dead() -> bool:
            return await livez(daemon) == 503

        await until(dead, 2 * WATCHDOG_S + 2)
        supervisor.read()
        await asyncio.sleep(WATCHDOG_S)
        assert b"WATCHDOG=1" not in supervisor.read()
        assert await livez(daemon) == 503
        assert await works(daemon), "the loop itself turns: it answers"
        clock.wake()

        async def alive() -> bool:
            return await livez(daemon) == 200 and b"WATCHDOG=1" in supervisor.read()

        await until(alive, 5)
    assert b"READY=1\nSTATUS=running" in supervisor.said
    assert any(said.startswith(b"STOPPING=1") for said in [*supervisor.said, *supervisor.read()])


async def test_a_lane_that_is_closed_waits_for_its_runs_and_is_alive_meanwhile(
    database: str, tmp_path: Path, supervisor: Supervisor
) -> None:
    """fault_8."""
    async with watched(database, tmp_path, supervisor) as (daemon, _, faults):
        faults.add(Latency(delay_s=3 * WATCHDOG_S, asks=("candles",)))
        await until(lambda: backfills(daemon))
        config = tmp_path / "marketd.toml"
        config.write_text(config.read_text() + "[exchanges.bitfinex]\npage_limit = 500\n")
        daemon.reload()
        await stays_alive(daemon, supervisor, WATCHDOG_S + 1)
        faults.clear()
        await until(lambda: works(daemon))


async def backfills(daemon: Daemon) -> bool:
    return any(job["running"] for job in (await get(daemon, "/jobs"))["jobs"])
