"""Every adapter beside ccxt, which is not needed for it: ``make second-opinion`` has kept what ccxt makes of the same.

Owns the differences that are known, each with its reason. One that is not named fails, and so does one that is named
and is none any more.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from marketd.errors import BadReply
from marketd.exchanges import EXCHANGES
from marketd.rehearsal.dialect import Call
from marketd.rehearsal.dialects import spoken
from marketd.timeframe import TIMEFRAMES
from tests.conformance.ccxt.opinion import COUNT, NOW_MS, START_MS, kept
from tests.conformance.direct import call_of
from tests.conformance.recorded import replies
from tests.conformance.spec import SPECS

ASKED = [name for name, spec in SPECS.items() if spec.ccxt is not None]
MAKEFILE = Path(__file__).parents[2] / "Makefile"

ROWS = {
    ("coinbase", "noise", 1_522_557_420_000): "the noise of the exchange's float stays in: another reading may lack it",
    ("gate", "documented", 1_539_852_480_000): "it has no base volume: handed on without one, here it is refused",
    ("okx", "recorded", 1_678_928_760_000): "OKX says that it is open: handed on like any other, here it is left out",
}

_BUILT = "no two exchanges begin it on the same day: here it is built from days"
_UTC = "ccxt adds utc when it asks, and asks for the same"
TIMES = {
    ("binance", "1w"): _BUILT,
    ("binance", "1M"): _BUILT,
    ("bitfinex", "1w"): "holds its last day only: here it is built from days",
    ("bitfinex", "2w"): "made of the exchange's weeks: here it is built from days",
    ("bitfinex", "1M"): _BUILT,
    ("bitstamp", "1w"): "259200 seconds are three days",
    ("bybit", "1w"): _BUILT,
    ("bybit", "1M"): _BUILT,
    ("gate", "1w"): _BUILT,
    ("gate", "2h"): "not documented: here it is built from hours",
    ("hyperliquid", "1w"): "begins on Thursday: here it is built from days",
    ("hyperliquid", "1M"): _BUILT,
    ("kraken", "1w"): "begins on Thursday: here it is built from days",
    ("kraken", "2w"): "21600 minutes are fifteen days",
    ("kucoin", "1w"): "begins on Thursday: here it is built from days",
    ("kucoin", "1M"): _BUILT,
    ("okx", "6h"): _UTC,
    ("okx", "12h"): _UTC,
    ("okx", "1d"): _UTC,
    ("okx", "1w"): _BUILT,
    ("okx", "1M"): _BUILT,
}

HOSTS = {"binance": "the host of accounts, here the one for public data"}

_LIMIT = "no end is sent, the limit has to do"
ENDS = {
    "binance": _LIMIT,
    "bitfinex": _LIMIT,
    "bybit": _LIMIT,
    "hyperliquid": "the end is now, what is too much is thrown away",
}


@pytest.mark.parametrize("name", ASKED)
def test_every_reply_has_an_opinion(name: str) -> None:
    assert set(kept(name).rows) == set(replies(name)) != set()


def test_the_opinions_are_those_of_the_version_that_is_pinned() -> None:
    pinned = re.search(r"^CCXT := (\S+)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert {kept(name).ccxt for name in ASKED} == {pinned[1]}


@pytest.mark.parametrize("name", ASKED)
def test_replies_are_read_as_ccxt_reads_them(name: str) -> None:
    """To the candle: the same open times, and digits that are the same numbers."""
    different = set()
    for reply, body in replies(name).items():
        ours = read(name, body)
        theirs = {open_ms: tuple(numbers) for open_ms, *numbers in kept(name).rows[reply]}
        different |= {(name, reply, at) for at in ours.keys() | theirs.keys() if ours.get(at) != theirs.get(at)}
    assert different == {known for known in ROWS if known[0] == name}


def read(name: str, body: bytes) -> Mapping[float | None, tuple[float, ...]]:
    """Closed candles by open time, from their digits; none where the adapter refuses the page."""
    exchange = EXCHANGES[name]
    try:
        rows = exchange.read_candles(body)
    except BadReply:
        return {}
    closed = [line for at, line in enumerate(rows.lines) if at not in rows.unfinished]
    candles = [dict(zip(exchange.columns, map(float, line.split(b",")), strict=True)) for line in closed]
    fields = ("open", "high", "low", "close", "volume")
    return {candle["open_ms"]: tuple(candle[field] for field in fields) for candle in candles}


@pytest.mark.parametrize("name", ASKED)
def test_timeframes_are_spelled_as_ccxt_spells_them(name: str) -> None:
    """What one of the two does not ask for natively is a difference, too."""
    ours, theirs = EXCHANGES[name].timeframes, kept(name).timeframes
    different = {(name, frame) for frame in TIMEFRAMES if ours.get(frame) != theirs.get(frame)}
    assert different == {known for known in TIMES if known[0] == name}


@pytest.mark.parametrize("name", ASKED)
def test_the_same_candles_are_asked_for(name: str) -> None:
    """Whatever bounds an exchange has: candles of the same symbol, from the same first one to the same last."""
    exchange, opinion = EXCHANGES[name], kept(name)
    for timeframe in exchange.timeframes.keys() & opinion.timeframes.keys():
        end_ms = START_MS + COUNT * TIMEFRAMES[timeframe].step_s * 1000
        request = exchange.candles_request(SPECS[name].symbol, timeframe, START_MS, end_ms, False, COUNT)
        ours = heard(name, call_of(request))
        url, body = opinion.asks[timeframe]
        assert url.startswith(exchange.base_url + "/") == (name not in HOSTS)
        path, query = urlsplit(url).path.removeprefix(spoken(name).prefix), tuple(parse_qsl(urlsplit(url).query))
        theirs = heard(name, Call(path, query, body.encode(), {"user-agent": "ccxt"}))
        assert theirs[:-1] == ours[:-1]
        assert (theirs[-1] != ours[-1]) == (name in ENDS)


def heard(name: str, call: Call) -> tuple[str, str, str, int | None, int | None]:
    """What is asked for, of which symbol and timeframe, and the numbers of the first and the last candle."""
    dialect = spoken(name)
    asked = dialect.asked(call, NOW_MS)
    frame = TIMEFRAMES[dialect.spellings[asked.timeframe]]
    window = dialect.window(dialect.bounds(asked), frame, NOW_MS)
    first = None if window.start_ms is None else frame.ceiling(window.start_ms)
    last = None if window.end_ms is None else frame.number(window.end_ms)
    return asked.kind, asked.symbol, frame.name, first, last


@pytest.mark.parametrize("name", ASKED)
def test_nobody_is_asked_faster_than_ccxt_asks(name: str) -> None:
    assert EXCHANGES[name].requests_per_minute <= kept(name).requests_per_minute
