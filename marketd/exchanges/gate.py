"""Gate spot (REST v4).

Owns the wire facts: rows in the order time, quote volume, close, high, low, open, base volume, closed; a wall behind
the newest 10 000 candles of each timeframe. Source: gate.com/docs/developers/apiv4.
"""

import msgspec

from marketd.errors import (
    ExchangeError,
    LimitRefused,
    OutOfReach,
    Refused,
    Throttled,
    UnknownSymbol,
    UnknownTimeframe,
    Unreachable,
)
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, Row, decoded
from marketd.model import Rows
from marketd.timeframe import TIMEFRAMES

_TIMEFRAMES = {name: name for name in ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "1d")}
_SINCE_MS = 1_364_774_400_000  # 2013-04-01, when it opened
_RESET = "x-gate-ratelimit-reset-timestamp"
_ROWS = msgspec.json.Decoder(list[list[msgspec.Raw]])


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive by open time, in seconds; a limit beside them would be refused."""
    last_s = end_ms // 1000 - TIMEFRAMES[timeframe].step_s
    query = (
        ("currency_pair", symbol), ("interval", _TIMEFRAMES[timeframe]), ("from", str(start_ms // 1000)),
        ("to", str(last_s)),
    )  # fmt: skip
    return Request("/spot/candlesticks", query)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/spot/currency_pairs"),)


def _is_closed(row: Row) -> bool:
    """Rows without the flag are older than it."""
    assert not isinstance(row, dict)  # noqa: S101  (rows are arrays here)
    return len(row) < 8 or bytes(row[7]) != b'"false"'


# Of seven fields the last may be the flag: then there is no base volume, and the row cannot be read.
_LAYOUT = Layout(time=0, close=2, high=3, low=4, open=5, volume=6, unit_ms=1000, closed=_is_closed)


def read_candles(body: bytes) -> Rows:
    """``[["time", "quote volume", "close", "high", "low", "open", "base volume", "closed"], …]``."""
    return _LAYOUT.rows(decoded(_ROWS, body))


class _Pair(msgspec.Struct):
    id: str
    trade_status: str


_PAIRS = msgspec.json.Decoder(list[_Pair])


def read_symbols(body: bytes) -> Listing:
    listed: list[_Pair] = decoded(_PAIRS, body, "symbol list")
    return {
        each.id: Status.HALTED if each.trade_status == "untradable" else Status.TRADING
        for each in listed
        if check_symbol(each.id) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    told = said.parsed(reply.body) if reply.status != 200 else {}
    label, message = str(told.get("label", "")), str(told.get("message", "")).lower()
    if reply.status == 429 or label in ("TOO_MANY_REQUESTS", "TOO_FAST"):
        return Throttled("Gate asks to slow down", reply.retry_after_s or _until_reset_s(reply))
    if label in ("INVALID_CURRENCY_PAIR", "INVALID_CURRENCY"):
        return UnknownSymbol("Gate does not know this pair")
    if "too long ago" in message or "points ago" in message or "recently are allowed" in message:
        return OutOfReach("Gate serves the newest 10 000 candles of a timeframe only")
    if "too broad" in message:
        return LimitRefused("Gate refuses this page size")
    if label == "INVALID_PARAM_VALUE" and "interval" in message:
        return UnknownTimeframe("Gate does not have this timeframe")
    if label in ("SERVER_ERROR", "INTERNAL", "TOO_BUSY") or reply.status >= 500:
        return Unreachable(f"Gate answered HTTP {reply.status}: {said.shown(reply.body)}")
    if label:
        return Refused(f"Gate refuses the request: {said.shown(reply.body)}")
    return said.outer("Gate", reply)


def _until_reset_s(reply: Reply) -> float | None:
    reset_s = said.number(reply.headers.get(_RESET))
    return None if reset_s is None or reply.date_ms is None else max(1.0, reset_s - reply.date_ms / 1000)


check_symbol = spelling.like(r"[A-Z0-9]{1,20}_[A-Z0-9]{2,10}", "is not a Gate pair: write BTC_USDT, upper case")

EXCHANGE = Exchange(
    name="gate",
    base_url="https://api.gateio.ws/api/v4",
    requests_per_minute=300,
    page_limits=(999,),
    grace_s=3,
    blocked_s=10,
    columns=COLUMNS,
    timeframes=_TIMEFRAMES,
    derived=spelling.built(_TIMEFRAMES),
    check_symbol=check_symbol,
    candles_request=candles_request,
    read_candles=read_candles,
    first=Search(_SINCE_MS),
    symbols_requests=symbols_requests,
    read_symbols=read_symbols,
    failure=failure,
    paging=Paging.COUNTED,
    no_trade=NoTrade.UNPROVEN,
    reach=10_000,
    in_flight=3,
)
