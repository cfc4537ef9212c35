"""``marketd check --exchange`` against the rehearsal exchange, and that nobody ever sees key or secret."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from marketd.clock import ScaledClock, SystemClock
from marketd.rehearsal import Faults, RehearsalServer, synthetic
from marketd.rehearsal.accounts import LARGEST_NONCE, Account
from marketd.rehearsal.dialects.bitfinex import Bitfinex
from marketd.rehearsal.faults import ServerError
from tests.canary import CANARY
from tests.command import FIRST_MS, SYMBOLS, Desk, Said, clean_process, configuration
from tests.conftest import BackgroundLoop

pytestmark = pytest.mark.once

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
KEY, SECRET = f"key-{CANARY}", f"{CANARY}-secret"
DAY_MS = 86_400_000


@dataclass
class Counter:
    """A desk, and the account at the exchange that its credentials are of."""

    desk: Desk
    background: BackgroundLoop
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *words: str) -> Said:
        return self.desk("check", "--exchange", "bitfinex", *words)

    def take(self, key: str | None = KEY, secret: str | None = SECRET) -> None:
        """These credentials into the environment."""
        for name, value in (("BITFINEX_API_KEY", key), ("BITFINEX_API_SECRET", secret)):
            if value is not None:
                self.monkeypatch.setenv(name, value)

    def configure(self, **settings: str) -> None:
        """More keys of ``[exchanges.bitfinex]``."""
        more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        self.desk.config.write_text(self.desk.config.read_text(encoding="utf-8") + more, encoding="utf-8")


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Account:
    """The account that the exchange has; a test that wants another one says its parameters."""
    writes, nonce = getattr(request, "param", ((), 0))
    return Account(KEY, SECRET, writes, nonce)


@pytest.fixture
def counter(
    account: Account,
    background: BackgroundLoop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Counter]:
    """An exchange of the host's own time; no database is in reach."""
    clock = ScaledClock(SystemClock().now_ms())
    market = synthetic(3, SYMBOLS, FIRST_MS, clock.now_ms() + DAY_MS)
    server = RehearsalServer(market, clock, Faults(clock), dialect=Bitfinex([account]))
    background.run(server.__aenter__())
    try:
        with clean_process(monkeypatch):
            desk = Desk(configuration(tmp_path, NOWHERE, server.base_url), server, clock, capsys)
            made = Counter(desk, background, monkeypatch)
            made.configure(auth_url=server.base_url)
            yield made
    finally:
        background.run(server.__aexit__(None, None, None))


def test_without_credentials_an_exchange_is_asked_once(counter: Counter) -> None:
    said = counter()
    assert (said.code, said.err) == (0, "")
    first, *others = said.out.splitlines()
    assert first.startswith(f"bitfinex: reachable at {counter.desk.server.base_url}, answered in 0.")
    assert others == [
        "clock: within a second of this host's",
        "symbols: 3 listed",
        "budget: 60000 requests a minute, 10 000 candles a page, 4 requests at once",
        "credentials: none given; candles need none",
    ]
    assert counter.desk.asked == 1


def test_json_says_the_same(counter: Counter) -> None:
    counter.take()
    said = counter("--json")
    assert (said.code, said.err) == (0, "")
    shape = said.json
    assert 0 <= shape.pop("took_s") < 5
    assert abs(shape.pop("clock_ahead_s")) < 2
    assert shape == {
        "exchange": "bitfinex",
        "address": counter.desk.server.base_url,
        "symbols": 3,
        "budget": {"requests_per_minute": 60000, "page_limit": 10_000, "in_flight": 4},
        "credentials": {"state": "valid", "writes": [], "withdraws": False, "reason": None},
        "warnings": [],
    }


def test_a_key_that_only_reads(counter: Counter) -> None:
    counter.take()
    said = counter()
    assert (said.code, said.err) == (0, "")
    assert "credentials: valid and read-only\n" in said.out
    assert counter.desk.asked == 2
    assert counter().code == 0, "the next nonce is larger"


@pytest.mark.parametrize("account", [(("orders", "positions"), 0)], indirect=True)
def test_a_key_that_could_trade_is_warned_of(counter: Counter) -> None:
    counter.take()
    said = counter()
    assert said.code == 0
    assert "credentials: valid, but can write: orders, positions\n" in said.out
    assert said.err.startswith("warning: the key can write (orders, positions)")
    assert counter("--json").json["warnings"] == said.err.splitlines()


