"""Asking an exchange: what of a page that cannot be used is told; the exchange is a toy."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
import stamina

from marketd.clock import ScaledClock
from marketd.errors import BadReply, Throttled
from marketd.exchanges import exchange
from marketd.exchanges.facts import Reply, Request
from marketd.fetcher import Asking, Circuit, CircuitOpen, Fetcher
from marketd.limiter import Budget
from marketd.model import Answer, Ask, Claim, Drop
from marketd.ports import Events
from tests.toy import FRAME, SERIES

NOW_MS = 1_700_000_000_000
FIRST = FRAME.number(NOW_MS) - 1000


@dataclass
class Says:
    """An exchange that gives one body for everything; also a budget without a limit."""

    body: bytes
    per_minute: float = 60.0
    blocked_for_s: float = 0.0

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        return Reply(200, self.body, date_ms=NOW_MS)

    async def acquire(self, claim: Claim, weight: int = 1) -> None: ...

    def block(self, delay_s: float) -> None: ...

    def slow_down(self, factor: float, for_s: float) -> None: ...


@dataclass
class Heard(Events):
    refused: list[tuple[str, Drop, int]] = field(default_factory=list)

    def page_refused(self, exchange: str, reason: Drop, rows: int) -> None:
        self.refused.append((exchange, reason, rows))


def body(*candles: tuple[int, float]) -> bytes:
    """Flat candles of (interval from ``FIRST``, price)."""
    rows = (f"[{FRAME.open_ms(FIRST + at)},{price},{price},{price},{price},1]" for at, price in candles)
    return f"[{','.join(rows)}]".encode()


@dataclass
class Counted(Asking):
    """Asking, and how many requests were sent."""

    requests: int = 0

    def __post_init__(self) -> None:
        self.count = self._one_more

    def _one_more(self) -> None:
        self.requests += 1


def asking(said: bytes, heard: Heard) -> Counted:
    says = Says(said)
    fetcher = Fetcher(
        exchange("bitfinex"), "http://localhost", says, says, ScaledClock(NOW_MS), heard, lambda seconds: None
    )
    return Counted(fetcher, Claim.BACKFILL)


ASK = Ask(SERIES, FIRST, FIRST + 10, newest_first=False)


@pytest.mark.parametrize(
    ("said", "reason", "rows"),
    [
        (body((1, 5), (2, 5), (2, 6)), Drop.CONFLICTING, 3),
        (body((20, 5), (21, 5)), Drop.PAGE_REFUSED, 2),
        (b"[[1]]", Drop.PAGE_REFUSED, 0),
    ],
)
async def test_a_page_that_is_refused_is_told_with_its_rows(said: bytes, reason: Drop, rows: int) -> None:
    heard = Heard()
    with pytest.raises(BadReply):
        await asking(said, heard).answer(ASK)
    assert heard.refused == [("bitfinex", reason, rows)]


async def test_a_page_that_is_used_is_not() -> None:
    heard = Heard()
    answer = await asking(body((1, 5), (20, 5)), heard).answer(ASK)
    assert (answer.rows.size, answer.drops[Drop.OUTSIDE]) == (1, 1)
    assert heard.refused == []


@pytest.mark.parametrize(
    ("host_ahead_s", "latest_s"), [(-60, 0), (0, 0), (180, 180), (7_200, 7_200), (90_000_000, 7_200)]
)
def test_the_later_clock_is_believed_within_reason(host_ahead_s: int, latest_s: int) -> None:
    """A ``Date`` that is minutes behind must not lengthen the reach, nor a host that is years ahead end it."""
    fetcher = asking(b"[]", Heard()).fetcher
    fetcher.clock = ScaledClock(NOW_MS + host_ahead_s * 1000, 1e-9)
    reply = Reply(200, b"[]", date_ms=NOW_MS)
    assert fetcher.latest(reply, min(NOW_MS, NOW_MS + host_ahead_s * 1000)) == NOW_MS + latest_s * 1000
    assert fetcher.latest(Reply(200, b"[]"), NOW_MS) >= NOW_MS


class TestCircuit:
    def opened(self) -> Circuit:
        circuit = Circuit()
        for _ in range(7):
            assert not circuit.failed(NOW_MS, NOW_MS)
        assert circuit.failed(NOW_MS, NOW_MS)
        return circuit

    def test_stays_open_for_no_longer_than_its_longest_pause_whatever_becomes_of_the_clock(self) -> None:
        circuit = self.opened()
        year_ms = 365 * 86_400_000
        assert not circuit.closed_to(NOW_MS - year_ms), "the clock was a year ahead"
        assert circuit.failed(NOW_MS - year_ms, NOW_MS - year_ms + 10)
        assert circuit.closed_to(NOW_MS - year_ms + 1000)

    def test_opens_after_repeated_failures_and_one_try_decides(self) -> None:
        """fault_33."""
        circuit = self.opened()
        assert circuit.closed_to(NOW_MS + 29_999)
        assert not circuit.closed_to(NOW_MS + 30_000)
        assert circuit.try_begun()
        assert circuit.trying, "the others wait for what comes of it"
        assert circuit.failed(NOW_MS + 30_000, NOW_MS + 31_000)
        circuit.try_ended()
        assert circuit.open_until_ms == NOW_MS + 31_000 + 60_000, "one failed try is one step"
        assert circuit.closed_to(NOW_MS + 90_000)

    def test_failures_of_requests_that_were_under_way_when_it_opened_say_nothing_new(self) -> None:
        circuit = self.opened()
        until_ms = circuit.open_until_ms
        for _ in range(20):
            assert not circuit.failed(NOW_MS - 10, NOW_MS + 5)
        assert circuit.open_until_ms == until_ms

    def test_a_success_closes_it_and_a_try_that_was_given_up_leaves_the_next_one_free(self) -> None:
        circuit = self.opened()
        assert circuit.try_begun()
        circuit.try_ended()
        assert not circuit.closed_to(NOW_MS + 30_000)
        circuit.succeeded()
        assert not circuit.closed_to(NOW_MS)
        assert not circuit.try_begun()


async def begun_behind_a_try(one: Counted) -> "asyncio.Task[Answer]":
    """An ask that has come to where another request decides."""
    for _ in range(8):
        one.fetcher.circuit.failed(NOW_MS - 60_000, NOW_MS - 60_000)
    assert one.fetcher.circuit.try_begun()
    task = asyncio.create_task(one.answer(ASK))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (task.done(), one.requests) == (False, 0)
    return task


async def test_while_one_request_tries_a_failed_exchange_the_others_wait_and_are_sent_where_it_succeeds() -> None:
    """A job that falls due every four hours does not fail because another one is the first to be answered again."""
    one = asking(b"[]", Heard())
    task = await begun_behind_a_try(one)
    one.fetcher.circuit.succeeded()
    one.fetcher.circuit.try_ended()
    await task
    assert one.requests == 1


async def test_while_one_request_tries_a_failed_exchange_the_others_are_refused_where_it_fails() -> None:
    one = asking(b"[]", Heard())
    task = await begun_behind_a_try(one)
    one.fetcher.circuit.failed(NOW_MS, NOW_MS)
    one.fetcher.circuit.try_ended()
    with pytest.raises(CircuitOpen):
        await task
    assert one.requests == 0


async def test_a_try_that_was_given_up_is_followed_by_another_one() -> None:
    one = asking(b"[]", Heard())
    task = await begun_behind_a_try(one)
    one.fetcher.circuit.try_ended()
    await task
    assert (one.requests, one.fetcher.circuit.open_until_ms) == (1, None)


async def test_who_gets_a_pass_while_another_request_tries_comes_back_for_one() -> None:
    """All who waited would be sent at once, else."""
    one = asking(b"[]", Heard())
    circuit, passes = one.fetcher.circuit, list[Claim]()

    class Passing(Says):
        async def acquire(self, claim: Claim, weight: int = 1) -> None:
            passes.append(claim)
            if len(passes) == 1:
                for _ in range(8):
                    circuit.failed(NOW_MS - 60_000, NOW_MS - 60_000)
                assert circuit.try_begun()

    one.fetcher.gate = Passing(b"[]")
    task = asyncio.create_task(one.answer(ASK))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (len(passes), one.requests) == (1, 0)
    circuit.succeeded()
    circuit.try_ended()
    await task
    assert (len(passes), one.requests) == (2, 1)


@dataclass
class OneAtATime(Says):
    """Answers the first request with a wish for silence, after a while; notes when each was sent."""

    sent_s: list[float] = field(default_factory=list)

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        self.sent_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.05)
        if len(self.sent_s) == 1:
            return Reply(429, b'["error",11010,"ratelimit: error"]', date_ms=NOW_MS, retry_after_s=1.2)
        return Reply(200, self.body, date_ms=NOW_MS)


async def test_who_waits_for_a_free_hand_hears_of_a_silence() -> None:
    """It has its pass, and would be sent as soon as the reply that asks for silence has freed a hand."""
    says = OneAtATime(b"[]")
    facts = replace(exchange("bitfinex"), in_flight=1)
    budget, clock = Budget(60_000.0), ScaledClock(NOW_MS)
    fetcher = Fetcher(facts, "http://localhost", says, budget, clock, Events(), lambda seconds: None)
    request, asks = Request("/x"), Asking(fetcher, Claim.BACKFILL)
    await asyncio.gather(fetcher.send(request, asks), fetcher.send(request, asks))
    assert says.sent_s[1] - says.sent_s[0] >= 1.2


async def test_who_waits_for_a_free_hand_is_the_try_already() -> None:
    """Two that waited for their hands first would both be the try, and who waits for the one would wait for ever."""
    one = asking(b"[]", Heard())
    fetcher, request, hands = one.fetcher, Request("/x"), exchange("bitfinex").in_flight
    free = asyncio.Event()

    class Slow(Says):
        async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
            await free.wait()
            return await super().send(base_url, request, proxy)

    fetcher.transport = Slow(b"[]")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(hands):
            group.create_task(fetcher.send(request, one))
        await asyncio.sleep(0.01)
        for _ in range(8):
            fetcher.circuit.failed(NOW_MS - 60_000, NOW_MS - 60_000)
        for _ in range(3):
            group.create_task(fetcher.send(request, one))
        await asyncio.sleep(0.01)
        assert (one.requests, fetcher.circuit.trying) == (hands + 1, True), "one is the try, two wait for it"
        free.set()
    assert (one.requests, fetcher.circuit.trying) == (hands + 3, False)


@dataclass
class Throttling(Says):
    """An exchange that always asks to slow down; also a budget that notes for how long it is blocked."""

    retry_after_s: float | None = None
    blocked: list[float] = field(default_factory=list)

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        return Reply(429, self.body, retry_after_s=self.retry_after_s)

    def block(self, delay_s: float) -> None:
        self.blocked.append(delay_s)


@pytest.mark.parametrize(
    ("retry_after_s", "silence_s"), [(None, 65), (0.0, 1), (63.0, 63), (604_800.0, 604_800), (1e9, 604_800)]
)
async def test_the_whole_exchange_is_silent_for_as_long_as_it_wants(
    retry_after_s: float | None, silence_s: float
) -> None:
    """fault_31, fault_32: a minute and more where it does not say."""
    says = Throttling(b"[]", retry_after_s=retry_after_s)
    silences: list[float] = []
    fetcher = Fetcher(
        exchange("bitfinex"), "http://localhost", says, says, ScaledClock(NOW_MS), Heard(), silences.append
    )
    with stamina.set_testing(True, attempts=1), pytest.raises(Throttled):
        await Asking(fetcher, Claim.BACKFILL).answer(ASK)
    assert says.blocked == silences == [silence_s]
