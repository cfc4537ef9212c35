"""Binance spot (REST v3, the host for public data).

Owns the wire facts: weights, bans, and candles of 2017 and 2018 that open off the grid. Sources: rest-api.md and
errors.md of binance/binance-spot-api-docs; github.com/binance/binance-public-data 14, 77.
"""

import re

import msgspec

from marketd.errors import ExchangeError, LimitRefused, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import binancefiles, said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Oldest, Paging, Reply, Request, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows

_TIMEFRAMES = {
    name: name for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
}  # fmt: skip
_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=5)
_ROWS = msgspec.json.Decoder(list[list[msgspec.Raw]])
_BANNED_UNTIL = re.compile(rb"until ([0-9]{13})")
_USED = "x-mbx-used-weight-1m"
_USED_MOST = 4000  # of 6000 a minute for the whole address
_WALL_S = 300.0  # how long the web application firewall wants to be left alone
_BUSY = (-1000, -1001, -1006, -1007, -1008, -1016)


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive by open time; the order is always ascending."""
    query = (
        ("symbol", symbol), ("interval", _TIMEFRAMES[timeframe]), ("startTime", str(start_ms)),
        ("endTime", str(end_ms - 1)), ("limit", str(limit)),
    )  # fmt: skip
    return Request("/api/v3/klines", query)


def first_candle_request(symbol: str, timeframe: str) -> Request:
    """From the beginning of time the page starts at the listing."""
    query = (("symbol", symbol), ("interval", _TIMEFRAMES[timeframe]), ("startTime", "0"), ("limit", "1"))
    return Request("/api/v3/klines", query)


def first_open_ms(body: bytes) -> int | None:
    return min(read_candles(body).open_ms, default=None)


def symbols_requests() -> tuple[Request, ...]:
    """Ten times as dear as a page of candles."""
    return (Request("/api/v3/exchangeInfo", weight=10),)


def read_candles(body: bytes) -> Rows:
    """``[[openTime, "open", "high", "low", "close", "volume", closeTime, …], …]``."""
    return _LAYOUT.rows(decoded(_ROWS, body))


class _Symbol(msgspec.Struct):
    symbol: str
    status: str


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


_INFO = msgspec.json.Decoder(_Info)
_STATUS = {"TRADING": Status.TRADING, "BREAK": Status.DELISTED}


def read_symbols(body: bytes) -> Listing:
    """What is delisted stays in the list as ``BREAK``, and so does what only pauses."""
    listed: _Info = decoded(_INFO, body, "symbol list")
    return {
        each.symbol: _STATUS.get(each.status, Status.HALTED)
        for each in listed.symbols
        if check_symbol(each.symbol) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    told = said.parsed(reply.body) if reply.status != 200 else {}
    code, message = told.get("code"), str(told.get("msg", ""))
    if reply.status in (418, 429) or code == -1003:
        return Throttled(f"Binance asks to slow down (HTTP {reply.status})", reply.retry_after_s or _banned_s(reply))
    if reply.status == 403:
        return Throttled("Binance's firewall refuses this address", reply.retry_after_s or _WALL_S)
    if code in _BUSY:
        return Unreachable(f"Binance answered HTTP {reply.status}: {said.shown(reply.body)}")
    if code in (-1121, -1108):
        return UnknownSymbol("Binance does not know this symbol")
    if code == -1120:
        return UnknownTimeframe("Binance does not have this timeframe")
    if code in (-1100, -1130) and "limit" in message:
        return LimitRefused("Binance refuses this page size")
    if isinstance(code, int) and code and reply.status == 400:
        return Refused(f"Binance refuses the request: {said.shown(reply.body)}")
    return said.outer("Binance", reply)


def _banned_s(reply: Reply) -> float | None:
    """A ban tells its end in the text."""
    until = _BANNED_UNTIL.search(reply.body[:400])
    return None if until is None or reply.date_ms is None else max(0.0, (int(until[1]) - reply.date_ms) / 1000)


def rest_s(reply: Reply) -> float:
    """Until the next minute where others have used up most of this one."""
    used = said.number(reply.headers.get(_USED))
    if used is None or used <= _USED_MOST or reply.date_ms is None:
        return 0.0
    return 60.0 - reply.date_ms // 1000 % 60


check_symbol = spelling.like(r"[^\W_a-z]{3,40}", "is not a Binance symbol: write BTCUSDT, upper case")

EXCHANGE = Exchange(
    name="binance",
    base_url="https://data-api.binance.vision",
    requests_per_minute=600,
    page_limits=(1000, 500),
    grace_s=2,
    blocked_s=60,
    columns=COLUMNS,
    timeframes=_TIMEFRAMES,
    derived=spelling.built(_TIMEFRAMES),
    check_symbol=check_symbol,
    candles_request=candles_request,
    read_candles=read_candles,
    first=Oldest(first_candle_request, first_open_ms),
    symbols_requests=symbols_requests,
    read_symbols=read_symbols,
    failure=failure,
    paging=Paging.COUNTED,
    no_trade=NoTrade.FLAT,
    off_grid=True,
    archive=binancefiles.ARCHIVE,
    rest_s=rest_s,
)
