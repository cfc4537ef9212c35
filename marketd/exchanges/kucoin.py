"""KuCoin spot (REST v1).

Owns the wire facts: seconds, rows in the order open, close, high, low, newest first, and an end of which nobody says
whether it is included. Sources: kucoin.com/docs-new get-klines and rate-limit; github.com/Kucoin/kucoin-api-docs.
"""

from typing import Literal

import msgspec

from marketd.errors import ExchangeError, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows
from marketd.timeframe import TIMEFRAMES

_TIMEFRAMES = {
    "1m": "1min", "3m": "3min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "1hour", "2h": "2hour",
    "4h": "4hour", "6h": "6hour", "8h": "8hour", "12h": "12hour", "1d": "1day",
}  # fmt: skip
_LAYOUT = Layout(time=0, open=1, close=2, high=3, low=4, volume=5, unit_ms=1000)
_SINCE_MS = 1_504_224_000_000  # 2017-09-01, before its first pair
_REMAINING, _RESET = "gw-ratelimit-remaining", "gw-ratelimit-reset"
_LEAST_REMAINING = 200  # of 2000 points in half a minute
_OK = b'{"code":"200000"'


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """The end is a second after the last candle's opening: that one is in, whether the end is included or not."""
    last_s = end_ms // 1000 - TIMEFRAMES[timeframe].step_s
    query = (
        ("symbol", symbol), ("type", _TIMEFRAMES[timeframe]), ("startAt", str(start_ms // 1000)),
        ("endAt", str(last_s + 1)),
    )  # fmt: skip
    return Request("/api/v1/market/candles", query)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/api/v2/symbols", weight=2),)


class _Page(msgspec.Struct):
    code: Literal["200000"]
    data: list[list[msgspec.Raw]]


_PAGE = msgspec.json.Decoder(_Page)


def read_candles(body: bytes) -> Rows:
    """``{"data":[["time", "open", "close", "high", "low", "volume", "turnover"], …]}``."""
    page: _Page = decoded(_PAGE, body)
    return _LAYOUT.rows(page.data)


class _Symbol(msgspec.Struct):
    symbol: str
    enableTrading: bool


class _Symbols(msgspec.Struct):
    data: list[_Symbol]


_SYMBOLS = msgspec.json.Decoder(_Symbols)


def read_symbols(body: bytes) -> Listing:
    listed: _Symbols = decoded(_SYMBOLS, body, "symbol list")
    return {
        each.symbol: Status.TRADING if each.enableTrading else Status.HALTED
        for each in listed.data
        if check_symbol(each.symbol) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    told = said.parsed(reply.body) if not reply.body.startswith(_OK) else {}
    code, message = str(told.get("code", "200000")), str(told.get("msg", "")).lower()
    if reply.status == 429 or code in ("429000", "429"):
        return Throttled("KuCoin asks to slow down", reply.retry_after_s or _reset_s(reply))
    if code == "900001" or (code == "400100" and ("symbol" in message or "trading pair" in message)):
        return UnknownSymbol("KuCoin does not know this symbol")
    if code == "400100" and "type" in message:
        return UnknownTimeframe("KuCoin does not have this timeframe")
    if code.startswith("5") or reply.status >= 500:
        return Unreachable(f"KuCoin answered HTTP {reply.status}: {said.shown(reply.body)}")
    if code != "200000":
        return Refused(f"KuCoin refuses the request: {said.shown(reply.body)}")
    return said.outer("KuCoin", reply)


def rest_s(reply: Reply) -> float:
    """Until the points are given anew, where few are left."""
    remaining = said.number(reply.headers.get(_REMAINING))
    return (_reset_s(reply) or 0.0) if remaining is not None and remaining < _LEAST_REMAINING else 0.0


def _reset_s(reply: Reply) -> float | None:
    reset_ms = said.number(reply.headers.get(_RESET))
    return None if reset_ms is None else max(0.0, reset_ms / 1000)


check_symbol = spelling.like(r"[A-Z0-9]{1,20}-[A-Z0-9]{2,10}", "is not a KuCoin symbol: write BTC-USDT, upper case")

EXCHANGE = Exchange(
    name="kucoin",
    base_url="https://api.kucoin.com",
    requests_per_minute=300,
    page_limits=(1400,),
    grace_s=5,
    blocked_s=30,
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
    in_flight=3,
    rest_s=rest_s,
)
