"""How requests leave and replies come in.

Owns the one HTTP client: time limits, the size a reply may have, which addresses may be spoken to, and the
translation of everything that can go wrong on the way into ``Unreachable`` or ``BadReply``. Refuses redirects, cookies,
the environment's proxies, and to read what a body says: a reply of any status is handed on undecoded.
"""

import asyncio
import email.utils
import errno
import functools
import re
import socket
import time
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from marketd import __version__
from marketd.address import is_loopback, is_public
from marketd.clock import Clock, at, ms_of
from marketd.errors import BadReply, Refused, Unreachable
from marketd.exchanges.facts import Reply, Request
from marketd.text import clean

MAX_BODY: Final = 8 * 1024 * 1024
CHUNK: Final = 64 * 1024
MAX_HEAD: Final = 64 * 1024
_PACKING: Final = 1024 * 1024  # what chunk sizes may add to a body on the wire
_WORK_S: Final = 0.2  # of this thread's own time; taking in the largest page costs a tenth of it
WEEK_S: Final = 7 * 86_400.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=10, sock_connect=5, sock_read=10)

_SECONDS = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,9})?", re.ASCII)


class Transport:
    """Requests, with the limits above. Use as ``async with Transport(clock) as transport``; one is enough for all."""

    def __init__(
        self,
        clock: Clock,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        max_body: int = MAX_BODY,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._max_body = max_body
        self._resolver = resolver
        self._proxy_hosts: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        guard = GuardedResolver(self._resolver or aiohttp.ThreadedResolver(), self._proxy_hosts)
        connector = _Connector(self._max_body, limit=32, limit_per_host=4, resolver=guard, ttl_dns_cache=60)
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                raise_for_status=False,
                max_line_size=8190,
                max_field_size=8190,
                headers={"User-Agent": f"marketd/{__version__}", "Accept": "application/json"},
            )
        )
        self._stack.push_async_callback(guard.close)
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self._stack.aclose()

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        """The reply to ``request``, whatever its status.

        Unreachable: connection, TLS, time limit, a reply that is no HTTP, a redirect, an address that may not be
        spoken to. BadReply: a body over ``max_body``. Refused: a path that cannot be written down safely.
        """
        url = url_of(base_url, request)
        host = url.host or ""
        if proxy is None:
            _refuse_literal(host)
        else:
            self._proxy_hosts.add(URL(proxy).host or "")
        try:
            async with self._session.request(
                "GET" if request.body is None else "POST", url, data=request.body, headers=_headers(request),
                proxy=proxy, allow_redirects=False,
            ) as response:  # fmt: skip
                return await self._read(host, response)
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise Unreachable(clean(f"{host}: {_said(error)}")) from error

    async def _read(self, host: str, response: aiohttp.ClientResponse) -> Reply:
        if 300 <= response.status < 400:
            raise Unreachable(clean(f"{host}: answered with a redirect ({response.status}), which is not followed"))
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > self._max_body:
                response.close()
                raise BadReply(clean(f"{host}: the reply is larger than {self._max_body} bytes"))
        date_ms = date_of(response.headers.get("Date"))
        return Reply(
            status=response.status,
            body=bytes(body),
            content_type=response.content_type,
            date_ms=date_ms,
            age_s=seconds_of(response.headers.get("Age")) or 0.0,
            retry_after_s=retry_after(
                response.headers.get("Retry-After"), self._clock.now_ms() if date_ms is None else date_ms
            ),
            headers={name.lower(): value for name, value in response.headers.items()},
        )


def _headers(request: Request) -> dict[str, str]:
    kind = {} if request.body is None else {"Content-Type": "application/json"}
    return {**kind, **dict(request.headers)}


