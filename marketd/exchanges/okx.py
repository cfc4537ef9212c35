"""OKX (REST v5).

Owns the wire facts: exclusive bounds whose names are turned around (``after`` is older), days that begin at 16:00 UTC
unless asked for by their UTC names, and a flag that says whether a candle is closed. Source: okx.com/docs-v5.
"""

from typing import Literal

import msgspec

from marketd.errors import ExchangeError, LimitRefused, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, Row, decoded
from marketd.model import Rows

_TIMEFRAMES = {
    "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "2h": "2H", "4h": "4H",
    "6h": "6Hutc", "12h": "12Hutc", "1d": "1Dutc",
}  # fmt: skip
_SINCE_MS = 1_506_816_000_000  # 2017-10-01, before its first pair
_BUSY = ("50001", "50004", "50005", "50013", "50026")
_THROTTLED = ("50011", "50061")


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Rows newer than ``before`` and older than ``after``, both exclusive."""
    query = (
        ("instId", symbol), ("bar", _TIMEFRAMES[timeframe]), ("before", str(start_ms - 1)), ("after", str(end_ms)),
        ("limit", str(limit)),
    )  # fmt: skip
    return Request("/api/v5/market/history-candles", query)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/api/v5/public/instruments", (("instType", "SPOT"),)),)


def _is_closed(row: Row) -> bool:
    assert not isinstance(row, dict)  # noqa: S101  (rows are arrays here)
    return bytes(row[8]) == b'"1"'


_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=5, closed=_is_closed)


class _Page(msgspec.Struct):
    code: Literal["0"]
    data: list[list[msgspec.Raw]]


_PAGE = msgspec.json.Decoder(_Page)


def read_candles(body: bytes) -> Rows:
    """``{"data":[["ts", "open", "high", "low", "close", "base volume", …, "confirm"], …]}``."""
    page: _Page = decoded(_PAGE, body)
    return _LAYOUT.rows(page.data)


class _Instrument(msgspec.Struct):
    instId: str
    state: str


class _Instruments(msgspec.Struct):
    data: list[_Instrument]


_INSTRUMENTS = msgspec.json.Decoder(_Instruments)


def read_symbols(body: bytes) -> Listing:
    listed: _Instruments = decoded(_INSTRUMENTS, body, "symbol list")
    return {
        each.instId: Status.TRADING if each.state == "live" else Status.HALTED
        for each in listed.data
        if check_symbol(each.instId) is None and each.state != "test"
    }


def failure(reply: Reply) -> ExchangeError | None:
    """The code is a text, and tells more than the status."""
    told = said.parsed(reply.body) if not reply.body.startswith(b'{"code":"0"') else {}
    code, message = str(told.get("code", "0")), str(told.get("msg", ""))
    if reply.status == 429 or code in _THROTTLED:
        return Throttled("OKX asks to slow down", reply.retry_after_s)
    if code in ("51001", "51015"):
        return UnknownSymbol("OKX does not know this instrument")
    if code == "51000" and "bar" in message:
        return UnknownTimeframe("OKX does not have this timeframe")
    if code == "51000" and "limit" in message:
        return LimitRefused("OKX refuses this page size")
    if code in _BUSY:
        return Unreachable(f"OKX answered HTTP {reply.status}: {said.shown(reply.body)}")
    if code != "0":
        return Refused(f"OKX refuses the request: {said.shown(reply.body)}")
    return said.outer("OKX", reply)


check_symbol = spelling.like(r"[A-Z0-9]{1,20}-[A-Z0-9]{2,10}", "is not an OKX instrument: write BTC-USDT, upper case")

EXCHANGE = Exchange(
    name="okx",
    base_url="https://www.okx.com",
    requests_per_minute=240,
    page_limits=(300, 100),
    grace_s=3,
    blocked_s=2,
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
    no_trade=NoTrade.FLAT,
    in_flight=3,
)
