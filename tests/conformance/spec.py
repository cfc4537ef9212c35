"""The wire formats once more, as the exchanges document them: independent of the adapters, to hold these against.

Owns one ``Spec`` for each exchange: where the rows stand in a reply, which field is which, and literal replies with the
candles in them. Samples marked *doc* are printed in the documentation, the others were recorded.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


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

    digits: Callable[[str], str] = str
    """What is stored of a number's text."""

    others: tuple[bytes, ...] = ()
    """Bodies that are no page of candles."""

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
        sample=Sample(
            b"[[1364774820000,93.25,93.3,93.3,93.25,93.3],\n [1364774880000,100,100,100,100,93.3],\n"
            b" [1364774940000,93.3,93.3,93.3,93.3,33.67686227]]",
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
        sample=Sample(
            b'[[1634943780000,"60685.22000000","60729.84000000","60670.90000000","60719.27000000","21.63272000",'
            b'1634943839999,"1313200.01340410",617,"12.28492000","745719.41022840","0"],\n'
            b' [1634943840000,"60719.28000000","60780.41000000","60707.00000000","60771.81000000","21.91797000",'
            b'1634943899999,"1331667.75064580",769,"11.54481000","701336.15460230","0"]]',
            (
                (
                    "1634943780000", "60685.22000000", "60729.84000000", "60670.90000000", "60719.27000000",
                    "21.63272000",
                ),
                (
                    "1634943840000", "60719.28000000", "60780.41000000", "60707.00000000", "60771.81000000",
                    "21.91797000",
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
        sample=Sample(
            b'{"data":{"pair":"BTC/USD","ohlc":[\n {"high":"9064.77","timestamp":"1593961440","volume":"18.49436608",'
            b'"low":"9040.87","close":"9064.77","open":"9040.87"},\n {"high":"9071.59","timestamp":"1593961500",'
            b'"volume":"3.48631711","low":"9058.76","close":"9061.07","open":"9064.66"}]}}',
            (
                ("1593961440000", "9040.87", "9064.77", "9040.87", "9064.77", "18.49436608"),
                ("1593961500000", "9064.66", "9071.59", "9058.76", "9061.07", "3.48631711"),
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
        sample=Sample(
            b'{"retCode":0,"retMsg":"OK","result":{"symbol":"BTCUSD","category":"inverse","list":[\n'
            b' ["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"],\n'
            b' ["1670605200000","17071.5","17071.5","17061","17071","4177","0.24469757"]]},"retExtInfo":{},'
            b'"time":1672025956592}',
            (
                ("1670608800000", "17071", "17073", "17027", "17055.5", "268611"),
                ("1670605200000", "17071.5", "17071.5", "17061", "17071", "4177"),
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
        sample=Sample(
            b"[[1546300860,3686.62,3691.61,3691.61,3686.63,3.19590501],\n"
            b" [1546300800,3691.6,3692.33,3691.87,3691.61,7.82111211]]",
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
        sample=Sample(
            b'[["1660957920","6227.070147198573","0.0000133485","0.0000133615","0.0000133347","0.0000133468",'
            b'"466641934.99"]]',
            (("1660957920000", "0.0000133468", "0.0000133615", "0.0000133347", "0.0000133485", "466641934.99"),),
        ),
        others=(
            b"[]", b'{"label":"INVALID_CURRENCY_PAIR","message":"x"}', b'{"label":"TOO_MANY_REQUESTS","message":"x"}',
            b'{"label":"INVALID_PARAM_VALUE","message":"Candlestick too long ago. Maximum 10000 points recently"}',
            b'[["1539852480","971519.677","0.0021724","0.0021922","0.0021724","0.0021737","true"]]',
            b'[{"id":"BTC_USDT","trade_status":"tradable"}]',
        ),
    ),
    "gemini": Spec(
        symbol="BTCUSD", fields=(0, 1, 2, 3, 4, 5), unit_ms=1, rows=lambda page: page, most=1440,
        sample=Sample(
            b"[[1591515000000,0.02509,0.02509,0.02509,0.02509,0],"
            b"[1591514700000,0.02503,0.02509,0.02503,0.02509,44.6405]]",
            (
                ("1591515000000", "0.02509", "0.02509", "0.02509", "0.02509", "0"),
                ("1591514700000", "0.02503", "0.02509", "0.02503", "0.02509", "44.6405"),
            ),
        ),
        others=(
            b"[]", b'{"result":"error","reason":"Bad Request","message":"Supplied value \'x\' is not a valid symbol"}',
            b'{"result":"error","reason":"Maintenance","message":"x"}', b'["btcusd","ethusd"]',
        ),
    ),
    "hyperliquid": Spec(
        symbol="kPEPE", fields=("t", "o", "h", "l", "c", "v"), unit_ms=1, rows=lambda page: page, most=5000,
        sample=Sample(
            b'[{"T":1684702799999,"c":"0.001604","h":"0.001616","i":"1h","l":"0.001601","n":709,"o":"0.001601",'
            b'"s":"kPEPE","t":1684699200000,"v":"520665683.0"},\n {"T":1684706399999,"c":"0.001591","h":"0.001603",'
            b'"i":"1h","l":"0.001584","n":802,"o":"0.001603","s":"kPEPE","t":1684702800000,"v":"682593287.0"}]',
            (
                ("1684699200000", "0.001601", "0.001616", "0.001601", "0.001604", "520665683.0"),
                ("1684702800000", "0.001603", "0.001603", "0.001584", "0.001591", "682593287.0"),
            ),
        ),
        others=(
            b"[]", b"null", b"Failed to deserialize the JSON body into the target type",
            b'{"universe":[{"name":"BTC","szDecimals":5},{"name":"OLD","isDelisted":true}]}',
        ),
    ),
    "kraken": Spec(
        symbol="XBTUSDT", fields=(0, 1, 2, 3, 4, 6), unit_ms=1000, rows=_kraken, most=721,
        sample=Sample(
            b'{"error":[],"result":{"XBTUSDT":[\n'
            b' [1762777020,"106038.2","106038.2","106038.2","106038.2","0.0","0.00000000",0],\n'
            b' [1762777140,"106038.3","106038.3","106038.3","106038.3","106038.3","0.00032101",1],\n'
            b' [1762777200,"106038.1","106044.3","106038.1","106040.1","106039.6","0.08317981",3]],"last":1762820160}}',
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
        sample=Sample(
            b'{"code":"200000","data":[\n'
            b' ["1591517700","0.025078","0.025069","0.025084","0.025064","18.9883256","0.4761861079404"],\n'
            b' ["1591516800","0.025089","0.025079","0.025089","0.02506","99.4716622","2.494143499081"]]}',
            (
                ("1591517700000", "0.025078", "0.025084", "0.025064", "0.025069", "18.9883256"),
                ("1591516800000", "0.025089", "0.025089", "0.02506", "0.025079", "99.4716622"),
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
        sample=Sample(
            b'{"code":"0","msg":"","data":[\n'
            b' ["1678928760000","24341.4","24344","24313.2","24323","628","2.5819","62800","0"],\n'
            b' ["1678928700000","24324.1","24347.6","24321.7","24341.4","2565","10.5401","256500","1"]]}',
            (
                ("1678928760000", "24341.4", "24344", "24313.2", "24323", "628"),
                ("1678928700000", "24324.1", "24347.6", "24321.7", "24341.4", "2565"),
            ),
        ),
        others=(
            b'{"code":"0","msg":"","data":[]}', b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}',
            b'{"code":"50011","msg":"Too Many Requests","data":[]}', b'{"code":"50001","msg":"x","data":[]}',
            b'{"code":"0","msg":"","data":[{"instId":"BTC-USDT","state":"live"}]}',
        ),
    ),
}  # fmt: skip