@pytest.mark.parametrize("account", [(("orders", "withdraw"), 0)], indirect=True)
def test_a_key_that_could_withdraw_is_warned_of_most_loudly(counter: Counter) -> None:
    counter.take()
    said = counter()
    assert said.code == 0
    assert said.err.startswith("DANGER: THIS KEY CAN WITHDRAW MONEY")
    assert counter("--json").json["credentials"]["withdraws"] is True


@pytest.mark.parametrize(
    ("key", "secret", "reason"),
    [
        (f"other-{CANARY}", SECRET, "the key is not known there"),
        (KEY, f"other-{CANARY}", "the secret does not belong to the key"),
        (f"two\nlines {CANARY}", SECRET, "blanks, line ends or characters beyond ASCII"),
        (KEY, f"\udcff{CANARY}", "blanks, line ends or characters beyond ASCII"),
    ],
)
def test_credentials_that_are_refused(counter: Counter, key: str, secret: str, reason: str) -> None:
    counter.take(key, secret)
    said = counter()
    assert said.code == 78
    assert "credentials: refused\n" in said.out
    assert said.err.startswith("marketd: error: bitfinex")
    assert reason in said.err
    refused = counter("--json")
    assert (refused.code, refused.json["credentials"]["state"]) == (78, "rejected")
    assert reason in refused.json["credentials"]["reason"]


@pytest.mark.parametrize(("key", "secret"), [(KEY, None), (None, SECRET)])
def test_one_without_the_other_is_refused_before_anything_is_asked(
    counter: Counter, key: str | None, secret: str | None
) -> None:
    counter.take(key, secret)
    said = counter()
    assert (said.code, said.out, counter.desk.asked) == (78, "", 0)
    assert "neither is of use without the other" in said.err


@pytest.mark.parametrize("account", [((), SystemClock().now_ms() * 2)], indirect=True)
def test_a_small_nonce_is_followed_by_a_larger_one(counter: Counter) -> None:
    counter.take()
    assert "credentials: valid and read-only\n" in counter().out
    assert counter.desk.server.stats.kinds["account"] == 2


@pytest.mark.parametrize("account", [((), LARGEST_NONCE)], indirect=True)
def test_a_key_that_another_program_has_used_up_is_refused_with_the_cure(counter: Counter) -> None:
    counter.take()
    said = counter()
    assert said.code == 78
    assert "give marketd one of its own" in said.err
    assert counter.desk.server.stats.kinds["account"] == 2


def test_clocks_that_differ_are_warned_of(counter: Counter) -> None:
    counter.desk.clock.jump(-3600)
    counter.take()
    said = counter()
    assert said.code == 0
    assert "clock: 1 h behind this host's\n" in said.out or "clock: 59 min 59 s behind" in said.out
    assert "warning: the clocks differ" in said.err
    assert -3601 < counter("--json").json["clock_ahead_s"] < -3598


@pytest.mark.parametrize("account", [((), 1 + SystemClock().now_ms())], indirect=True)
def test_nonces_go_by_the_exchange_s_time(counter: Counter) -> None:
    """A host whose clock is behind does not fall behind others that use the key."""
    counter.desk.clock.jump(3600)
    counter.take()
    assert counter().code == 0
    assert counter.desk.server.stats.kinds["account"] == 1


@pytest.mark.parametrize(
    ("strike", "said"),
    [
        (ServerError(status=503), "Bitfinex answered HTTP 503"),
        (ServerError(status=429, body="array", code=11010, text="ratelimit: error"), "Bitfinex asks to slow down"),
    ],
)
def test_an_exchange_that_does_not_answer_is_out_of_reach(counter: Counter, strike: ServerError, said: str) -> None:
    counter.take()
    counter.desk.faults.add(strike)
    failed = counter()
    assert (failed.code, failed.out) == (69, "")
    assert said in failed.err
    assert counter.desk.asked == 1


@pytest.mark.parametrize(
    ("strike", "code", "said"),
    [
        (ServerError(status=502, asks=("account",)), 69, "does not say what the key may do (HTTP 502)"),
        (ServerError(status=429, asks=("account",)), 69, "Bitfinex asks to slow down"),
        (ServerError(status=200, asks=("account",)), 1, "cannot be read"),
    ],
)
def test_what_is_known_is_shown_where_only_the_account_is_not_answered(
    counter: Counter, strike: ServerError, code: int, said: str
) -> None:
    counter.take()
    counter.desk.faults.add(strike)
    failed = counter()
    assert failed.code == code
    assert "credentials: given; what they may do is not known\n" in failed.out
    assert said in failed.err


