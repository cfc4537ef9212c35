"""Replies that no exchange sends, by the wire; and a process of its own that asks for one and says what it cost.

``python -m tests.hostile URL TOTAL_S`` gets ``URL`` through the transport and prints one line of JSON: how it ended,
seconds, how much the memory grew at its worst, and how long the event loop was held at its longest.
"""

import asyncio
import json
import os
import ssl
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import aiohttp

from marketd.clock import SystemClock
from marketd.errors import ExchangeError
from marketd.exchanges.facts import Request
from marketd.transport import TIMEOUT, Transport

MEGABYTE: Final = 1_000_000
ROOT: Final = Path(__file__).parents[1]
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Wire = Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Cost:
    """What one reply cost the process that asked for it."""

    ending: str
    seconds: float
    grown_mb: float
    held_s: float


def large(megabytes: int = 300) -> Iterator[bytes]:
    yield OK + f"Content-Length: {megabytes * MEGABYTE}\r\n\r\n".encode()
    yield from [b"[" + b"1," * (MEGABYTE // 2)] * megabytes


def large_without_a_length(megabytes: int = 300) -> Iterator[bytes]:
    yield OK + b"Connection: close\r\n\r\n"
    yield from [b"1" * MEGABYTE] * megabytes


def large_in_chunks(megabytes: int = 300) -> Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from [f"{MEGABYTE:x}\r\n".encode() + b"1" * MEGABYTE + b"\r\n"] * megabytes


def tiny_chunks() -> Iterator[bytes]:
    """Eight megabytes by the byte: each has a chunk of its own."""
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from [b"1\r\n1\r\n" * 10_000] * 2_000


def long_chunk_line() -> Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n5;"
    yield from [b"x" * MEGABYTE] * 300


def bomb() -> Iterator[bytes]:
    """A gigabyte, packed into one megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + head
    yield from [block] * 1024


def packed_nothing() -> Iterator[bytes]:
    """Empty blocks for ever: unpacked they are nothing."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + packer.flush(zlib.Z_FULL_FLUSH)
    while True:
        yield b"\x00\x00\x00\xff\xff" * 20_000


def many_headers() -> Iterator[bytes]:
    yield OK + b"".join(b"X-%d: 1\r\n" % number for number in range(100_000)) + b"\r\n[]"


def many_trailers() -> Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n"
    yield b"".join(b"X-%d: 1\r\n" % number for number in range(100_000)) + b"\r\n"


def long_header() -> Iterator[bytes]:
    yield OK + b"X: "
    yield from [b"x" * MEGABYTE] * 300


def long_status() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 "
    yield from [b"x" * MEGABYTE] * 300


def flood_of_hints() -> Iterator[bytes]:
    """Informational replies without an end."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2_000


def calm() -> Iterator[bytes]:
    yield OK + b"Content-Length: 2\r\n\r\n[]"


def switching() -> Iterator[bytes]:
    """Another protocol that nobody asked for, and a lot of it."""
    yield b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    yield from [b"x" * MEGABYTE] * 300


WIRES: Final[dict[str, Wire]] = {
    wire.__name__: wire
    for wire in (
        large, large_without_a_length, large_in_chunks, tiny_chunks, long_chunk_line, bomb, packed_nothing,
        many_headers, many_trailers, long_header, long_status, flood_of_hints, switching,
    )
}  # fmt: skip


@asynccontextmanager
async def sending(wire: Wire, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A loopback server that answers every request with ``wire``; yields its base URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in wire():
                writer.write(part)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"


async def cost_of(base: str, total_s: float, **environ: str) -> Cost:
    """What the reply of ``base`` costs a process that gives it ``total_s`` seconds."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hostile", base, str(total_s),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, **environ},
    )  # fmt: skip
    told, _ = await child.communicate()
    return Cost(**json.loads(told))


def _resident_mb() -> float:
    """The most that was ever resident; getrusage counts the parent in, which lent its memory to begin with."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


async def _measured(base: str, total_s: float) -> Cost:
    timeout = aiohttp.ClientTimeout(total=total_s, connect=TIMEOUT.connect, sock_read=min(total_s, 10))
    held: list[float] = []
    async with Transport(SystemClock(), timeout=timeout) as transport, sending(calm) as other:
        await transport.send(other, Request("/"))  # what is imported and allocated once is no growth
        before_mb, began_s = _resident_mb(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(_beat(held))
            try:
                ending = f"{(await transport.send(base, Request('/'))).status}"
            except ExchangeError as error:
                ending = f"{type(error).__name__}: {error}"
            beat.cancel()
        return Cost(ending, time.monotonic() - began_s, _resident_mb() - before_mb, max(held, default=0.0))


async def _beat(held: list[float]) -> None:
    """How much later than wanted the loop came round, each time."""
    while True:
        began_s = time.monotonic()
        await asyncio.sleep(0.005)
        held.append(time.monotonic() - began_s - 0.005)


def main() -> None:
    cost = asyncio.run(_measured(sys.argv[1], float(sys.argv[2])))
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
