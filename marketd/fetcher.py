"""Asking one exchange.

Owns what stands between an ask and its answer: the turn at the budget, tries with growing delays, the silence an
exchange asks for, the circuit that opens when it is out of reach, its page size and its time. Refuses to decide what
to ask, and to store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import stamina

from marketd import page, planner
from marketd.clock import Clock
from marketd.errors import BadReply, ExchangeError, LimitRefused, OutOfReach, Throttled, Unreachable
from marketd.exchanges.facts import Exchange, Listing, Paging, Reply, Request
from marketd.model import Answer, Ask, Claim, Drop, Series
from marketd.ports import Events, Gate, Transport
from marketd.ranges import NOTHING, Ranges

log = logging.getLogger(__name__)

CLOCKS_DIFFER_MS: Final = 120_000
"""The settle time: a larger difference delays what can be proven."""

_TRIES = 5
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_LONGEST_SILENCE_S = 7 * 86_400  # Binance bans for three days; nothing sane is longer
_MOST_BEHIND_MS = 7_200_000
_SLOWED_FOR_S = 600.0
_LONGEST_REST_S = 120.0
_AT_ONCE_MS = 2_000  # the exchange's time is told in whole seconds, and is older by the time it is read
_CIRCUIT_FAILURES = 8
_CIRCUIT_FIRST_MS = 30_000
_CIRCUIT_LONGEST_MS = 600_000
_LONG = 50_000  # bytes of a body that takes longer to be read than others on the loop should wait


@dataclass(slots=True)
class ExchangeTime:
    """The exchange's time: the earlier of the host's clock and the time in its replies."""

    offset_ms: int | None = None

    def learn(self, host_ms: int, date_ms: int) -> None:
        self.offset_ms = date_ms - host_ms

    @property
    def known(self) -> bool:
        return self.offset_ms is not None

    def now(self, host_ms: int) -> int:
        if self.offset_ms is None:
            raise Unreachable("the exchange has not told its time yet")
        return min(host_ms, host_ms + self.offset_ms)


@dataclass(slots=True)
class Circuit:
    """Open after repeated failures: nothing is sent until ``open_until_ms``, then one try decides for all."""

    failures: int = 0
    openings: int = 0
    opened_ms: int = 0
    open_until_ms: int | None = None
    _undecided: asyncio.Event | None = None

    def closed_to(self, now_ms: int) -> bool:
        """True while the pause lasts. A clock that is set back makes it no longer than the longest."""
        return self.open_until_ms is not None and now_ms < self.open_until_ms <= now_ms + _CIRCUIT_LONGEST_MS

    @property
    def trying(self) -> bool:
        """A request is under way that decides."""
        return self._undecided is not None

    async def decided(self) -> None:
        """Wait while one is."""
        while self._undecided is not None:
            await self._undecided.wait()

    def try_begun(self) -> bool:
        """Note that a request is sent; True where it is the one that decides, which has to end with ``try_ended``."""
        if self.open_until_ms is not None:
            self._undecided = asyncio.Event()
        return self.trying

    def try_ended(self) -> None:
        if self._undecided is not None:
            self._undecided.set()
        self._undecided = None

    def failed(self, sent_ms: int, now_ms: int) -> bool:
        """Count the failure of a request sent at ``sent_ms``; True when it opens the circuit.

        Those sent before it opened, and answered late, say nothing new.
        """
        if self.open_until_ms is not None and sent_ms <= self.opened_ms <= now_ms:
            return False
        self.failures += 1
        if self.failures < _CIRCUIT_FAILURES:
            return False
        self.opened_ms = now_ms
        self.open_until_ms = now_ms + min(_CIRCUIT_FIRST_MS * 2**self.openings, _CIRCUIT_LONGEST_MS)
        self.openings += 1
        self.failures = _CIRCUIT_FAILURES - 1  # the next failure opens it again
        return True

    def succeeded(self) -> None:
        self.failures, self.openings, self.open_until_ms = 0, 0, None


@dataclass(slots=True)
class Fetcher:
    """One exchange, asked on behalf of all runs; ``on_silence`` hears for how many seconds it wants no request.

    ``archive_url`` is the address of its archive, None where that is not to be used.
    """

    exchange: Exchange
    base_url: str
    transport: Transport
    gate: Gate
    clock: Clock
    events: Events
    on_silence: Callable[[float], None]
    proxy: str | None = None
    page: int = 0
    archive_url: str | None = None
    time: ExchangeTime = field(default_factory=ExchangeTime)
    circuit: Circuit = field(default_factory=Circuit)
    _listing: Listing = field(default_factory=dict)
    _reach: dict[str, int] = field(default_factory=dict)
    _hands: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._hands = asyncio.Semaphore(self.exchange.in_flight)
        self.page = min(self.page or self.exchange.page_limits[0], self.exchange.page_limits[0])

    def now_ms(self) -> int:
        """The exchange's time; Unreachable while it is not known (see ``learn``)."""
        return self.time.now(self.clock.now_ms())

    def closed_end(self, series: Series) -> int:
        """End of the intervals that are closed at the exchange, its grace included."""
        return series.frame.closed_end(self.now_ms() - int(self.exchange.grace_s * 1000))

    def grace_left_s(self, series: Series) -> float:
        """Seconds until the interval that closed last, or closes now, may be asked for; 0 where it may be by now."""
        now_ms, frame = self.now_ms(), series.frame
        settled_ms = frame.open_ms(frame.closed_end(now_ms + _AT_ONCE_MS)) + int(self.exchange.grace_s * 1000)
        return max(0, settled_ms - now_ms) / 1000

    def closed(self, series: Series) -> Ranges:
        """All intervals that are closed there, however old."""
        return planner.served(self.closed_end(series), None)

    def served(self, series: Series) -> Ranges:
        """The closed intervals that the exchange still serves, as far as that is known."""
        return planner.served(self.closed_end(series), self.reach(series))

    def reach(self, series: Series) -> int | None:
        """How many of its newest intervals are served; None: all, or it is not known yet."""
        return self._reach.get(series.timeframe, self.exchange.reach)

    def learn_reach(self, answer: Answer) -> None:
        """Of an exchange that sends recent pages the first one shows how far back they go."""
        series = answer.ask.series
        if self.exchange.paging is Paging.RECENT and self.exchange.reach is None and answer.served_from is not None:
            self._reach[series.timeframe] = max(series.frame.closed_end(answer.at_ms) - answer.served_from, 1)

    async def symbols(self, asking: "Asking") -> Listing:
        """The exchange's symbols; asked for once, which also teaches its time."""
        if not self._listing:
            replies = [await self.send(request, asking) for request in self.exchange.symbols_requests()]
            self._listing = self.exchange.listing(reply.body for reply, _ in replies)
        return self._listing

    async def learn(self, asking: "Asking", *, anew: bool = False) -> None:
        """Make sure that the exchange's time is known before anything is planned; ``anew`` asks in any case."""
        if anew:
            self._listing = {}
        if anew or not self.time.known:
            await self.symbols(asking)

    async def send(self, request: Request, asking: "Asking") -> tuple[Reply, int]:
        """The reply to ``request`` and the exchange's time of it; tried again while that may help."""
        async for attempt in stamina.retry_context(
            on=_wait_before_retry,
            attempts=_TRIES,
            timeout=None,
            wait_initial=_FIRST_WAIT_S,
            wait_max=_LONGEST_WAIT_S,
            wait_jitter=_FIRST_WAIT_S,
        ):
            with attempt:
                return await self._send_once(request, asking)
        raise AssertionError("unreachable: the last attempt raises")

    async def _send_once(self, request: Request, asking: "Asking") -> tuple[Reply, int]:
        began_ms = await self._turn(asking, request.weight)
        asking.count()
        decides, outcome = self.circuit.try_begun(), "failed"
        try:
            async with self._hand(asking, request.weight):
                reply = await self.transport.send(self.base_url, request, self.proxy)
            self._learn(reply)
            failure = self.exchange.failure(reply)
            if failure is not None:
                raise failure
            outcome = "ok"
        except Throttled as error:
            outcome = "throttled"
            self._be_silent(error)
            raise
        except Unreachable:
            outcome = "unreachable"
            self._count_failure(began_ms)
            raise
        except ExchangeError:
            outcome = "refused"
            raise
        finally:
            if decides:
                self.circuit.try_ended()
            self.events.request_done(self.exchange.name, outcome, (self.clock.now_ms() - began_ms) / 1000)
        self._count_success()
        if (rest_s := self.exchange.rest_s(reply)) > 0:
            self.gate.block(min(rest_s, _LONGEST_REST_S))
        return reply, self._time_of(reply)

    async def _turn(self, asking: "Asking", weight: int) -> int:
        """When a request may be sent, waited for; a run does not fail because another one is the try."""
        waiting_ms = self.clock.now_ms()
        await self._past_circuit()
        await self.gate.acquire(asking.claim, weight)
        while self.circuit.trying:  # the pass is spent: who waited here comes back evenly spaced
            await self._past_circuit()
            await self.gate.acquire(asking.claim, weight)
        self._refuse_while_open()  # it may have opened while this one waited
        began_ms = self.clock.now_ms()
        self.events.gate_waited(self.exchange.name, asking.claim, (began_ms - waiting_ms) / 1000)
        return began_ms

    @asynccontextmanager
    async def _hand(self, asking: "Asking", weight: int) -> AsyncIterator[None]:
        """A hand to send a request with, which has had its turn: another one where the budget was blocked meanwhile."""
        while True:
            async with self._hands:
                if not self.gate.blocked_for_s:
                    yield
                    return
            await self.gate.acquire(asking.claim, weight)

    async def _past_circuit(self) -> None:
        await self.circuit.decided()
        self._refuse_while_open()

    def _time_of(self, reply: Reply) -> int:
        """The exchange's time of a reply: the earlier of both clocks, less the age of a cached one."""
        host_ms, age_ms = self.clock.now_ms(), int(reply.age_s * 1000)
        if reply.date_ms is None:
            return self.time.now(host_ms) - age_ms
        # Straight from the reply: with milliseconds of our own, the next reply of the same second would look older.
        return min(host_ms - age_ms, reply.date_ms)

    def latest(self, reply: Reply, at_ms: int) -> int:
        """The latest time that a reply may be of: a ``Date`` may be behind for a while, our clock ahead by years."""
        date_ms = at_ms if reply.date_ms is None else reply.date_ms
        return max(date_ms, min(self.clock.now_ms(), date_ms + _MOST_BEHIND_MS))

    def _learn(self, reply: Reply) -> None:
        """The exchange's time, from every reply, errors too: a cached one is older by its age than it says."""
        if reply.date_ms is None:
            return
        host_ms, date_ms = self.clock.now_ms(), reply.date_ms + int(reply.age_s * 1000)
        self.time.learn(host_ms, date_ms)
        self._tell_difference(date_ms - host_ms)

    def _tell_difference(self, offset_ms: int) -> None:
        if abs(offset_ms) > CLOCKS_DIFFER_MS:
            fields = {"exchange": self.exchange.name, "seconds": offset_ms // 1000, "once": "clocks"}
            log.warning("clocks differ", extra={"fields": fields})

    def _refuse_while_open(self) -> None:
        now_ms = self.clock.now_ms()
        if self.circuit.closed_to(now_ms):
            left_s = max(0, (self.circuit.open_until_ms or 0) - now_ms) // 1000 + 1
            raise CircuitOpen(f"{self.exchange.name} has failed repeatedly; it is asked again in {left_s} s")

    def _count_failure(self, sent_ms: int) -> None:
        if self.circuit.failed(sent_ms, self.clock.now_ms()):
            self.events.circuit(self.exchange.name, True)
            log.warning("circuit open", extra={"fields": {"exchange": self.exchange.name}})

    def _count_success(self) -> None:
        if self.circuit.open_until_ms is not None:
            self.events.circuit(self.exchange.name, False)
            log.info("circuit closed", extra={"fields": {"exchange": self.exchange.name}})
        self.circuit.succeeded()

    def _be_silent(self, error: Throttled) -> None:
        """The whole exchange stops, and goes on at half the rate for a while."""
        silence_s = self.exchange.blocked_s if error.retry_after_s is None else error.retry_after_s
        silence_s = min(max(silence_s, 1.0), _LONGEST_SILENCE_S)
        error.retry_after_s = silence_s
        self.gate.block(silence_s)
        self.gate.slow_down(2, silence_s + _SLOWED_FOR_S)
        self.on_silence(silence_s)
        log.warning("exchange wants silence", extra={"fields": {"exchange": self.exchange.name, "seconds": silence_s}})

    def smaller_page(self) -> bool:
        """Ask for smaller pages from now on; False where there is no smaller size."""
        smaller = [limit for limit in self.exchange.page_limits if limit < self.page]
        if not smaller:
            return False
        self.page = smaller[0]
        return True


class CircuitOpen(Unreachable):
    """Not sent: the circuit is open."""


def _wait_before_retry(error: Exception) -> bool | timedelta:
    """Whether to try again: always after what may pass; the exchange's own word where it named a time."""
    if isinstance(error, Throttled):
        return timedelta(seconds=error.retry_after_s or 0)
    return isinstance(error, Unreachable) and not isinstance(error, CircuitOpen)


@dataclass(slots=True)
class Asking:
    """The asks of one run: its claim on the budget, and who counts its requests."""

    fetcher: Fetcher
    claim: Claim
    count: Callable[[], None] = lambda: None

    async def answer(self, ask: Ask) -> Answer:
        """The checked answer to ``ask``. Raises BadReply when it cannot be used, other ExchangeErrors as they are."""
        fetcher, exchange, frame = self.fetcher, self.fetcher.exchange, ask.series.frame
        while True:
            request = exchange.candles_request(
                ask.series.symbol,
                ask.series.timeframe,
                frame.open_ms(ask.start),
                frame.open_ms(ask.end),
                ask.newest_first,
                fetcher.page,
            )
            try:
                reply, at_ms = await fetcher.send(request, self)
            except LimitRefused:
                if not fetcher.smaller_page():
                    raise
                continue
            except OutOfReach:
                return _unserved(ask, exchange.columns, fetcher.now_ms())
            latest_ms = fetcher.latest(reply, at_ms)
            if len(reply.body) < _LONG:
                answer = self._checked(ask, reply.body, at_ms, latest_ms)
            else:
                answer = await asyncio.to_thread(self._checked, ask, reply.body, at_ms, latest_ms)
            fetcher.learn_reach(answer)
            return answer

    def _checked(self, ask: Ask, body: bytes, at_ms: int, latest_ms: int) -> Answer:
        """Changes nothing but counters, so that it may run in a thread."""
        exchange, sent = self.fetcher.exchange, 0
        try:
            rows = exchange.read_candles(body)
            sent = len(rows.open_ms)
            return page.check(ask, rows, exchange, at_ms=at_ms, latest_ms=latest_ms)
        except BadReply as error:
            reason = Drop.CONFLICTING if isinstance(error, page.Conflicting) else Drop.PAGE_REFUSED
            self.fetcher.events.page_refused(exchange.name, reason, sent)
            raise


def _unserved(ask: Ask, columns: tuple[str, ...], at_ms: int) -> Answer:
    """What a refusal of an ask that begins too early says: nothing; the older half of it need not be asked again."""
    served_from = (ask.start + ask.end + 1) // 2
    return Answer(ask, NOTHING, NOTHING, NOTHING, b"", columns, at_ms, 0, served_from=served_from)
