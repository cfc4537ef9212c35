"""The wire formats once more, as the exchanges document them: independent of the adapters, to hold these against.

Owns one ``Spec`` for each exchange: where the rows stand in a reply, which field is which, and the candles in a literal
reply. The replies themselves are files (see ``recorded``).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from tests.conformance.recorded import reply


@dataclass(frozen=True)
class Sample:
    """A literal reply and its candles: (open_ms, open, high, low, close, volume) as texts, in the reply's order."""

    body: bytes
    candles: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Spec:
    """``fields`` are time, open, high, low, close, volume; ``rows`` finds the rows in a decoded reply."""

    symbol: str
    fields: Sequence[Any]
    unit_ms: int
    rows: Callable[[Any], Any]
    sample: Sample
    most: int
    """Rows that the exchange sends at most."""

    no_trade: Literal["absent", "flat", "unproven"]
    """How an interval without trades looks."""

    words: frozenset[str] = frozenset({"halted", "timeframe"})
    """What the exchange has words of its own for: a symbol that is ``halted``, a ``timeframe`` or a page (``limit``)
    that it refuses, how long to ``wait``, candles that are too ``old``."""

    digits: Callable[[str], str] = str
    """What is stored of a number's text."""

    others: tuple[bytes, ...] = ()
    """Bodies that are no page of candles."""

    sent: Callable[[str], str] = str
    """How the symbol stands in a request."""

    ccxt: str | None = ""
    """What ccxt calls the exchange, where that is another name; None where it does not have it."""

    def said(self, body: bytes) -> frozenset[tuple[str, ...]]:
        """Candles of a reply in the exchange's own digits, by this reading; of rows with all fields only."""
        found = self.rows(json.loads(body, parse_float=str, parse_int=str))
        candles = set()
        for row in found:
            try:
                time, *rest = (str(row[field]) for field in self.fields)
                candles.add((str(int(time) * self.unit_ms), *map(self.digits, rest)))
            except (LookupError, TypeError, ValueError, ArithmeticError):
                continue
        return frozenset(candles)


def symbols_of(name: str, coins: Sequence[str]) -> tuple[str, ...]:
    """These coins' symbols, in the spelling of exchange ``name``."""
    known = SPECS[name].symbol
    base = next(coin for coin in ("kPEPE", "BTC", "XBT") if known.startswith(coin))
    return tuple(known.replace(base, base if coin == "BTC" else coin, 1) for coin in coins)


def _without_noise(text: str) -> str:
    """Sixteen or seventeen digits are a float's; the fifteenth is the last that it surely keeps."""
    value = Decimal(text)
    if not 16 <= len(value.as_tuple().digits) <= 17:
        return text
    return f"{round(value, 14 - value.adjusted()).normalize():f}"


def _kraken(page: Any) -> Any:
    return next(rows for key, rows in page["result"].items() if key != "last")


