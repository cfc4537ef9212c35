"""Coinbase Exchange (REST).

Owns the wire facts: buckets named by their seconds, rows in the order low, high, open, close, newest first, and numbers
that went through floats at the exchange. Sources: docs.cdp.coinbase.com, get-product-candles and rate-limits.
"""

from datetime import UTC, datetime
from decimal import Context, Decimal

import msgspec

from marketd.errors import ExchangeError, LimitRefused, Refused, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, Paging, Reply, Request, Search, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows

_TIMEFRAMES = {"1m": "60", "5m": "300", "15m": "900", "1h": "3600", "6h": "21600", "1d": "86400"}
_ROWS = msgspec.json.Decoder(list[list[msgspec.Raw]])
_SINCE_MS = 1_420_070_400_000  # 2015-01-01, before its first product
_EXACT = Context(prec=15)  # digits that a float surely keeps
_FLOAT_DIGITS = 17  # and that tell it from its neighbours


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Both bounds are inclusive by the bucket's start, and both must be there to be heeded."""
    step = _TIMEFRAMES[timeframe]
    query = (("granularity", step), ("start", _iso(start_ms)), ("end", _iso(end_ms - int(step) * 1000)))
    return Request(f"/products/{symbol}/candles", query)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/products"),)


def _plain(digits: bytes) -> bytes:
    """Without the noise of a float: 0.35165789999999997 is 0.3516579, and may be either at the next reading.

    What has more digits than a float needs did not go through one.
    """
    if len(digits) <= _EXACT.prec:
        return digits
    value = Decimal(digits.decode())
    if not _EXACT.prec < len(value.as_tuple().digits) <= _FLOAT_DIGITS:
        return digits
    return f"{value.normalize(_EXACT):f}".encode()


_LAYOUT = Layout(time=0, low=1, high=2, open=3, close=4, volume=5, unit_ms=1000, text=_plain)


def read_candles(body: bytes) -> Rows:
    """``[[time, low, high, open, close, volume], …]``."""
    return _LAYOUT.rows(decoded(_ROWS, body))


class _Product(msgspec.Struct):
    id: str
    status: str
    trading_disabled: bool = False


_PRODUCTS = msgspec.json.Decoder(list[_Product])
_STATUS = {"online": Status.TRADING, "delisted": Status.DELISTED}


def read_symbols(body: bytes) -> Listing:
    listed: list[_Product] = decoded(_PRODUCTS, body, "symbol list")
    return {
        each.id: Status.HALTED if each.trading_disabled else _STATUS.get(each.status, Status.HALTED)
        for each in listed
        if check_symbol(each.id) is None and "AUCTION" not in each.id
    }


def failure(reply: Reply) -> ExchangeError | None:
    message = str(said.parsed(reply.body).get("message", ""))
    if reply.status == 404 and message:
        return UnknownSymbol("Coinbase does not know this product")
    if reply.status == 400 and "requested time range" in message:
        return LimitRefused("Coinbase refuses this page size")
    if reply.status == 400 and "granularity" in message:
        return UnknownTimeframe("Coinbase does not have this timeframe")
    if "maintenance" in message.lower():
        return Unreachable(f"Coinbase is under maintenance (HTTP {reply.status})")
    if message and 400 <= reply.status < 500 and reply.status not in (403, 429):
        return Refused(f"Coinbase refuses the request: {said.shown(reply.body)}")
    return said.outer("Coinbase", reply)


check_symbol = spelling.like(r"[A-Z0-9]{1,20}-[A-Z0-9]{2,10}", "is not a Coinbase product: write BTC-USD, upper case")

EXCHANGE = Exchange(
    name="coinbase",
    base_url="https://api.exchange.coinbase.com",
    requests_per_minute=180,
    page_limits=(300,),
    grace_s=5,
    blocked_s=10,
    columns=COLUMNS,
    timeframes=_TIMEFRAMES,
    derived=spelling.built(_TIMEFRAMES),
    check_symbol=check_symbol,
    candles_request=candles_request,
    read_candles=read_candles,
    first=Search(_SINCE_MS, twice=True),
    symbols_requests=symbols_requests,
    read_symbols=read_symbols,
    failure=failure,
    paging=Paging.COUNTED,
    strays=True,
    in_flight=2,
)
