"""The exchange, whichever it is, and the way to it.

Owns what happens between a request and its reply: what is asked of the rehearsal exchange, how long it takes, and what
is lost on the way. There are no sockets; a request that the real transport would give up on fails as it does there.
"""

import asyncio
from dataclasses import dataclass, field, replace
from random import Random
from typing import get_args
from urllib.parse import unquote

from marketd.errors import Throttled, Unreachable
from marketd.exchanges.facts import Exchange, Reply, Request
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal.answers import Answers
from marketd.rehearsal.dialect import Dialect, Word
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.faults import (
    Faults,
    Hang,
    Ignores,
    Late,
    Latency,
    Malformed,
    Nothing,
    PageLimit,
    Reset,
    Truncated,
)
from marketd.rehearsal.market import Market
from marketd.rehearsal.said import Said as Content
from marketd.rehearsal.stats import Asked
from marketd.rehearsal.trouble import Trouble
from marketd.timeframe import TIMEFRAMES
from tests.conformance.direct import call_of, reply_of
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock
from tests.simulation.server import Line
from tests.simulation.truth import MINUTE_MS, Lives, Said, Truth, scan
from tests.simulation.watch import Watch

TIMEFRAME = "1m"
READ_S = 10.0  # after so long without a byte the real transport gives up
TOTAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Meant(Request):
    """A request for candles that says which ask it was made for: its intervals, and its order."""

    span: tuple[int, int] = (0, 0)
    newest_first: bool = True


