"""The listening port.

Owns the socket and its life: bound at entry, closed within a second at exit, whatever handlers are doing. Refuses
addresses that cannot be bound, each with the exit code that fits.
"""

import asyncio
import errno
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry

from marketd.errors import Busy, ConfigError, PrivilegeError
from marketd.web.guard import KEEP_ALIVE_S, LINGER_S, MOST_HEADERS, Connection, Door, dress, middlewares
from marketd.web.handlers import Handlers
from marketd.web.keyring import Keyring, tls_context
from marketd.web.status import Reports, Status
from marketd.webconfig import WebConfig

_SHUTDOWN_S = 1.0
_LARGEST_PORT = 65535


class Port:
    """``async with Port("127.0.0.1:8000", ...)``: answers until the block is left. Port 0 takes any free one.

    ConfigError where the certificates of ``access`` cannot be used.
    """

    def __init__(
        self,
        listen: str,
        reports: Reports,
        status: Status,
        registry: CollectorRegistry,
        door: Door | None = None,
        access: WebConfig | None = None,
    ) -> None:
        self._host, self._port = split(listen)
        access = WebConfig() if access is None else access
        self._keyring = Keyring(access.users)
        self._tls = None if access.tls is None else tls_context(access.tls)
        app = web.Application(middlewares=middlewares(self._host, self._keyring))
        app.on_response_prepare.append(dress)
        app.add_routes(Handlers(reports, status, registry).routes())
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S, access_log=None, handler_cancellation=True)
        self._door = Door() if door is None else door
        self._listener: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it really listens, as ``host:port``."""
        port = self._listener.sockets[0].getsockname()[1] if self._listener is not None else self._port
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    async def __aenter__(self) -> Self:
        """Busy when the port is taken, PrivilegeError when it is too low, ConfigError when the host is not ours."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self._runner.setup()
            try:
                # In two steps: what is cancelled while it begins to serve would leave its sockets to nobody.
                self._listener = await asyncio.get_running_loop().create_server(
                    self._connection, self._host, self._port, backlog=self._door.most, ssl=self._tls,
                    ssl_handshake_timeout=None if self._tls is None else self._door.header_s, start_serving=False,
                )  # fmt: skip
                await self._listener.start_serving()
            except OSError as error:
                raise _refused(self.address, error) from error
            stack.pop_all()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()
        self._door.clear()
        self._keyring.close()
        self._listener = None

    def _connection(self) -> Connection:
        server = self._runner.server
        if server is None:
            raise ConnectionAbortedError("the port is closed")
        return Connection(
            server,
            self._door,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_S,
            lingering_time=LINGER_S,
            max_headers=MOST_HEADERS,
        )


def split(listen: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8000`` or ``[::1]:8000``; ConfigError for anything else."""
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host) or not (port.isascii() and port.isdecimal()):
        raise ConfigError(f"listen: {listen!r} is not an address and a port, such as 127.0.0.1:8000 or [::1]:8000")
    if int(port) > _LARGEST_PORT:
        raise ConfigError(f"listen: {port} is not a port; the largest is {_LARGEST_PORT}")
    return bare, int(port)


def _refused(address: str, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return Busy(f"{address} is taken by another process: stop it, or set [http] listen to another port")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PrivilegeError(f"{address} may not be bound by this user: use a port above 1023")
    return ConfigError(f"{address} cannot be bound: {error.strerror or error}")
