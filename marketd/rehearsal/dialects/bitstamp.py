"""Bitstamp's wire format: objects of texts, and a first row that gives way where the window holds one too many."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, ascending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

_SPELLINGS = {
    str(TIMEFRAMES[name].step_s): name
    for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
}  # fmt: skip
_MOST = 1000


class Bitstamp(Dialect):
    name = "bitstamp"
    symbols = ("BTCUSD", "ETHUSD", "LTCUSD")
    prefix = "/api/v2"
    spellings = _SPELLINGS
    flat = True
    allowance = Allowance(10_000, window_s=600)

    def asked(self, call: Call, at_ms: int) -> Asked:
        match call.path.split("/"):
            case ["", "ohlc", pair, ""]:
                return Asked(at_ms, "candles", pair.upper(), dict(call.query).get("step", ""), call.query)
            case ["", "markets", ""]:
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        start_s, end_s = self.whole(given.get("start")), self.whole(given.get("end"))
        return Bounds(
            None if start_s is None else start_s * 1000, None if end_s is None else end_s * 1000,
            self.whole(given.get("limit"), "limit"),
        )  # fmt: skip

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        if bounds.limit is None or not 1 <= bounds.limit <= _MOST:
            raise self.refuse("limit")
        return Window(bounds.start_ms, bounds.end_ms, bounds.limit, newest_first=True)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f'{{"high":"{each.high}","timestamp":"{each.open_ms // 1000}","volume":"{each.volume}",'
            f'"low":"{each.low}","close":"{each.close}","open":"{each.open}"}}'
            for each in ascending(candles)
        ]
        return f'{{"data":{{"pair":"{asked.symbol}","ohlc":[{",".join(rows)}]}}}}'.encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [
            {
                "name": symbol, "market_symbol": symbol.lower(),
                "trading": "Enabled" if traded == "trading" else "Disabled", "market_type": "SPOT",
            }
            for symbol, traded in symbols.items()
            if traded != "delisted"
        ]  # fmt: skip
        return json.dumps(listed).encode()

    def refused(self, word: Word) -> Said:
        if word in ("symbol", "path"):
            return json_said('{"status":"error","reason":"Not found","response_code":"404.001"}', 404)
        return json_said(
            f'{{"code":"API5502","errors":[{{"field":"{"step" if word == "timeframe" else word}"}}]}}', 400
        )

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return json_said('{"status":"error","reason":"Too many requests","response_code":"400.002"}', 400)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"error": text}), status)


DIALECT = Bitstamp