def test_an_address_where_nobody_is(counter: Counter) -> None:
    counter.take()
    text = counter.desk.config.read_text(encoding="utf-8")
    base_url = f'base_url = "{counter.desk.server.base_url}"'
    counter.desk.config.write_text(text.replace(base_url, 'base_url = "http://127.0.0.1:1/v2"'), encoding="utf-8")
    said = counter()
    assert (said.code, said.out) == (69, "")
    assert "127.0.0.1: cannot connect" in said.err


def test_an_exchange_that_is_not_there(counter: Counter) -> None:
    said = counter.desk("check", "--exchange", "bitfynex")
    assert (said.code, said.out) == (2, "")
    assert "unknown exchange 'bitfynex'; known are bitfinex" in said.err


@pytest.mark.parametrize("words", [(), ("--json",), ("--print",), ("--print", "--json")])
def test_neither_key_nor_secret_is_ever_shown(counter: Counter, words: tuple[str, ...]) -> None:
    """The desk looks for them in what is said, and the end of the test in what is logged."""
    counter.take()
    counter.monkeypatch.setenv("MARKETD_LOG__LEVEL", "debug")
    assert counter(*words).code == 0
    printed = counter.desk("check", *words)
    assert ("BITFINEX_API_SECRET" in printed.out) == ("--print" in words)


HTTP = "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"


def _with_body(status: int, made: Callable[[str], str]) -> Callable[[str], str]:
    def reply(sent: str) -> str:
        body = made(sent)
        return HTTP.format(status=status, length=len(body.encode())) + body

    return reply


ECHOES: dict[str, Callable[[str], str]] = {
    "error": _with_body(500, lambda sent: json.dumps(["error", 10100, sent])),
    "other error": _with_body(500, lambda sent: json.dumps(["error", 11000, sent])),
    "text": _with_body(502, lambda sent: sent),
    "text that is taken for an answer": _with_body(200, lambda sent: sent),
    "scope": _with_body(200, lambda sent: json.dumps([[sent, 1, 1], [KEY, 1, 1]])),
    "redirect": lambda sent: f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/{KEY}\r\nContent-Length: 0\r\n\r\n",
    "header that is none": lambda sent: f"HTTP/1.1 200 OK\r\n{KEY} {SECRET}\r\n\r\n",
    "no HTTP": lambda sent: sent,
}


@asynccontextmanager
async def echoing(reply: Callable[[str], str], heard: list[str]) -> AsyncIterator[str]:
    """The base URL of a server that answers with what it was sent, made into a ``reply``."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = (await reader.readuntil(b"\r\n\r\n")).decode() + SECRET
        heard.append(sent)
        writer.write(reply(sent).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


@pytest.mark.parametrize("how", ECHOES)
def test_not_even_where_the_exchange_echoes_them(counter: Counter, how: str) -> None:
    counter.take()
    heard: list[str] = []
    server = echoing(ECHOES[how], heard)
    address = counter.background.run(server.__aenter__())
    try:
        text = counter.desk.config.read_text(encoding="utf-8")
        auth_url = f'auth_url = "{counter.desk.server.base_url}"'
        counter.desk.config.write_text(text.replace(auth_url, f'auth_url = "{address}"'), encoding="utf-8")
        for words in ((), ("--json",)):
            counter("--print", *words)
            counter.desk("--debug", "check", "--exchange", "bitfinex", *words)
    finally:
        counter.background.run(server.__aexit__(None, None, None))
    assert len(heard) == 4
    assert all(f"bfx-apikey: {KEY}" in sent for sent in heard), "the key was there to be echoed"


def test_an_exchange_that_cannot_be_asked_for_them_says_so(counter: Counter) -> None:
    """The rehearsal's list of pairs is none of Kraken's, so a server of its own dialect is asked."""
    server = RehearsalServer(
        synthetic(3, SYMBOLS, FIRST_MS, counter.desk.clock.now_ms() + DAY_MS), counter.desk.clock, dialect="kraken"
    )
    counter.background.run(server.__aenter__())
    try:
        counter.desk.config.write_text(f'[exchanges.kraken]\nbase_url = "{server.base_url}"\n', encoding="utf-8")
        counter.monkeypatch.setenv("KRAKEN_API_KEY", KEY)
        assert counter.desk("check", "--exchange", "kraken").code == 78
        counter.monkeypatch.setenv("KRAKEN_API_SECRET", SECRET)
        said = counter.desk("check", "--exchange", "kraken")
        assert (said.code, said.err) == (0, "")
        assert "credentials: given; marketd cannot ask there what they may do\n" in said.out
    finally:
        counter.background.run(server.__aexit__(None, None, None))
