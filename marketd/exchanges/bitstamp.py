"""Bitstamp (REST v2).

Owns the wire facts: candles as objects of texts, steps in seconds, and a first candle that is dropped where a window
holds one more than the limit. Source: bitstamp.net/api.
"""

import msgspec

from marketd.errors import ExchangeError, Refused, Throttled, UnknownSymbol, UnknownTimeframe
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows
from marketd.timeframe import TIMEFRAMES

_TIMEFRAMES = {
    name: str(TIMEFRAMES[name].step_s)
    for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
}  # fmt: skip
_LAYOUT = Layout(time="timestamp", open="open", high="high", low="low", close="close", volume="volume", unit_ms=1000)
_SINCE_MS = 1_312_156_800_000  # 2011-08-01, when it opened


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive by open time, in seconds."""
    step = _TIMEFRAMES[timeframe]
    query = (
        ("step", step), ("limit", str(limit)), ("start", str(start_ms // 1000)),
        ("end", str(end_ms // 1000 - int(step))),
    )  # fmt: skip
    return Request(f"/ohlc/{symbol.lower()}/", query)


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/markets/"),)


class _Data(msgspec.Struct):
    ohlc: list[dict[str, msgspec.Raw]]


class _Page(msgspec.Struct):
    data: _Data


_PAGE = msgspec.json.Decoder(_Page)


def read_candles(body: bytes) -> Rows:
    """``{"data":{"ohlc":[{"timestamp":"…","open":"…","high":"…","low":"…","close":"…","volume":"…"}, …]}}``."""
    page: _Page = decoded(_PAGE, body)
    return _LAYOUT.rows(page.data.ohlc)


class _Market(msgspec.Struct):
    market_symbol: str
    trading: str
    market_type: str = "SPOT"


_MARKETS = msgspec.json.Decoder(list[_Market])


def read_symbols(body: bytes) -> Listing:
    listed: list[_Market] = decoded(_MARKETS, body, "symbol list")
    return {
        each.market_symbol.upper(): Status.TRADING if each.trading == "Enabled" else Status.HALTED
        for each in listed
        if check_symbol(each.market_symbol.upper()) is None and each.market_type == "SPOT"
    }


def failure(reply: Reply) -> ExchangeError | None:
    """Three shapes of errors are known, and none is sure: what is not understood is taken for temporary."""
    told = said.parsed(reply.body) if not reply.body.startswith(b'{"data"') else {}
    code, text = str(told.get("response_code", told.get("code", ""))), said.shown(reply.body).lower()
    if reply.status == 429 or code == "400.002":
        return Throttled("Bitstamp asks to slow down", reply.retry_after_s)
    if reply.status == 404:
        return UnknownSymbol("Bitstamp does not know this pair")
    if reply.status == 400 and "step" in text:
        return UnknownTimeframe("Bitstamp does not have this timeframe")
    if reply.status == 400 and told:
        return Refused(f"Bitstamp refuses the request: {said.shown(reply.body)}")
    return said.outer("Bitstamp", reply)


check_symbol = spelling.like(r"[A-Z0-9]{5,20}", "is not a Bitstamp pair: write BTCUSD, upper case")

EXCHANGE = Exchange(
    name="bitstamp",
    base_url="https://www.bitstamp.net/api/v2",
    requests_per_minute=120,
    page_limits=(1000,),
    grace_s=3,
    blocked_s=60,
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
)
