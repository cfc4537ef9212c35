"""Bitfinex (REST v2).

Owns the wire facts: paths, spellings, row order (open, CLOSE, high, low), page sizes, error bodies inside 200 and 500.
Sources: docs.bitfinex.com/reference/rest-public-candles, /docs/requirements-and-limitations. Its native weeks and
months are wrong (a week holds only its last day) and are therefore built from days.
"""

import json
import re
from typing import Any

import msgspec
from msgspec.structs import astuple

from marketd.errors import (
    BadReply,
    ExchangeError,
    LimitRefused,
    Refused,
    Throttled,
    UnknownSymbol,
    UnknownTimeframe,
    Unreachable,
)
from marketd.exchanges.facts import Exchange, Listing, Oldest, Reply, Request, Status
from marketd.model import Rows
from marketd.text import clean

_TIMEFRAMES = {
    "1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "3h": "3h", "4h": "4h", "6h": "6h", "12h": "12h",
    "1d": "1D",
}  # fmt: skip
_SYMBOL = re.compile(r"[A-Z0-9]{6}|[A-Z0-9]{2,12}:[A-Z0-9]{2,12}")
_NUMERIC_BODY = b"0123456789.eE+-[],"
_BLANKS = b" \t\r\n"
_FIELDS = 6
_LINE_MAX = 220  # five numbers of 40 digits: longer text is not a price
_ABSURD = re.compile(rb"[eE][+-]?[0-9]{3}")  # an exponent that no price has, and that a database may choke on
_ERROR = re.compile(rb'\s*(\[\s*"error"|\{)')
_THROTTLED = 11010
_PARAMETERS = 10020


