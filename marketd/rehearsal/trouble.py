"""Trouble on the wire: everything that goes wrong besides the content of a page.

Owns throttling, silence, broken connections, refusals of the edge and broken framing. Refuses to know candles.
"""

import asyncio
import math
import socket
import struct
from collections import deque
from dataclasses import replace
from email.utils import formatdate

from aiohttp import web

from marketd.clock import Clock
from marketd.rehearsal.damage import HTML_PAGE, JSON, Body
from marketd.rehearsal.dialect import Dialect
from marketd.rehearsal.faults import (
    Fault,
    Faults,
    Hang,
    Huge,
    Latency,
    Maintenance,
    RateLimit,
    Redirect,
    Reset,
    ServerError,
    Truncated,
)
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked

MEGABYTE = 1_000_000


class Trouble:
    """Applies the wire faults to an ask; keeps what rate limits must remember."""

    def __init__(self, clock: Clock, faults: Faults, dialect: Dialect) -> None:
        self.clock = clock
        self.faults = faults
        self._dialect = dialect
        self._limits: dict[tuple[Fault, str], _Limit] = {}

    def forget(self) -> None:
        """Ends all blocks and empties the windows of the rate limits."""
        self._limits.clear()

    async def instead_of_answer(self, request: web.Request, asked: Asked) -> web.StreamResponse | None:
        """What comes instead of an answer, or None when the ask may be answered."""
        latency = self.faults.take(Latency, asked)
        if latency is not None:
            await asyncio.sleep(latency.delay_s)
        throttled = self.throttled(asked)
        if throttled is not None:
            return _response(throttled)
        broken = await self._broken(request, asked)
        if broken is not None:
            return broken
        refused = self.refused(asked)
        return None if refused is None else _response(refused)

    async def delivered(self, request: web.Request, asked: Asked, said: Said) -> web.StreamResponse:
        """The reply on its way: whole, or as far as the connection holds; a refusal of the ask always arrives."""
        if said.status != 200:
            return _response(said)
        body = said.body
        hang = self.faults.take(Hang, asked, lambda item: item.where == "body")
        truncated = self.faults.take(Truncated, asked)
        if hang is not None:
            return await _cut_off(request, body, Truncated(), hang.delay_s)
        if truncated is not None:
            return await _cut_off(request, body, truncated)
        return _response(said)

    async def _broken(self, request: web.Request, asked: Asked) -> web.StreamResponse | None:
        hang = self.faults.take(Hang, asked, lambda item: item.where == "headers")
        if hang is not None:
            await asyncio.sleep(hang.delay_s)
            return _reset(request)
        if self.faults.take(Reset, asked) is not None:
            return _reset(request)
        huge = self.faults.take(Huge, asked)
        return None if huge is None else await _huge(request, huge.megabytes)

    def refused(self, asked: Asked) -> Said | None:
        """What the edge says instead of the exchange."""
        redirect = self.faults.take(Redirect, asked)
        if redirect is not None:
            return Said(Body(b""), redirect.status, headers=(("Location", redirect.to),))
        error = self.faults.take(ServerError, asked)
        if error is not None:
            if error.body == "html":
                return Said(Body(HTML_PAGE, "text/html"), error.status)
            return self._dialect.troubled(error.status, error.code, error.text)
        if asked.kind != "status" and self.faults.take(Maintenance, asked) is not None:
            return self._dialect.maintenance()
        return None

    def throttled(self, asked: Asked) -> Said | None:
        """Counts the ask; the refusal of one too many."""
        group = "candles" if asked.kind == "first" else asked.kind
        for fault in self.faults.standing(RateLimit):
            if not fault.concerns(asked):
                continue
            now_ms = self.clock.now_ms()
            wait_s = self._limits.setdefault((fault, group), _Limit(fault)).wait_s(now_ms, asked.weight)
            if wait_s > 0:
                said = self._dialect.throttled(wait_s, now_ms)
                wait = ("Retry-After", _retry_after(fault, wait_s, now_ms))
                return replace(said, headers=(*said.headers, wait)) if fault.retry_after else said
        return None


def _response(said: Said) -> web.Response:
    return web.Response(
        body=said.body.content, status=said.status, headers=dict(said.headers), content_type=said.body.content_type,
        charset="utf-8",
    )  # fmt: skip


class _Limit:
    """A sliding minute of one rate limit."""

    def __init__(self, fault: RateLimit) -> None:
        self._fault = fault
        self._times: deque[tuple[int, int]] = deque()
        self._blocked_until_ms = 0

    def wait_s(self, now_ms: int, weight: int = 1) -> float:
        """Counts a request; seconds until the block ends, 0 when it may pass."""
        if now_ms >= self._blocked_until_ms:
            self._times.append((now_ms, weight))
            while self._times[0][0] <= now_ms - self._fault.window_s * 1000:
                self._times.popleft()
            if sum(each for _, each in self._times) <= self._fault.per_minute:
                return 0
            self._times.clear()
            self._blocked_until_ms = now_ms + int(self._fault.block_s * 1000)
        elif self._fault.prolongs:
            self._blocked_until_ms = now_ms + int(self._fault.block_s * 1000)
        return (self._blocked_until_ms - now_ms) / 1000


def _retry_after(fault: RateLimit, wait_s: float, now_ms: int) -> str:
    if fault.retry_after == "seconds":
        return str(math.ceil(wait_s))
    if fault.retry_after == "date":
        return formatdate(math.ceil(now_ms / 1000 + wait_s), usegmt=True)
    return fault.retry_after


def _reset(request: web.Request) -> web.Response:
    """Closes with RST; the response that is returned finds no connection."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut_off(request: web.Request, body: Body, fault: Truncated, pause_s: float = 0) -> web.StreamResponse:
    part = body.content[: int(len(body.content) * fault.kept)]
    response = web.StreamResponse(headers={"Content-Type": body.content_type})
    transport = request.transport
    if transport is None:
        return response
    if fault.framing == "none":
        # aiohttp always frames a body, so this one is written past it: the end of the connection is the end of the page
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + part)
    else:
        if fault.framing == "length":
            response.content_length = len(body.content)
        await response.prepare(request)
        await response.write(part)
    await asyncio.sleep(pause_s)
    transport.close()
    return response


async def _huge(request: web.Request, megabytes: int) -> web.StreamResponse:
    row = b"[1577836800000,7195.3,7190,7195.3,7190,0.5],"
    block = row * (MEGABYTE // len(row))
    response = web.StreamResponse(headers={"Content-Type": JSON})
    try:
        await response.prepare(request)
        await response.write(b"[")
        for _ in range(megabytes):
            await response.write(block)
        await response.write(row[:-1] + b"]")
    except ConnectionError:
        return response  # the reader had enough, as it should
    return response