SPECS: dict[str, Spec] = {
    "bitfinex": Spec(
        symbol="BTCUSD", fields=(0, 1, 3, 4, 2, 5), unit_ms=1, rows=lambda page: page, most=10_000,
        no_trade="absent", words=frozenset({"timeframe", "limit"}), sent="t{}".format,
        sample=Sample(
            reply("bitfinex"),
            (
                ("1364774820000", "93.25", "93.3", "93.25", "93.3", "93.3"),
                ("1364774880000", "100", "100", "100", "100", "93.3"),
                ("1364774940000", "93.3", "93.3", "93.3", "93.3", "33.67686227"),
            ),
        ),
        others=(
            b"[]", b"[[]]", b'["error",10020,"symbol: invalid"]', b'["error",11010,"ratelimit: error"]',
            b'{"error":"ERR_RATE_LIMIT"}', b'{"code":503,"error":"temporarily_unavailable"}',
            b'[["BTCUSD","DOGE:USD"]]', b'["error",20060,"maintenance"]',
        ),
    ),
    "binance": Spec(
        symbol="BTCUSDT", fields=(0, 1, 2, 3, 4, 5), unit_ms=1, rows=lambda page: page, most=1000,
        no_trade="flat", words=frozenset({"halted", "timeframe", "limit", "wait"}),
        sample=Sample(
            reply("binance"),
            (
                (
                    "1634943780000", "60685.22000000", "60729.84000000", "60670.90000000", "60719.27000000",
                    "21.63272000",
                ),
                (
                    "1634943840000", "60719.28000000", "60780.41000000", "60707.00000000", "60771.81000000",
                    "21.91797000",
                ),
                (
                    "1634943900000", "60773.18000000", "60799.13000000", "60745.24000000", "60768.71000000",
                    "15.38660000",
                ),
            ),
        ),
        others=(
            b"[]", b'{"code":-1121,"msg":"Invalid symbol."}', b'{"code":-1003,"msg":"Too much request weight used"}',
            b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING"},{"symbol":"NAVBTC","status":"BREAK"}]}',
            b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1659146400000."}',
        ),
    ),
    "bitstamp": Spec(
        symbol="BTCUSD", fields=("timestamp", "open", "high", "low", "close", "volume"), unit_ms=1000, most=1000,
        rows=lambda page: page["data"]["ohlc"],
        no_trade="flat", sent=str.lower,
        sample=Sample(
            reply("bitstamp"),
            (
                ("1593961440000", "9040.87", "9064.77", "9040.87", "9064.77", "18.49436608"),
                ("1593961500000", "9064.66", "9071.59", "9058.76", "9061.07", "3.48631711"),
                ("1593961560000", "9067.33", "9067.33", "9061.94", "9061.94", "0.04142833"),
            ),
        ),
        others=(
            b'{"data":{"pair":"BTC/USD","ohlc":[]}}', b'{"status":"error","reason":"x","response_code":"400.002"}',
            b'{"error":"Not found"}', b'[{"market_symbol":"btcusd","trading":"Enabled","market_type":"SPOT"}]',
            b'{"code":"API5502","errors":[]}',
        ),
    ),
    "bybit": Spec(
        symbol="BTCUSDT", fields=(0, 1, 2, 3, 4, 5), unit_ms=1, rows=lambda page: page["result"]["list"], most=1000,
        no_trade="unproven",
        sample=Sample(
            reply("bybit", "documented"),
            (
                ("1670608800000", "17071", "17073", "17027", "17055.5", "268611"),
                ("1670605200000", "17071.5", "17071.5", "17061", "17071", "4177"),
                ("1670601600000", "17086.5", "17088", "16978", "17071.5", "6356"),
            ),
        ),
        others=(
            b'{"retCode":0,"retMsg":"OK","result":{"list":[]}}', b'{"retCode":10001,"retMsg":"Not supported symbols"}',
            b'{"retCode":10006,"retMsg":"Too many visits!"}', b'{"retCode":10016,"retMsg":"server error"}',
            b'{"retCode":0,"result":{"list":[{"symbol":"BTCUSDT","status":"Trading"}]}}', b"access too frequent",
        ),
    ),
    "coinbase": Spec(
        symbol="BTC-USD", fields=(0, 3, 2, 1, 4, 5), unit_ms=1000, rows=lambda page: page, most=300,
        digits=_without_noise,
        no_trade="absent", words=frozenset({"halted", "timeframe", "limit"}), ccxt="coinbaseexchange",
        sample=Sample(
            reply("coinbase"),
            (
                ("1546300860000", "3691.61", "3691.61", "3686.62", "3686.63", "3.19590501"),
                ("1546300800000", "3691.87", "3692.33", "3691.6", "3691.61", "7.82111211"),
            ),
        ),
        others=(
            b"[]", b'{"message":"NotFound"}', b'{"message":"Public rate limit exceeded"}',
            b'{"message":"Unsupported granularity"}', b'[{"id":"BTC-USD","status":"online"}]',
        ),
    ),
    "gate": Spec(
        symbol="BTC_USDT", fields=(0, 5, 3, 4, 2, 6), unit_ms=1000, rows=lambda page: page, most=1000,
        no_trade="unproven", words=frozenset({"halted", "timeframe", "limit", "wait", "old"}),
        sample=Sample(
            reply("gate"),
            (("1660957920000", "0.0000133468", "0.0000133615", "0.0000133347", "0.0000133485", "466641934.99"),),
        ),
        others=(
            b"[]", b'{"label":"INVALID_CURRENCY_PAIR","message":"x"}', b'{"label":"TOO_MANY_REQUESTS","message":"x"}',
            b'{"label":"INVALID_PARAM_VALUE","message":"Candlestick too long ago. Maximum 10000 points recently"}',
            reply("gate", "documented"),
            b'[{"id":"BTC_USDT","trade_status":"tradable"}]',
        ),
    ),
    "gemini": Spec(
        symbol="BTCUSD", fields=(0, 1, 2, 3, 4, 5), unit_ms=1, rows=lambda page: page, most=1440,
        no_trade="flat", words=frozenset({"timeframe"}), sent=str.lower,
        sample=Sample(
            reply("gemini"),
            (
                ("1591515000000", "0.02509", "0.02509", "0.02509", "0.02509", "0"),
                ("1591514700000", "0.02503", "0.02509", "0.02503", "0.02509", "44.6405"),
                ("1591514400000", "0.02503", "0.02503", "0.02503", "0.02503", "0"),
            ),
        ),
        others=(
            b"[]", b'{"result":"error","reason":"Bad Request","message":"Supplied value \'x\' is not a valid symbol"}',
            b'{"result":"error","reason":"Maintenance","message":"x"}', b'["btcusd","ethusd"]',
        ),
    ),
    "hyperliquid": Spec(
        symbol="kPEPE", fields=("t", "o", "h", "l", "c", "v"), unit_ms=1, rows=lambda page: page, most=5000,
        no_trade="unproven", words=frozenset(),
        sample=Sample(
            reply("hyperliquid"),
            (
                ("1684699200000", "0.001601", "0.001616", "0.001601", "0.001604", "520665683.0"),
                ("1684702800000", "0.001603", "0.001603", "0.001584", "0.001591", "682593287.0"),
                ("1684706400000", "0.001591", "0.001609", "0.001591", "0.001605", "316205596.0"),
            ),
        ),
        others=(
            b"[]", b"null", b"Failed to deserialize the JSON body into the target type",
            b'{"universe":[{"name":"BTC","szDecimals":5},{"name":"OLD","isDelisted":true}]}',
        ),
    ),
    "kraken": Spec(
        symbol="XBTUSDT", fields=(0, 1, 2, 3, 4, 6), unit_ms=1000, rows=_kraken, most=721,
        no_trade="flat",
        sample=Sample(
            reply("kraken"),
            (
                ("1762777020000", "106038.2", "106038.2", "106038.2", "106038.2", "0.00000000"),
                ("1762777140000", "106038.3", "106038.3", "106038.3", "106038.3", "0.00032101"),
                ("1762777200000", "106038.1", "106044.3", "106038.1", "106040.1", "0.08317981"),
            ),
        ),
        others=(
            b'{"error":["EQuery:Unknown asset pair"]}', b'{"error":["EGeneral:Too many requests"]}',
            b'{"error":["EGeneral:Temporary lockout"]}', b'{"error":[],"result":{"X":[],"last":0}}',
            b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","status":"online"}}}',
            b'{"error":[],"result":{"XXBTZUSD":[["5541.2","0.1",1381095255.81,"b","m","",1]],"last":"1"}}',
        ),
    ),
    "kucoin": Spec(
        symbol="BTC-USDT", fields=(0, 1, 3, 4, 2, 5), unit_ms=1000, rows=lambda page: page["data"], most=1500,
        no_trade="absent", words=frozenset({"halted", "timeframe", "wait"}),
        sample=Sample(
            reply("kucoin"),
            (
                ("1591517700000", "0.025078", "0.025084", "0.025064", "0.025069", "18.9883256"),
                ("1591516800000", "0.025089", "0.025089", "0.02506", "0.025079", "99.4716622"),
                ("1591515900000", "0.025079", "0.025091", "0.025068", "0.02509", "59.83701271"),
            ),
        ),
        others=(
            b'{"code":"200000","data":[]}', b'{"code":"429000","msg":"Too many requests"}',
            b'{"code":"900001","msg":"symbol not exists"}', b'{"code":"500000","msg":"Internal Server Error"}',
            b'{"code":"200000","data":[{"symbol":"BTC-USDT","enableTrading":true}]}',
        ),
    ),
    "okx": Spec(
        symbol="BTC-USDT", fields=(0, 1, 2, 3, 4, 5), unit_ms=1, rows=lambda page: page["data"], most=300,
        no_trade="flat", words=frozenset({"halted", "timeframe", "limit"}),
        sample=Sample(
            reply("okx"),
            (
                ("1678928760000", "24341.4", "24344", "24313.2", "24323", "628"),
                ("1678928700000", "24324.1", "24347.6", "24321.7", "24341.4", "2565"),
                ("1678928640000", "24300.2", "24324.1", "24288", "24324.1", "3304"),
            ),
        ),
        others=(
            b'{"code":"0","msg":"","data":[]}', b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}',
            b'{"code":"50011","msg":"Too Many Requests","data":[]}', b'{"code":"50001","msg":"x","data":[]}',
            b'{"code":"0","msg":"","data":[{"instId":"BTC-USDT","state":"live"}]}',
        ),
    ),
}  # fmt: skip
