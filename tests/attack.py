"""A crowd at the port, in a process of its own: ``python -m tests.attack HOST PORT SECONDS``.

290 clients at a time that say nothing, trickle headers, send rubbish, ask for all that is dear, or leave before the
answer; each comes again as soon as it is thrown out. Prints how often they came.
"""

import asyncio
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

CLIENTS: Final = 290
HEAD: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
DEAR: Final = ("/ingestion/status", "/metrics", "/coverage?symbol=BTCUSD&timeframe=1m", "/gaps?limit=1000", "/")

_chance = random.Random(1)


def silent() -> Iterator[bytes]:
    yield b""


def trickling() -> Iterator[bytes]:
    yield HEAD
    yield from [b"A: b\r\n"] * 50


def rubbish() -> Iterator[bytes]:
    yield _chance.choice((
        _chance.randbytes(200) + b"\r\n\r\n", b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00",
        HEAD + b"A: 1\r\n" * 1000 + b"\r\n", HEAD + b"A: \x00\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 200_000,
    ))  # fmt: skip


def dear() -> Iterator[bytes]:
    for _ in range(20):
        yield f"GET {_chance.choice(DEAR)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def keeping() -> Iterator[bytes]:
    for _ in range(50):
        yield HEAD + b"\r\n"


KINDS: Final[tuple[Callable[[], Iterator[bytes]], ...]] = (silent, trickling, rubbish, dear, keeping)


async def client(host: str, port: int, kind: Callable[[], Iterator[bytes]], ends_s: float, came: Iterator[int]) -> None:
    while time.monotonic() < ends_s:
        next(came)
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        try:
            for said in kind():
                writer.write(said)
                await writer.drain()
                async with asyncio.timeout(0.5):
                    if not await reader.read(4096):
                        break
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        await asyncio.sleep(0.1)


async def attack(host: str, port: int, seconds: float) -> int:
    ends_s, came = time.monotonic() + seconds, itertools.count()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(host, port, KINDS[number % len(KINDS)], ends_s, came))
    return next(came)


if __name__ == "__main__":
    print(asyncio.run(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
