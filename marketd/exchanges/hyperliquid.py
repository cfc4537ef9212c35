"""Hyperliquid (REST, one path for everything).

Owns the wire facts: questions as JSON bodies, weights that grow with the rows, the newest 5000 candles of each
timeframe only, and minutes without trades that are missing at first. Source: hyperliquid.gitbook.io, info endpoint and
rate limits; replies recorded by its Python SDK.
"""

import json
from typing import Any

import msgspec

from marketd.errors import ExchangeError, Refused, UnknownSymbol
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows
from marketd.timeframe import TIMEFRAMES

_TIMEFRAMES = {
    name: name for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d")
}  # fmt: skip
_LAYOUT = Layout(time="t", open="o", high="h", low="l", close="c", volume="v")
_ROWS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_SINCE_MS = 1_672_531_200_000  # 2023-01-01, before its first market
_PASS = 20  # weight of the cheapest question: what the budget counts in
_ROWS_A_WEIGHT = 60


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """The start is taken down to its candle, the end is inclusive by open time."""
    asked = {
        "type": "candleSnapshot",
        "req": {
            "coin": symbol, "interval": _TIMEFRAMES[timeframe], "startTime": max(start_ms, 0), "endTime": end_ms - 1,
        },
    }  # fmt: skip
    rows = (end_ms - start_ms) // (TIMEFRAMES[timeframe].step_s * 1000)
    return _question(asked, weight=-(-(_PASS + rows // _ROWS_A_WEIGHT) // _PASS))


def _question(asked: dict[str, Any], weight: int = 1) -> Request:
    return Request("/info", body=json.dumps(asked, separators=(",", ":")).encode(), weight=weight)


def symbols_requests() -> tuple[Request, ...]:
    """Perpetuals, and spot pairs."""
    return _question({"type": "meta"}), _question({"type": "spotMeta"})


def read_candles(body: bytes) -> Rows:
    """``[{"t":…,"T":…,"s":"BTC","i":"1m","o":"…","c":"…","h":"…","l":"…","v":"…","n":…}, …]``."""
    return _LAYOUT.rows(decoded(_ROWS, body))


class _Market(msgspec.Struct):
    name: str
    isDelisted: bool = False


class _Universe(msgspec.Struct):
    universe: list[_Market]


_UNIVERSE = msgspec.json.Decoder(_Universe)


def read_symbols(body: bytes) -> Listing:
    listed: _Universe = decoded(_UNIVERSE, body, "symbol list")
    return {
        each.name: Status.DELISTED if each.isDelisted else Status.TRADING
        for each in listed.universe
        if check_symbol(each.name) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    """An unknown coin is answered with ``null`` and status 500, as far as is known."""
    if reply.status == 500 and reply.body.strip() == b"null":
        return UnknownSymbol("Hyperliquid does not know this coin")
    if reply.status == 422:
        return Refused(f"Hyperliquid refuses the request: {said.shown(reply.body)}")
    return said.outer("Hyperliquid", reply)


check_symbol = spelling.like(
    r"@[0-9]{1,6}|[A-Za-z0-9]{1,20}|[a-z0-9]{1,10}:[A-Za-z0-9]{1,20}|[A-Za-z0-9]{1,20}/[A-Z0-9]{1,10}",
    "is not a Hyperliquid coin: write BTC, PURR/USDC or @107",
)

EXCHANGE = Exchange(
    name="hyperliquid",
    base_url="https://api.hyperliquid.xyz",
    requests_per_minute=30,
    page_limits=(4500,),
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
    no_trade=NoTrade.UNPROVEN,
    reach=5000,
    settle_s=1800,
    in_flight=2,
)
