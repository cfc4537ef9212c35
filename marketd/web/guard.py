"""The port's door: who is let in, for how long, and what leaves.

Owns the deadlines and the number of connections, the check of the Host header, the JSON of errors, and the headers of
every answer. aiohttp has neither a deadline for headers nor a cap on connections; without them a few hundred silent
clients take every file descriptor, and the daemon stops fetching.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from marketd.address import is_loopback
from marketd.errors import MarketdError
from marketd.text import clean
from marketd.web.health import reason
from marketd.web.keyring import Keyring, TooManyLooks
from marketd.web.params import BadParameter

log = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 30.0
LINGER_S: Final = 1.0
MOST_HEADERS: Final = 64

_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_KEPT: Final = ("Allow", "Retry-After", "WWW-Authenticate")
_DETAILS: Final = {404: "no such path", 405: "only GET and HEAD are answered here", 413: "too large"}


@dataclass(slots=True)
class Door:
    """How many may be inside, and how long a client may take to send its headers and then to take its answer.

    When all places are taken, who comes gets the place of whoever has waited longest without a request under way; of
    those that have one, only the place of who has not taken the answer for ``patience_s``.
    """

    most: int = 64
    header_s: float = 3.0
    request_s: float = 30.0
    patience_s: float = 5.5  # no statement of the port takes longer than five
    inside: dict["Connection", None] = field(default_factory=dict)

    def enter(self, who: "Connection") -> None:
        self.inside[who] = None
        if len(self.inside) > self.most:
            self._to_make_room(who).throw_out()

    def move_back(self, who: "Connection") -> None:
        """``who`` has done something, and is now the one that was heard of last."""
        if self.inside.pop(who, self) is None:
            self.inside[who] = None

    def clear(self) -> None:
        for one in list(self.inside):
            one.throw_out()

    def leave(self, who: "Connection") -> None:
        self.inside.pop(who, None)

    def _to_make_room(self, newcomer: "Connection") -> "Connection":
        waiting = (one for one in self.inside if one.asked_s is None)
        longest = next(waiting, newcomer)
        if longest is not newcomer:
            return longest
        impatient_s = asyncio.get_running_loop().time() - self.patience_s
        return next((one for one in self.inside if one.asked_s is not None and one.asked_s < impatient_s), newcomer)


class Connection(web.RequestHandler):
    """A client; it is thrown out when its time is up.

    ``asked_s`` is when its request was read (the loop's time), None while none is being answered.
    """

    __slots__ = ("_bell", "_door", "_heard", "_line", "asked_s")

    def __init__(self, server: web.Server, door: Door, **options: Any) -> None:
        super().__init__(server, **options)
        self._door = door
        self._bell: asyncio.TimerHandle | None = None
        self._line: asyncio.BaseTransport | None = None
        self._heard = True  # the time for a request's headers is running
        self.asked_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._line = transport
        self._ring_in(self._door.header_s)
        self._door.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.leave(self)
        if self._bell is not None:
            self._bell.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._heard and self.asked_s is None:
            self._ring_in(self._door.header_s)
        # Whatever does not end with a head may be half of one, of which no more may ever come.
        self._heard = not data.endswith(b"\r\n\r\n")
        super().data_received(data)

    def asked(self) -> None:
        """A request was read: the time for its answer begins."""
        self.asked_s = asyncio.get_running_loop().time()
        self._door.move_back(self)
        self._ring_in(self._door.request_s)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; then the time for the next request begins."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.asked_s = None
            self._door.move_back(self)
            self._ring_in(self._door.header_s if self._heard else KEEP_ALIVE_S)

    def _ring_in(self, delay_s: float) -> None:
        if self._bell is not None:
            self._bell.cancel()
        self._bell = asyncio.get_running_loop().call_later(delay_s, self.throw_out)

    def throw_out(self) -> None:
        # aiohttp forgets a transport that it has closed, even while that waits for a client to take what is left.
        if self._line is not None:
            cast(asyncio.Transport, self._line).abort()  # those of uvloop only look like one

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Malformed requests and faults of ours: one short line in the log, and an answer that says nothing."""
        ours = status >= 500
        fields = {"status": status, "error": type(exc).__name__ if exc else message, "once": f"{status}"}
        if ours and exc is not None:
            fields["text"] = clean(str(exc))
        event = "http handler failed" if ours else "http request refused"
        log.log(logging.ERROR if ours else logging.INFO, event, extra={"fields": fields})
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; it can only be cut off")
        detail = "internal error" if ours else "not a request that can be read"
        # Without this name aiohttp would add its own, with versions.
        headers = {**_HEADERS, "Server": "marketd"}
        response = web.json_response({"detail": detail}, status=status, headers=headers)
        response.force_close()
        return response


def middlewares(bound: str, keyring: Keyring) -> tuple[Middleware, ...]:
    """For a port bound to the host ``bound``; a loopback port answers to its own names only."""
    return (_named(_names(bound)), _known(keyring), _json_errors)


def _names(bound: str) -> frozenset[str] | None:
    """The names under which the port may be asked; None: any. A foreign name is a page that rebinds its DNS to us."""
    if not is_loopback(bound):
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", bound.lower()})


def _host_of(header: str) -> str:
    """The host in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if header.count(":") == 1 else header.lower()


def _named(names: frozenset[str] | None) -> Middleware:
    @web.middleware
    async def named(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.asked()
        host = request.headers.get("Host")
        if names is not None and host is not None and _host_of(host).rstrip(".") not in names:
            return _error(421, "this port answers to localhost only")
        return await handler(request)

    return named


def _known(keyring: Keyring) -> Middleware:
    @web.middleware
    async def known(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        # Whether the process lives, its own host may ask as it stands: systemd and containers have no password.
        if keyring.open or (request.path == "/livez" and is_loopback(request.remote or "")):
            return await handler(request)
        try:
            admitted = await keyring.admits(request.headers.get("Authorization"))
        except TooManyLooks:
            return _error(503, "too many passwords to look at", {"Retry-After": "1"})
        if not admitted:
            return _error(401, "name and password are needed", {"WWW-Authenticate": 'Basic realm="marketd"'})
        return await handler(request)

    return known


@web.middleware
async def _json_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadParameter as error:
        return _error(422, str(error))
    except MarketdError as error:
        log.warning(
            "http read failed", extra={"fields": {"path": request.path, "error": error, "once": type(error).__name__}}
        )
        return _error(503, reason(error))
    except web.HTTPException as error:
        return _error(error.status, _detail(error), error.headers)


def _detail(error: web.HTTPException) -> str:
    """The handler's own words where it gave some; aiohttp's default only repeats the status."""
    if error.text and error.text != f"{error.status}: {error.reason}":
        return error.text
    return _DETAILS.get(error.status, error.reason)


def _error(status: int, detail: str, headers: Any = ()) -> web.Response:
    kept = {name: value for name, value in dict(headers).items() if name in _KEPT}
    return web.json_response({"detail": detail}, status=status, headers=kept)


async def dress(_: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer; runs when aiohttp has added its own."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)
