"""OKX's wire format: exclusive bounds with names turned around, and a flag for what is closed."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, descending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

_SPELLINGS = {
    "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h",
    "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d",
}  # fmt: skip
_TEXTS = {"timeframe": "Parameter bar error", "limit": "Parameter limit error"}
_STATE = {"trading": "live", "halted": "suspend"}


class Okx(Dialect):
    """``most`` rows a page (100 or 300) and ``sends_flat``: nobody knows for sure of history."""

    name = "okx"
    symbols = ("BTC-USDT", "ETH-USDT", "LTC-USDT")
    spellings = _SPELLINGS
    allowance = Allowance(20, window_s=2, block_s=2)

    def __init__(self, *, most: int = 300, sends_flat: bool = True) -> None:
        self._most = most
        self.flat = sends_flat
        self._now_ms = 0

    def asked(self, call: Call, at_ms: int) -> Asked:
        given, self._now_ms = dict(call.query), at_ms
        match call.path:
            case "/api/v5/market/history-candles" | "/api/v5/market/candles":
                return Asked(at_ms, "candles", given.get("instId", ""), given.get("bar", "1m"), call.query)
            case "/api/v5/public/instruments":
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        before, after = self.whole(given.get("before")), self.whole(given.get("after"))
        return Bounds(
            None if before is None else before + 1, None if after is None else after - 1,
            self.whole(given.get("limit"), "limit"),
        )  # fmt: skip

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """The newest of the window, whichever bound is given."""
        limit = 100 if bounds.limit is None else bounds.limit
        if not 1 <= limit <= 300:
            raise self.refuse("limit")
        return Window(bounds.start_ms, bounds.end_ms, min(limit, self._most))

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        frame = TIMEFRAMES[_SPELLINGS.get(asked.timeframe, "1m")]
        rows = [
            f'["{each.open_ms}","{each.open}","{each.high}","{each.low}","{each.close}","{each.volume}","1.5","1.5",'
            f'"{int(each.open_ms + frame.step_s * 1000 <= self._now_ms)}"]'
            for each in descending(candles)
        ]
        return f'{{"code":"0","msg":"","data":[{",".join(rows)}]}}'.encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [
            {"instId": symbol, "state": _STATE[traded], "listTime": "1548133413000"}
            for symbol, traded in symbols.items()
            if traded != "delisted"
        ]
        return json.dumps({"code": "0", "msg": "", "data": listed}).encode()

    def refused(self, word: Word) -> Said:
        if word == "symbol":
            return self.troubled(200, 51001, "Instrument ID doesn't exist.")
        if word == "path":
            return self.troubled(404, 404, "Not Found")
        return self.troubled(400, 51000, _TEXTS.get(word, "Parameter error"))

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return self.troubled(429, 50011, "Too Many Requests")

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"code": str(code), "msg": text, "data": []}), status)

    def maintenance(self) -> Said:
        return self.troubled(503, 50001, "Service temporarily unavailable.")


DIALECT = Okx
