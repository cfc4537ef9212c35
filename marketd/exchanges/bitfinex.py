"""Bitfinex (REST v2).

Owns the wire facts: paths, spellings, row order (open, CLOSE, high, low), page sizes, error bodies inside 200 and 500.
Sources: docs.bitfinex.com/reference/rest-public-candles, /docs/requirements-and-limitations. Its native weeks and
months are wrong (a week holds only its last day) and are therefore built from days.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

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
from marketd.exchanges.facts import Exchange, Reply, Request
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
_ROWS_A_PIECE = 250
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


def symbols_request() -> Request:
    return Request("/conf/pub:list:pair:exchange")


def _path(symbol: str, timeframe: str) -> str:
    return f"/candles/trade:{_TIMEFRAMES[timeframe]}:t{symbol}/hist"


def read_candles(body: bytes) -> Rows:
    """``[[MTS, OPEN, CLOSE, HIGH, LOW, VOLUME], …]``; rows may grow at the end, so fields are taken by place."""
    packed = body.translate(None, _BLANKS)
    if packed.startswith(b"[") and packed.translate(None, _NUMERIC_BODY):
        packed = body = _first_fields(body)
    if not packed.startswith(b"["):
        raise BadReply(f"candle page is not an array of rows: {clean(body[:80].decode('utf-8', 'replace'))}")
    if (b"e" in packed or b"E" in packed) and _ABSURD.search(packed):
        raise BadReply("candle page holds a number of absurd size")
    try:
        # Not the packed one where that is another: blanks inside of a number are a mistake.
        rows: Any = _in_pieces(packed) if len(packed) == len(body) else json.loads(body)
        return _columns(rows, _lines(packed, rows))
    except (ValueError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise BadReply(f"candle page cannot be read: {clean(str(error))}") from error


def _in_pieces(packed: bytes) -> list[Any]:
    """What ``json.loads`` says, by a few hundred rows at a time: it lets no other thread go on before it returns."""
    if not packed.startswith(b"[["):
        return list(json.loads(packed))
    if not packed.endswith(b"]]"):
        raise ValueError("the array of rows does not end")
    lines = packed[2:-2].split(b"],[")
    pieces = (b"],[".join(lines[at : at + _ROWS_A_PIECE]) for at in range(0, len(lines), _ROWS_A_PIECE))
    return [row for piece in pieces for row in json.loads(b"[[" + piece + b"]]")]


class _Digits(str):
    """A number's own text, told apart from a JSON string."""


def _first_fields(body: bytes) -> bytes:
    """The page with the documented fields only: arrays may grow, and by something that is no number."""
    try:
        rows: Any = json.loads(body, parse_float=_Digits, parse_int=_Digits)
        kept = [row[:_FIELDS] for row in rows]
        if not all(type(field) is _Digits for row in kept for field in row):
            raise ValueError("a field is not a number")
        return ("[" + ",".join(f"[{','.join(row)}]" for row in kept) + "]").encode()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadReply(f"candle page is not an array of number rows: {clean(str(error))}") from error


def _lines(packed: bytes, rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """The rows' own text: what is stored is what was sent, digit for digit."""
    if not rows:
        return []
    lines = packed[2:-2].split(b"],[")
    if max(map(len, rows)) > _FIELDS:
        lines = [b",".join(line.split(b",")[:_FIELDS]) for line in lines]
    if len(lines) != len(rows) or max(map(len, lines)) > _LINE_MAX:
        raise ValueError("nested rows or a number of absurd length")
    return lines


def _columns(rows: Sequence[Sequence[Any]], lines: list[bytes]) -> Rows:
    opens = [row[0] for row in rows]
    if not all(type(ms) is int for ms in opens):
        raise ValueError("an open time is not an integer")
    prices = [[float(row[place]) for row in rows] for place in range(1, _FIELDS)]
    return Rows(
        open_ms=opens, open=prices[0], close=prices[1], high=prices[2], low=prices[3], volume=prices[4], lines=lines
    )


def read_symbols(body: bytes) -> frozenset[str]:
    """``[["BTCUSD", "DOGE:USD", …]]``; paper markets are left out."""
    try:
        listed: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"symbol list cannot be read: {clean(str(error))}") from error
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], list):
        raise BadReply("symbol list is not [[pair, …]]")
    return frozenset(
        name for name in listed[0] if isinstance(name, str) and _SYMBOL.fullmatch(name) and "TEST" not in name
    )


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


BITFINEX = Exchange(
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
    first_candle_request=first_candle_request,
    symbols_request=symbols_request,
    read_candles=read_candles,
    read_symbols=read_symbols,
    failure=failure,
)
