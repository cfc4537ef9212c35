"""The exchange, and the way to it.

Owns what happens between a request and its reply: what is asked of the rehearsal exchange, how long it takes, and what
is lost on the way. There are no sockets; a request that the real transport would give up on fails as it does there.
"""

import asyncio
from dataclasses import dataclass, field, replace
from random import Random
from urllib.parse import unquote

from marketd.errors import Unreachable
from marketd.exchanges.bitfinex import EXCHANGE as BITFINEX
from marketd.exchanges.facts import Reply, Request
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal.answers import Answers
from marketd.rehearsal.dialect import Call
from marketd.rehearsal.dialects.bitfinex import Bitfinex
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
from marketd.transport import retry_after
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock
from tests.simulation.server import Line
from tests.simulation.truth import MINUTE_MS, Lives, Said, Truth, scan
from tests.simulation.watch import Watch

READ_S = 10.0  # after so long without a byte the real transport gives up
TOTAL_S = 30.0


@dataclass
class Site:
    """One exchange: ``clock`` is what it trades by, ``date`` what it says the time is."""

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
    dialect: Bitfinex = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.clock)
        self.dialect = Bitfinex()
        self.trouble = Trouble(self.clock, self.faults, self.dialect)
        self.open()

    def open(self) -> None:
        """Trade as the lives of the markets are now."""
        self.answers = Answers(Market(self.lives), self.clock, self.faults, self.lives.symbols, self.dialect)

    def instead(self, asked: Asked) -> Content | None:
        return self.trouble.throttled(asked) or self.trouble.refused(asked)

    def answer(self, asked: Asked) -> Content:
        """The reply, and a note of what it says for those who judge it."""
        if asked.kind == "symbols":
            return self.answers.said(asked)
        content = self.answers.candles(self._accepted(asked) if self.lenient else asked)
        if asked.kind == "candles" and content.status == 200:
            self._note(asked, content)
        return content

    def _accepted(self, asked: Asked) -> Asked:
        now_ms = self.clock.now_ms()
        query = ((name, str(min(int(value), now_ms)) if name == "end" else value) for name, value in asked.query)
        return replace(asked, query=tuple(query))

    def _note(self, asked: Asked, content: Content) -> None:
        said, span, newest_first = self._said(asked)
        if not self._standing(Malformed, asked) and content.rows != said.rows.size:
            self.journal.wrong("rehearsal", asked.symbol, span, content.rows, "candles, not", said.rows.size)
        self.watch.says(asked.symbol, span, newest_first, said)

    def _said(self, asked: Asked) -> tuple[Said, tuple[int, int], bool]:
        """What the exchange says to ``asked`` by the model: from the faults that stand and the truth alone."""
        now_ms, given = self.clock.now_ms(), dict(asked.query)
        span = int(given["start"]) // MINUTE_MS, (int(given["end"]) + 1) // MINUTE_MS
        newest_first = given["sort"] == "-1"
        for fault in self.faults.standing(Ignores):
            if fault.concerns(asked):
                given = {name: value for name, value in given.items() if name not in fault.parameters}
        limits = [fault.rows for fault in self.faults.standing(PageLimit) if fault.concerns(asked)]
        limit = min([int(given.get("limit", "100")), *limits])
        listed, delisted = self.lives.bounds_ms(asked.symbol)
        start_ms = int(given.get("start", "0"))
        end_ms = min(int(given.get("end", now_ms)), now_ms)
        window = -(-start_ms // MINUTE_MS), end_ms // MINUTE_MS + 1
        if self._standing(Nothing, asked):
            return Said(now_ms, Ranges.of(span), NOTHING), span, newest_first
        trading = Ranges.of(window) & Ranges.of((listed // MINUTE_MS, -(-delisted // MINUTE_MS)))
        numbers = self.truth.numbers(asked.symbol, trading, now_ms)
        for late in [fault for fault in self.faults.standing(Late) if fault.concerns(asked)][:1]:
            numbers = [number for number in numbers if not _withheld(late, number, now_ms)]
        scanned, rows = scan(numbers, window, limit, given.get("sort", "-1") == "-1")
        return Said(now_ms, scanned, rows), span, newest_first

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
        site.watch.sends(self.lane, self.now_ms.now_ms())
        try:
            async with asyncio.timeout(TOTAL_S):
                reply = await self._answered(request)
        except TimeoutError as error:
            raise Unreachable("no complete answer within the time limit") from error
        if reply.status == 429:
            silence_s = BITFINEX.blocked_s if reply.retry_after_s is None else reply.retry_after_s
            site.watch.banned(self.lane, self.now_ms.now_ms() + int(max(silence_s, 1.0) * 1000))
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
            content = site.trouble.refused(asked) or site.answer(asked)
        date_ms, now_ms = site.date.now_ms() // 1000 * 1000, site.clock.now_ms() // 1000 * 1000
        body = await self._delivered(asked, content)
        await asyncio.sleep(self.dice.uniform(0.02, 0.2))
        await self.line.thawed.wait()
        if 300 <= content.status < 400:
            raise Unreachable("answered with a redirect, which is not followed")
        headers = dict(content.headers)
        return Reply(
            content.status, body, content.body.content_type, date_ms,
            retry_after_s=retry_after(headers.get("Retry-After"), now_ms),
        )  # fmt: skip

    def _asked(self, request: Request) -> Asked:
        return self.site.dialect.asked(Call(unquote(request.path), request.query), self.site.clock.now_ms())

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