def check_symbol(symbol: str) -> str | None:
    if _SYMBOL.fullmatch(symbol):
        return None
    return f"{clean(symbol, 40)!r} is not a Bitfinex pair: write BTCUSD or DOGE:USD, upper case, without the leading t"


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive at the exchange and equal ones are refused, so the end is the last millisecond."""
    query = (
        ("start", str(start_ms)),
        ("end", str(end_ms - 1)),
        ("limit", str(limit)),
        ("sort", "-1" if newest_first else "1"),
    )
    return Request(_path(symbol, timeframe), query)


def first_candle_request(symbol: str, timeframe: str) -> Request:
    """Sorted ascending without a start, the page begins at the first candle in history."""
    return Request(_path(symbol, timeframe), (("limit", "1"), ("sort", "1")))


def first_open_ms(body: bytes) -> int | None:
    return min(read_candles(body).open_ms, default=None)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/conf/pub:list:pair:exchange"),)


def _path(symbol: str, timeframe: str) -> str:
    return f"/candles/trade:{_TIMEFRAMES[timeframe]}:t{symbol}/hist"


class _Candle(msgspec.Struct, array_like=True, gc=False):
    """A row of a candle page as numbers; rows may grow at the end, and nothing is asked of what is new there."""

    open_ms: int
    open: float
    close: float
    high: float
    low: float
    volume: float


class _Digits(msgspec.Struct, array_like=True, gc=False):
    """The same row as it was written."""

    open_ms: msgspec.Raw
    open: msgspec.Raw
    close: msgspec.Raw
    high: msgspec.Raw
    low: msgspec.Raw
    volume: msgspec.Raw


_CANDLES = msgspec.json.Decoder(list[_Candle])
_DIGITS = msgspec.json.Decoder(list[_Digits])


def read_candles(body: bytes) -> Rows:
    """``[[MTS, OPEN, CLOSE, HIGH, LOW, VOLUME], …]``."""
    if not body.lstrip(_BLANKS).startswith(b"["):
        raise BadReply(f"candle page is not an array of rows: {clean(body[:80].decode('utf-8', 'replace'))}")
    try:
        candles = _CANDLES.decode(body)
        lines = _lines(body, len(candles))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadReply(f"candle page cannot be read: {clean(str(error))}") from error
    if max(map(len, lines), default=0) > _LINE_MAX or _has_absurd(lines):
        raise BadReply("candle page holds a number of absurd size")
    return Rows(
        open_ms=[candle.open_ms for candle in candles],
        open=[candle.open for candle in candles],
        close=[candle.close for candle in candles],
        high=[candle.high for candle in candles],
        low=[candle.low for candle in candles],
        volume=[candle.volume for candle in candles],
        lines=lines,
    )


def _lines(body: bytes, count: int) -> list[bytes]:
    """The own text of the ``count`` rows of a page that has been read: what is stored is what was sent."""
    packed = body.translate(None, _BLANKS)
    if packed.translate(None, _NUMERIC_BODY) or packed.count(b",") != count * _FIELDS - 1:
        return [b",".join(map(bytes, astuple(row))) for row in _DIGITS.decode(body)]
    return packed[2:-2].split(b"],[")


def _has_absurd(lines: list[bytes]) -> bool:
    text = b",".join(lines)
    return (b"e" in text or b"E" in text) and _ABSURD.search(text) is not None


def read_symbols(body: bytes) -> Listing:
    """``[["BTCUSD", "DOGE:USD", …]]``; what is listed is traded, paper markets are left out."""
    try:
        listed: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"symbol list cannot be read: {clean(str(error))}") from error
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], list):
        raise BadReply("symbol list is not [[pair, …]]")
    return {
        name: Status.TRADING
        for name in listed[0]
        if isinstance(name, str) and _SYMBOL.fullmatch(name) and "TEST" not in name
    }


def failure(reply: Reply) -> ExchangeError | None:
    """The body is asked first: errors arrive with status 200 and 500 alike."""
    text = clean(reply.body[:200].decode("utf-8", "replace"))
    code, message = _error_of(reply.body)
    if reply.status == 429 or code == _THROTTLED or message == "ERR_RATE_LIMIT":
        return Throttled(f"Bitfinex asks to slow down (HTTP {reply.status})", reply.retry_after_s)
    if code == _PARAMETERS:
        return _refusal(message)
    if code is not None or message:
        return Unreachable(f"Bitfinex answered HTTP {reply.status} with error {code or ''} {message}".rstrip())
    if reply.status != 200:
        return Unreachable(f"Bitfinex answered HTTP {reply.status}: {text[:80]}")
    if reply.body.lstrip()[:1] == b"<":
        return Unreachable("Bitfinex answered with a web page instead of data")
    return None


def _refusal(message: str) -> ExchangeError:
    subject = message.partition(":")[0].strip()
    if subject == "symbol":
        return UnknownSymbol("Bitfinex does not know this symbol")
    if subject == "limit":
        return LimitRefused("Bitfinex refuses this page size")
    if subject in ("timeframe", "key"):
        return UnknownTimeframe("Bitfinex does not have this timeframe")
    return Refused(f"Bitfinex refuses the request: {message}")


def _error_of(body: bytes) -> tuple[int | None, str]:
    """Code and text of ``["error", code, text]`` or ``{"error": text}``; (None, "") when the body is no error."""
    if not _ERROR.match(body):
        return None, ""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    if isinstance(found, list):
        code = found[1] if len(found) > 1 and isinstance(found[1], int) else 0
        return code, clean(str(found[2])) if len(found) > 2 else ""
    return None, clean(str(found.get("error") or found.get("message") or "an object instead of rows"))


EXCHANGE = Exchange(
    name="bitfinex",
    base_url="https://api-pub.bitfinex.com/v2",
    requests_per_minute=24,
    page_limits=(10_000, 5_000, 1_000, 120),
    grace_s=5,
    blocked_s=65,
    columns=("open_ms", "open", "close", "high", "low", "volume"),
    timeframes=_TIMEFRAMES,
    derived={"1w": "1d", "2w": "1d", "1M": "1d"},
    fallback={"4h": "1h"},
    check_symbol=check_symbol,
    candles_request=candles_request,
    first=Oldest(first_candle_request, first_open_ms),
    symbols_requests=symbols_requests,
    read_candles=read_candles,
    read_symbols=read_symbols,
    failure=failure,
)
