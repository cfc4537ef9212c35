"""Bybit spot (REST v5).

Owns the wire facts: errors inside 200, a ban that looks like a refusal of the place, and a category that has to be said
because the default is another market. Source: bybit-exchange.github.io/docs/v5/market/kline, /rate-limit.
"""

from typing import Literal

import msgspec

from marketd.errors import ExchangeError, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows
from marketd.timeframe import TIMEFRAMES

_TIMEFRAMES = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360",
    "12h": "720", "1d": "D",
}  # fmt: skip
_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=5)
_SINCE_MS = 1_625_097_600_000  # 2021-07-01, before its first spot pair
_MOST = 1000
_BANNED_S = 600.0
_RESET = "x-bapi-limit-reset-timestamp"


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive by open time. One row more is allowed for than fits, so that none can be cut."""
    last_ms = end_ms - TIMEFRAMES[timeframe].step_s * 1000
    query = (
        ("category", "spot"), ("symbol", symbol), ("interval", _TIMEFRAMES[timeframe]), ("start", str(start_ms)),
        ("end", str(last_ms)), ("limit", str(min(limit + 1, _MOST))),
    )  # fmt: skip
    return Request("/v5/market/kline", query)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/v5/market/instruments-info", (("category", "spot"),)),)


class _List(msgspec.Struct):
    list: list[list[msgspec.Raw]]


class _Page(msgspec.Struct):
    retCode: Literal[0]
    result: _List


_PAGE = msgspec.json.Decoder(_Page)


def read_candles(body: bytes) -> Rows:
    """``{"result":{"list":[["start", "open", "high", "low", "close", "volume", "turnover"], …]}}``."""
    page: _Page = decoded(_PAGE, body)
    return _LAYOUT.rows(page.result.list)


class _Instrument(msgspec.Struct):
    symbol: str
    status: str


class _Found(msgspec.Struct):
    list: list[_Instrument]


class _Instruments(msgspec.Struct):
    result: _Found


_INSTRUMENTS = msgspec.json.Decoder(_Instruments)


def read_symbols(body: bytes) -> Listing:
    listed: _Instruments = decoded(_INSTRUMENTS, body, "symbol list")
    return {
        each.symbol: Status.TRADING if each.status == "Trading" else Status.HALTED
        for each in listed.result.list
        if check_symbol(each.symbol) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    told = said.parsed(reply.body) if not reply.body.startswith(b'{"retCode":0') else {}
    code, message = told.get("retCode", 0), str(told.get("retMsg", "")).lower()
    if reply.status == 403 or code == 10009:
        return Throttled(f"Bybit refuses this address or place (HTTP {reply.status})", reply.retry_after_s or _BANNED_S)
    if reply.status == 429 or code in (10006, 10018, 10429):
        return Throttled("Bybit asks to slow down", reply.retry_after_s or _until_reset_s(reply))
    if code in (10000, 10016):
        return Unreachable(f"Bybit answered with error {code}: {said.shown(reply.body)}")
    if code == 10001 and "symbol" in message:
        return UnknownSymbol("Bybit does not know this symbol")
    if code == 10001 and ("period" in message or "interval" in message):
        return UnknownTimeframe("Bybit does not have this timeframe")
    if code != 0:
        return Refused(f"Bybit refuses the request: {said.shown(reply.body)}")
    return said.outer("Bybit", reply)


def _until_reset_s(reply: Reply) -> float | None:
    reset_ms = said.number(reply.headers.get(_RESET))
    return None if reset_ms is None or reply.date_ms is None else max(1.0, (reset_ms - reply.date_ms) / 1000)


check_symbol = spelling.like(r"[A-Z0-9]{4,24}", "is not a Bybit symbol: write BTCUSDT, upper case")

EXCHANGE = Exchange(
    name="bybit",
    base_url="https://api.bybit.com",
    requests_per_minute=300,
    page_limits=(_MOST - 1, 200),
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
    in_flight=3,
)
