"""Kraken spot (REST).

Owns the wire facts: errors inside 200, a result under a key of its own choice, and the newest 720 candles only,
whatever is asked for. Sources: docs.kraken.com get-ohlc-data; support.kraken.com 206548367.
"""

import msgspec

from marketd.errors import BadReply, ExchangeError, Refused, Throttled, UnknownSymbol, UnknownTimeframe, Unreachable
from marketd.exchanges import said, spelling
from marketd.exchanges.facts import Exchange, Listing, NoTrade, Oldest, Paging, Reply, Request, Status
from marketd.exchanges.layout import COLUMNS, Layout, decoded
from marketd.model import Rows

_TIMEFRAMES = {"1m": "1", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "4h": "240", "1d": "1440"}
_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=6, unit_ms=1000)
_REACH = 720
_LOCKED_OUT_S = 900.0
_TRADED = ("online", "limit_only", "reduce_only")


def candles_request(symbol: str, timeframe: str, start_ms: int, end_ms: int, newest_first: bool, limit: int) -> Request:
    """Since is exclusive, in seconds; there is no end: what is younger comes, too."""
    query = (("pair", symbol), ("interval", _TIMEFRAMES[timeframe]), ("since", str(start_ms // 1000 - 1)))
    return Request("/0/public/OHLC", query)


def first_trade_request(symbol: str, timeframe: str) -> Request:
    """Trades go back to the first one, as candles do not."""
    return Request("/0/public/Trades", (("pair", symbol), ("since", "0"), ("count", "1")))


def symbols_requests() -> tuple[Request, ...]:
    return (Request("/0/public/AssetPairs"),)


class _Page(msgspec.Struct):
    result: dict[str, msgspec.Raw]


_PAGE = msgspec.json.Decoder(_Page)
_ROWS = msgspec.json.Decoder(list[list[msgspec.Raw]])


def _result(body: bytes) -> msgspec.Raw:
    """The rows of a page, under whatever name the pair has there."""
    page: _Page = decoded(_PAGE, body)
    named = [rows for key, rows in page.result.items() if key != "last"]
    if len(named) != 1:
        raise BadReply(f"a page of one pair was expected, not of {len(named)}")
    return named[0]


def read_candles(body: bytes) -> Rows:
    """``{"result":{"XXBTZUSD":[[time, "open", "high", "low", "close", "vwap", "volume", count], …],"last":…}}``."""
    return _LAYOUT.rows(decoded(_ROWS, _result(body)))


def first_traded_ms(body: bytes) -> int | None:
    """``{"result":{"XXBTZUSD":[["price", "volume", time, …], …],"last":"…"}}``; times are seconds with decimals."""
    trades = decoded(_ROWS, _result(body), "list of trades")
    try:
        times = [float(bytes(trade[2])) for trade in trades]
    except (LookupError, ValueError) as error:
        raise BadReply("list of trades cannot be read: a trade has no time") from error
    return int(min(times) * 1000) if times and 0 < min(times) < 1e11 else None


class _Pair(msgspec.Struct):
    altname: str
    status: str = "online"


class _Pairs(msgspec.Struct):
    result: dict[str, _Pair]


_PAIRS = msgspec.json.Decoder(_Pairs)


def read_symbols(body: bytes) -> Listing:
    listed: _Pairs = decoded(_PAIRS, body, "symbol list")
    return {
        pair.altname: Status.TRADING if pair.status in _TRADED else Status.HALTED
        for pair in listed.result.values()
        if check_symbol(pair.altname) is None
    }


def failure(reply: Reply) -> ExchangeError | None:
    """Errors come with status 200; a warning (W) is none."""
    told = said.parsed(reply.body).get("error") if b'"error":[]' not in reply.body[:40] else None
    errors = [str(each) for each in told if str(each).startswith("E")] if isinstance(told, list) else []
    text = said.shown(" ".join(errors).encode())
    if "Unknown asset pair" in text or "Invalid asset pair" in text:
        return UnknownSymbol("Kraken does not know this pair")
    if "lockout" in text:
        return Throttled("Kraken has locked this address out for a while", _LOCKED_OUT_S)
    if "Too many requests" in text or "Rate limit" in text:
        return Throttled("Kraken asks to slow down", reply.retry_after_s)
    if "Invalid arguments" in text and "interval" in text:
        return UnknownTimeframe("Kraken does not have this timeframe")
    if "Invalid arguments" in text or "Permission" in text:
        return Refused(f"Kraken refuses the request: {text}")
    if errors:
        return Unreachable(f"Kraken answered HTTP {reply.status} with error {text}")
    return said.outer("Kraken", reply)


check_symbol = spelling.like(r"[A-Z0-9.]{4,24}", "is not a Kraken pair: write XBTUSD, upper case")

EXCHANGE = Exchange(
    name="kraken",
    base_url="https://api.kraken.com",
    requests_per_minute=40,
    page_limits=(_REACH,),
    grace_s=5,
    blocked_s=15,
    columns=COLUMNS,
    timeframes=_TIMEFRAMES,
    derived=spelling.built(_TIMEFRAMES),
    check_symbol=check_symbol,
    candles_request=candles_request,
    read_candles=read_candles,
    first=Oldest(first_trade_request, first_traded_ms),
    symbols_requests=symbols_requests,
    read_symbols=read_symbols,
    failure=failure,
    paging=Paging.RECENT,
    no_trade=NoTrade.FLAT,
    reach=_REACH,
    in_flight=1,
)
