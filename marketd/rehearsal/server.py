"""Serving the rehearsal exchange on loopback.

Owns the listening socket and its end. Refuses addresses that others can reach: the run-time control has no password.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiohttp import web

from marketd.clock import Clock
from marketd.errors import UsageError
from marketd.rehearsal.dialect import Dialect
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.exchange import create_app
from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market
from marketd.rehearsal.stats import Stats

SHUTDOWN_S = 0.2  # a request that hangs on purpose must not delay the end


class RehearsalServer:
    """``async with RehearsalServer(market, clock) as server``: serves at ``server.base_url`` until the block ends."""

    def __init__(
        self,
        market: Market,
        clock: Clock,
        faults: Faults | None = None,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        symbols: Sequence[str] | None = None,
        dialect: str | Dialect = "bitfinex",
    ) -> None:
        if not _loopback(host):
            raise UsageError(f"the rehearsal exchange listens on loopback only, not on {host!r}")
        self.faults = Faults(clock) if faults is None else faults
        self.stats = Stats(clock.now_ms())
        self._host = host
        self._port = port
        self._dialect = spoken(dialect) if isinstance(dialect, str) else dialect
        app = create_app(market, clock, self._dialect, self.faults, symbols, self.stats)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)

    @property
    def base_url(self) -> str:
        """The address for ``[exchanges.NAME] base_url``, ending as the exchange's own does."""
        return f"{self.root_url}{self._dialect.prefix}"

    @property
    def root_url(self) -> str:
        """The address below which ``/rehearsal/…`` lies."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._runner.cleanup)
            await self._runner.setup()
            try:
                await web.TCPSite(self._runner, self._host, self._port).start()
            except OSError as error:
                raise UsageError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
            stack.pop_all()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


async def serve(
    market: Market,
    clock: Clock,
    faults: Faults | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[RehearsalServer], None] | None = None,
) -> None:
    """Serves until cancelled; ``on_ready`` is told the server once it listens. UsageError when it cannot."""
    async with RehearsalServer(market, clock, faults, port, host=host) as server:
        if on_ready is not None:
            on_ready(server)
        await asyncio.Event().wait()


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