class _Connector(aiohttp.TCPConnector):
    """Its connections count what they receive."""

    def __init__(self, max_body: int, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no public place for this; without it a flood of 1xx replies, or of chunks of a byte each, keeps
        # the whole process busy for as long as a request may take.
        self._factory: Any = functools.partial(_Counting, self._loop, max_body + _PACKING)


class _Counting(ResponseHandler):
    """A connection that is cut once a reply is longer than its head or all of it may be, or takes too much work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        super().__init__(loop)
        self._most = most
        self._received, self._worked_s, self._in_head = 0, 0.0, True

    def set_response_params(self, **params: Any) -> None:
        """Called for each request."""
        self._received, self._worked_s, self._in_head = 0, 0.0, True
        super().set_response_params(**params)

    def feed_data(self, data: tuple[Any, StreamReader], size: int = 0) -> None:
        """Called for each head; an informational one is followed by another."""
        self._in_head = self._in_head and 100 <= data[0].code < 200
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        # The piece in which the head ends may be as long as the system hands on at once; it is not counted before.
        if self._received > (MAX_HEAD if self._in_head else self._most) or self._worked_s > _WORK_S:
            failure = aiohttp.ClientPayloadError("the reply is longer, or in more pieces, than one may be")
            self.set_exception(failure)
            if self._payload is not None:
                self._payload.set_exception(failure)
            self.abort()
            return
        self._received += len(data)
        began_s = time.thread_time()
        super().data_received(data)
        self._worked_s += time.thread_time() - began_s


def url_of(base_url: str, request: Request) -> URL:
    """``request`` below ``base_url``, percent-encoded; colons stay as they are.

    Refused: a path that would not arrive as it was written (dot segments, a slash in disguise).
    """
    base = URL(base_url)
    path = base.path.rstrip("/") + request.path
    url = base.with_path(path)
    if url.path != path or not request.path.startswith("/"):
        raise Refused(f"the path {clean(request.path, 80)!r} cannot be sent")
    return url.with_query(request.query) if request.query else url


def seconds_of(header: str | None) -> float | None:
    """Seconds in a header, between nothing and a week; None where it holds none."""
    if header is None or not _SECONDS.fullmatch(header.strip()):
        return None
    return min(max(float(header), 0.0), WEEK_S)


def date_of(header: str | None) -> int | None:
    """``_ms`` of an HTTP date, None where it is none."""
    if header is None:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(header[:64])
        return ms_of(moment if moment.tzinfo else moment.replace(tzinfo=at(0).tzinfo))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(header: str | None, now_ms: int) -> float | None:
    """Seconds to wait by a ``Retry-After`` of seconds or of a date, between nothing and a week."""
    seconds = seconds_of(header)
    if seconds is not None:
        return seconds
    until_ms = date_of(header)
    return None if until_ms is None else min(max((until_ms - now_ms) / 1000, 0.0), WEEK_S)


def _said(error: BaseException) -> str:
    """What went wrong in a few words; the texts of aiohttp may hold URLs with secrets, so few of them are used."""
    if isinstance(error, TimeoutError):
        return str(error) or "no complete answer within the time limit"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the reply is not HTTP that can be read ({error.message})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not an address"
    return str(error) or type(error).__name__


def _refuse_literal(host: str) -> None:
    """A literal address never meets the resolver."""
    try:
        public = is_public(host)
    except ValueError:
        return
    if not public and not is_loopback(host):
        raise Unreachable(clean(f"{host}: a private address is not spoken to"))


class GuardedResolver(AbstractResolver):
    """Names to addresses, refusing names that lead into the private network.

    A loopback name may only lead to the loopback, any other name only to public addresses. The hosts in ``trusted``
    (the proxies of the configuration) may be anywhere.
    """

    def __init__(self, inner: AbstractResolver, trusted: set[str]) -> None:
        self._inner = inner
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._trusted:
            return found
        for entry in found:
            address = entry["host"]
            if not (is_loopback(address) if is_loopback(host) else is_public(address)):
                raise OSError(errno.EACCES, f"{host} leads to a private address, {address}, which is not spoken to")
        return found

    async def close(self) -> None:
        await self._inner.close()
