"""A TCP address in front of the private PostgreSQL: it can be cut, held, slowed and mended, and counts who comes.

With ``lingers`` it hides that the server has hung up: what the server said last is all that is known.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit


def asked_of(dsn: str) -> dict[str, str]:
    """What a DSN says behind its question mark: host, port, user …"""
    return {name: values[0] for name, values in parse_qs(urlsplit(dsn).query).items()}


class Wire:
    """``dsn`` leads through it; ``attempts`` are the times (monotonic, s) at which a connection was begun."""

    def __init__(self, behind: str, *, lingers: bool = False, at: str = "127.0.0.1") -> None:
        query = asked_of(behind)
        self._path = f"{query['host']}/.s.PGSQL.{query['port']}"
        word = f":{query['password']}" if "password" in query else ""
        self._at = at
        self._name = f"{query['user']}{word}@{at}:{{}}{urlsplit(behind).path}"
        self._ends: set[asyncio.StreamWriter] = set()
        self._whole = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0
        self._last_words: bytes | None = None
        self._before = 0
        self.lost = 0
        self._lingers = lingers
        self.hung_up = asyncio.Event()
        self._port = 0
        self.attempts: list[float] = []

    @property
    def dsn(self) -> str:
        return f"postgresql://{self._name.format(self._port)}"

    def cut(self) -> None:
        """What is connected is reset, and so is whoever comes from now on."""
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    def hold(self) -> None:
        """A black hole: whoever comes is taken, what is sent is taken too, and nothing arrives."""
        self._flowing.clear()

    def slow(self, delay_s: float) -> None:
        """From now on each message of a client arrives ``delay_s`` later."""
        self._delay_s = delay_s

    def mend(self) -> None:
        self._whole = True
        self._flowing.set()

    def lose_answer_to(self, words: bytes, before: int = 0) -> None:
        """When a client has sent ``words`` as often as ``before``, they arrive once more, and the answer does not."""
        self._last_words, self._before = words, before

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._serve, self._at, 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts.append(time.monotonic())
        self._ends.add(writer)
        try:
            if self._whole:
                await self._carry_both(reader, writer)
        except OSError:
            pass  # the server is away
        finally:
            self._ends.discard(writer)
            writer.transport.abort()

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._path)
        self._ends.add(forth)
        try:
            async with asyncio.TaskGroup() as group:
                lost = asyncio.Event()
                group.create_task(self._carry(reader, forth, lost, asking=True))
                group.create_task(self._carry(back, writer, lost, asking=False))
        finally:
            self._ends.discard(forth)
            forth.transport.abort()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: asyncio.Event, *, asking: bool
    ) -> None:
        """All that comes, until either end is gone: then the other one goes too."""
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                if asking:
                    await asyncio.sleep(self._delay_s)
                if asking and self._last_words is not None and self._last_words in data:
                    self._before -= 1
                    if self._before < 0:
                        self._last_words = None
                        lost.set()
                elif not asking and lost.is_set():
                    self.lost += 1
                    break
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        if asking or lost.is_set() or not self._lingers:
            sink.close()
        if not asking:
            self.hung_up.set()