def meaning(exchange: Exchange) -> Exchange:
    """The same exchange, whose requests say what they are for: not every wire format lets it be read."""

    def meant(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
        made = exchange.candles_request(symbol, timeframe, start_ms, end_ms, newest_first, limit)
        if timeframe != TIMEFRAME:
            return made
        span = start_ms // MINUTE_MS, end_ms // MINUTE_MS
        return Meant(made.path, made.query, made.body, made.headers, made.weight, span, newest_first)

    return replace(exchange, candles_request=meant)


@dataclass
class Site:
    """One exchange: ``clock`` is what it trades by, ``date`` what it says the time is."""

    exchange: Exchange
    lives: Lives
    clock: HostClock
    date: HostClock
    truth: Truth
    watch: Watch
    journal: Journal
    lenient: bool = False
    """Asks that end in the future are answered as far as it goes, not refused."""

    faults: Faults = field(init=False)
    trouble: Trouble = field(init=False)
    answers: Answers = field(init=False)
    dialect: Dialect = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.clock)
        self.dialect = spoken(self.exchange.name)
        self._refusals = {self.dialect.refused(word).body.content for word in get_args(Word)}
        self.trouble = Trouble(self.clock, self.faults, self.dialect)
        self.open()

    def open(self) -> None:
        """Trade as the lives of the markets are now."""
        self.answers = Answers(Market(self.lives), self.clock, self.faults, self.lives.symbols, self.dialect)

    def instead(self, asked: Asked) -> Content | None:
        return self.trouble.throttled(asked) or self.trouble.refused(asked)

    def answer(self, asked: Asked, request: Request) -> Content:
        """The reply, and a note of what it says for those who judge it."""
        asked = self._accepted(asked) if self.lenient else asked
        content = self.answers.said(asked)
        if isinstance(request, Meant) and content.status == 200 and content.body.content not in self._refusals:
            self._note(asked, request, content)
        return content

    def _accepted(self, asked: Asked) -> Asked:
        now_ms = self.clock.now_ms()
        query = ((name, str(min(int(value), now_ms)) if name == "end" else value) for name, value in asked.query)
        return replace(asked, query=tuple(query))

    def _note(self, asked: Asked, request: Meant, content: Content) -> None:
        said = self._said(asked, request.span)
        if not self._standing(Malformed, asked) and content.rows != said.rows.size:
            self.journal.wrong("rehearsal", asked.symbol, request.span, content.rows, "candles, not", said.rows.size)
        self.watch.says(asked.symbol, request.span, request.newest_first, said)

    def _said(self, asked: Asked, span: tuple[int, int]) -> Said:
        """What the exchange says to ``asked`` by the model: from the faults that stand and the truth alone."""
        now_ms = self.clock.now_ms()
        if self._standing(Nothing, asked):
            return Said(now_ms, Ranges.of(span), NOTHING)
        bounds = self.dialect.bounds(asked)
        for fault in self.faults.standing(Ignores):
            if fault.concerns(asked):
                bounds = bounds.without(fault.parameters)
        page = self.dialect.window(bounds, TIMEFRAMES[TIMEFRAME], now_ms)
        limits = [fault.rows for fault in self.faults.standing(PageLimit) if fault.concerns(asked)]
        start_ms, end_ms = page.start_ms or 0, now_ms if page.end_ms is None else min(page.end_ms, now_ms)
        window = -(-start_ms // MINUTE_MS), end_ms // MINUTE_MS + 1
        listed, delisted = self.lives.bounds_ms(asked.symbol)
        trading = Ranges.of(window) & Ranges.of((listed // MINUTE_MS, -(-delisted // MINUTE_MS)))
        numbers = self.truth.numbers(asked.symbol, trading, now_ms)
        for late in [fault for fault in self.faults.standing(Late) if fault.concerns(asked)][:1]:
            numbers = [number for number in numbers if not _withheld(late, number, now_ms)]
        return Said(now_ms, *scan(numbers, window, min([page.limit, *limits]), newest_first=page.newest_first))

    def _standing(self, kind: type[Nothing] | type[Malformed], asked: Asked) -> bool:
        return any(fault.concerns(asked) for fault in self.faults.standing(kind))


def _withheld(fault: Late, number: int, now_ms: int) -> bool:
    """Not published yet: the share of all candles that comes late is chosen by their numbers."""
    published_ms = now_ms - int(fault.delay_s * 1000)
    return number * 7919 % 1000 < fault.share * 1000 and (number + 1) * MINUTE_MS > published_ms


@dataclass
class Wire:
    """A host's way to the exchange; ``lane`` names for whom it asks."""

    site: Site
    line: Line
    now_ms: HostClock
    dice: Random
    lane: str = ""

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        await self.line.thawed.wait()
        site = self.site
        site.watch.sends(self.lane, self.now_ms.now_ms(), request.weight)
        try:
            async with asyncio.timeout(TOTAL_S):
                reply = await self._answered(request)
        except TimeoutError as error:
            raise Unreachable("no complete answer within the time limit") from error
        failure = site.exchange.failure(reply)
        if isinstance(failure, Throttled):
            silence_s = site.exchange.blocked_s if failure.retry_after_s is None else failure.retry_after_s
            now_ms = self.now_ms.now_ms()
            site.watch.banned(self.lane, now_ms, now_ms + int(max(silence_s, 1.0) * 1000))
        return reply

    async def _answered(self, request: Request) -> Reply:
        site, asked = self.site, self._asked(request)
        site.journal.note("ask", self.lane, asked.kind, asked.symbol, *(value for _, value in asked.query))
        latency = site.faults.take(Latency, asked)
        await asyncio.sleep(self.dice.uniform(0.02, 0.2) + (0 if latency is None else latency.delay_s))
        if self.line.dead:
            raise Unreachable("the host is dead")
        content = site.trouble.throttled(asked)
        if content is None:
            await self._broken(asked)
            content = site.trouble.refused(asked) or site.answer(asked, request)
        date_ms, now_ms = site.date.now_ms() // 1000 * 1000, site.clock.now_ms() // 1000 * 1000
        body = await self._delivered(asked, content)
        await asyncio.sleep(self.dice.uniform(0.02, 0.2))
        await self.line.thawed.wait()
        if 300 <= content.status < 400:
            raise Unreachable("answered with a redirect, which is not followed")
        told = reply_of(content, now_ms, *site.dialect.headers(lambda: 0, now_ms))
        return replace(told, body=body, date_ms=date_ms)

    def _asked(self, request: Request) -> Asked:
        call = call_of(request)
        return self.site.dialect.asked(replace(call, path=unquote(call.path)), self.site.clock.now_ms())

    async def _broken(self, asked: Asked) -> None:
        if self.site.faults.take(Hang, asked, lambda fault: fault.where == "headers") is not None:
            await asyncio.sleep(READ_S)
            raise Unreachable("no answer within the time limit")
        if self.site.faults.take(Reset, asked) is not None:
            raise Unreachable("the connection was reset")

    async def _delivered(self, asked: Asked, content: Content) -> bytes:
        if content.status != 200:
            return content.body.content
        if self.site.faults.take(Hang, asked, lambda fault: fault.where == "body") is not None:
            await asyncio.sleep(READ_S)
            raise Unreachable("no complete answer within the time limit")
        cut = self.site.faults.take(Truncated, asked)
        if cut is None:
            return content.body.content
        if cut.framing != "none":
            raise Unreachable("the body ended early")
        return content.body.content[: int(len(content.body.content) * cut.kept)]
