"""What is done to a stage, a trouble a minute: each is over, and all is whole again, before the next one comes."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from marketd.rehearsal.faults import (
    Fault,
    Hang,
    Late,
    Latency,
    Maintenance,
    Malformed,
    PageLimit,
    RateLimit,
    Reset,
    ServerError,
    Truncated,
)
from tests.soak.stage import SYMBOLS, Stage

Trouble = Callable[[Stage], Awaitable[None]]
LASTS_S: Final = 20.0
OUTAGE_S: Final = 600.0
_READERS: Final = 40


def _at_the_exchange(*faults: Fault) -> Trouble:
    async def happens(stage: Stage) -> None:
        stage.exchange.faults.add(*faults)
        await asyncio.sleep(LASTS_S)
        stage.exchange.faults.clear()

    return happens


async def _cut(stage: Stage) -> None:
    stage.wire.cut()
    await asyncio.sleep(LASTS_S)
    stage.wire.mend()


async def _black_hole(stage: Stage) -> None:
    stage.wire.hold()
    await asyncio.sleep(LASTS_S)
    stage.wire.mend()


async def _slow_database(stage: Stage) -> None:
    stage.wire.slow(0.05)
    await asyncio.sleep(LASTS_S)
    stage.wire.slow(0)


async def _terminated(stage: Stage) -> None:
    await stage.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'marketd%'")


async def _restarted(stage: Stage) -> None:
    await stage.server.stop()
    await stage.server.start()


async def _hung_up(stage: Stage) -> None:
    for _ in range(50):
        stage.daemon.send(signal.SIGHUP)
        await asyncio.sleep(0.1)


async def _frozen(stage: Stage) -> None:
    stage.daemon.send(signal.SIGSTOP)
    await asyncio.sleep(8)
    stage.daemon.send(signal.SIGCONT)


async def _paused(stage: Stage) -> None:
    await stage.command("jobs", "pause", "--exchange", "bitfinex")
    await asyncio.sleep(LASTS_S)
    await stage.command("jobs", "resume", "--exchange", "bitfinex")


async def _crowded(stage: Stage) -> None:
    async def reader() -> None:
        for path in ("/ingestion/status", "/jobs", "/gaps", "/metrics", "/") * 4:
            await stage.daemon.get(path)

    async with asyncio.TaskGroup() as group:
        for _ in range(_READERS):
            group.create_task(reader())


async def _ordered(stage: Stage) -> None:
    """Everything of one market once more, given up by Ctrl-C's like where it takes too long."""
    async with asyncio.timeout(LASTS_S * 2):
        await stage.command("backfill", "--symbol", SYMBOLS[2], "--timeframe", "1m", "--refetch")


TROUBLES: Final[Mapping[str, Trouble]] = {
    "exchange down": _at_the_exchange(ServerError(status=503)),
    "database cut off": _cut,
    "throttled": _at_the_exchange(RateLimit(per_minute=20, block_s=15, retry_after="seconds")),
    "hang-ups": _hung_up,
    "slow exchange": _at_the_exchange(Latency(delay_s=2)),
    "database silent": _black_hole,
    "silent exchange": _at_the_exchange(Hang(count=3, delay_s=15), Hang(count=3, delay_s=15, where="body")),
    "backends terminated": _terminated,
    "connections reset": _at_the_exchange(Reset(share=0.5)),
    "order by hand": _ordered,
    "bodies cut short": _at_the_exchange(Truncated(share=0.5), Truncated(share=0.5, framing="none")),
    "frozen": _frozen,
    "unreadable": _at_the_exchange(Malformed(how="html", share=0.3), Malformed(how="cut", share=0.3)),
    "server restarted": _restarted,
    "rows that lie": _at_the_exchange(Malformed(how="implausible", share=0.3), Malformed(how="conflict", share=0.3)),
    "port crowded": _crowded,
    "late candles": _at_the_exchange(Late(delay_s=30)),
    "slow database": _slow_database,
    "short pages": _at_the_exchange(PageLimit(rows=100)),
    "paused": _paused,
    "maintenance": _at_the_exchange(Maintenance()),
}


async def outage(stage: Stage) -> None:
    """Ten minutes without the database."""
    stage.wire.cut()
    await asyncio.sleep(OUTAGE_S)
    stage.wire.mend()
