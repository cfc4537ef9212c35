"""Bybit's wire format: everything within 200 but the ban."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.damage import HTML_PAGE, Body
from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, descending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

_SPELLINGS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
_TEXTS = {"symbol": "Not supported symbols", "timeframe": "Invalid period!", "limit": "params error: limit invalid"}
_MOST = 1000


class Bybit(Dialect):
    """``cut_oldest``: of a window with more than the limit the oldest are left out; ``sends_flat``: nobody knows."""

    name = "bybit"
    symbols = ("BTCUSDT", "ETHUSDT", "LTCUSDT")
    spellings = _SPELLINGS
    allowance = Allowance(600, window_s=5, block_s=600)

    def __init__(self, *, cut_oldest: bool = True, sends_flat: bool = True) -> None:
        self._cut_oldest = cut_oldest
        self.flat = sends_flat

    def asked(self, call: Call, at_ms: int) -> Asked:
        given = dict(call.query)
        match call.path:
            case "/v5/market/kline":
                spot = given.get("category", "linear") == "spot"
                symbol = given.get("symbol", "") if spot else "?"
                return Asked(at_ms, "candles", symbol, given.get("interval", ""), call.query)
            case "/v5/market/instruments-info":
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        return Bounds(
            self.whole(given.get("start")), self.whole(given.get("end")), self.whole(given.get("limit"), "limit")
        )

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """The start is taken down to the candle that contains it."""
        limit = 200 if bounds.limit is None else bounds.limit
        if not 1 <= limit <= _MOST:
            raise self.refuse("limit")
        start_ms = None if bounds.start_ms is None else frame.open_ms(frame.number(bounds.start_ms))
        only_start = bounds.start_ms is not None and bounds.end_ms is None
        return Window(start_ms, bounds.end_ms, limit, newest_first=self._cut_oldest and not only_start)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f'["{each.open_ms}","{each.open}","{each.high}","{each.low}","{each.close}","{each.volume}","1.5"]'
            for each in descending(candles)
        ]
        return _envelope(f'"category":"spot","list":[{",".join(rows)}]')

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [{"symbol": symbol, "status": "Trading"} for symbol, traded in symbols.items() if traded == "trading"]
        return _envelope(f'"category":"spot","list":{json.dumps(listed)}')

    def refused(self, word: Word) -> Said:
        if word == "path":
            return Said(Body(HTML_PAGE, "text/html"), 404)
        return self.troubled(200, 10001, _TEXTS.get(word, "params error"))

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return Said(Body(b"access too frequent", "text/plain"), 403)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}}), status)

    def maintenance(self) -> Said:
        return self.troubled(200, 10016, "Internal Server Error.")


def _envelope(result: str) -> bytes:
    return f'{{"retCode":0,"retMsg":"OK","result":{{{result}}},"retExtInfo":{{}},"time":1672025956592}}'.encode()


DIALECT = Bybit
