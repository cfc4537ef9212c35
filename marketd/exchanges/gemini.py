"""Gemini (REST v2).

Owns the wire facts: no bounds at all, a window of recent candles of unknown length, newest first. What is older is not
served by anybody. Source: docs.gemini.com list-candles, rate-limit.
"""

import msgspec

from marketd.errors import ExchangeError, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Oldest, Paging, Reply, Request, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows

_TIMEFRAMES = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1hr", "6h": "6hr", "1d": "1day"}
_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=5)
_ROWS = msgspec.json.Decoder(list[list[msgspec.Raw]])
_SYMBOLS = msgspec.json.Decoder(list[str])


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Nothing can be asked for but all there is."""
    return Request(f"/v2/candles/{symbol.lower()}/{_TIMEFRAMES[timeframe]}")


def oldest_day_request(symbol: str, timeframe: str) -> Request:
    """Days go back further than what is shorter."""
    return Request(f"/v2/candles/{symbol.lower()}/{_TIMEFRAMES['1d']}")


def oldest_open_ms(body: bytes) -> int | None:
    return min(read_candles(body).open_ms, default=None)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/v1/symbols"),)


def read_candles(body: bytes) -> Rows:
    """``[[time, open, high, low, close, volume], …]``."""
    return _LAYOUT.rows(decoded(_ROWS, body))


def read_symbols(body: bytes) -> Listing:
    """``["btcusd", …]``; what is listed is traded."""
    names = (name.upper() for name in decoded(_SYMBOLS, body, "symbol list"))
    return {name: Status.TRADING for name in names if check_symbol(name) is None}


def failure(reply: Reply) -> ExchangeError | None:
    told = said.parsed(reply.body) if reply.body.lstrip()[:1] == b"{" else {}
    reason, message = str(told.get("reason", "")), str(told.get("message", "")).lower()
    if reply.status == 429 or "RateLimit" in reason:
        return Throttled("Gemini asks to slow down", reply.retry_after_s)
    if "Maintenance" in reason or reply.status >= 500:
        return Unreachable(f"Gemini answered HTTP {reply.status}: {said.shown(reply.body)}")
    if "valid symbol" in message or reason == "InvalidSymbol":
        return UnknownSymbol("Gemini does not know this symbol")
    if "time frame" in message or "time_frame" in message:
        return UnknownTimeframe("Gemini does not have this timeframe")
    if told:
        return Refused(f"Gemini refuses the request: {said.shown(reply.body)}")
    return said.outer("Gemini", reply)


check_symbol = spelling.like(r"[A-Z0-9]{5,20}", "is not a Gemini symbol: write BTCUSD, upper case")

EXCHANGE = Exchange(
    name="gemini",
    base_url="https://api.gemini.com",
    requests_per_minute=30,
    page_limits=(1440,),
    grace_s=5,
    blocked_s=60,
    columns=COLUMNS,
    timeframes=_TIMEFRAMES,
    derived=spelling.built(_TIMEFRAMES),
    check_symbol=check_symbol,
    candles_request=candles_request,
    read_candles=read_candles,
    first=Oldest(oldest_day_request, oldest_open_ms),
    symbols_requests=symbols_requests,
    read_symbols=read_symbols,
    failure=failure,
    paging=Paging.RECENT,
    no_trade=NoTrade.FLAT,
    in_flight=1,
)
