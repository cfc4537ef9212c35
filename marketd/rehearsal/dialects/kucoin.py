"""KuCoin's wire format: seconds, newest first, and an end of which nobody says whether it is included."""

import json
from collections.abc import Callable, Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, descending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

_SPELLINGS = {
    "1min": "1m", "3min": "3m", "5min": "5m", "15min": "15m", "30min": "30m", "1hour": "1h", "2hour": "2h",
    "4hour": "4h", "6hour": "6h", "8hour": "8h", "12hour": "12h", "1day": "1d",
}  # fmt: skip
_MOST = 1500
_POINTS, _HALF_MINUTE_S = 2000, 30


class Kucoin(Dialect):
    """``end_included`` and ``cut_oldest`` of what is too much: nobody knows."""

    name = "kucoin"
    symbols = ("BTC-USDT", "ETH-USDT", "LTC-USDT")
    spellings = _SPELLINGS
    allowance = Allowance(_POINTS, window_s=_HALF_MINUTE_S, block_s=_HALF_MINUTE_S)

    def __init__(self, *, end_included: bool = False, cut_oldest: bool = True) -> None:
        self._end_included = end_included
        self._cut_oldest = cut_oldest

    def asked(self, call: Call, at_ms: int) -> Asked:
        given = dict(call.query)
        match call.path:
            case "/api/v1/market/candles":
                return Asked(at_ms, "candles", given.get("symbol", ""), given.get("type", ""), call.query, weight=3)
            case "/api/v2/symbols":
                return Asked(at_ms, "symbols", query=call.query, weight=4)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        """Nothing comes where one of them is left out."""
        given = dict(asked.query)
        start_s, end_s = self.whole(given.get("startAt")) or 0, self.whole(given.get("endAt")) or 0
        return Bounds(start_s * 1000, end_s * 1000 - (0 if self._end_included else 1))

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        return Window(bounds.start_ms, bounds.end_ms, _MOST, newest_first=self._cut_oldest)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f'["{each.open_ms // 1000}","{each.open}","{each.close}","{each.high}","{each.low}","{each.volume}","1.5"]'
            for each in descending(candles)
        ]
        return f'{{"code":"200000","data":[{",".join(rows)}]}}'.encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [
            {"symbol": symbol, "name": symbol, "enableTrading": traded == "trading"}
            for symbol, traded in symbols.items()
            if traded != "delisted"
        ]
        return json.dumps({"code": "200000", "data": listed}).encode()

    def refused(self, word: Word) -> Said:
        if word == "symbol":
            return self.troubled(200, 900001, "symbol not exists")
        if word == "path":
            return self.troubled(404, 404, "Not Found")
        return self.troubled(400, 400100, "type invalid" if word == "timeframe" else "Bad Request")

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        headers = (("gw-ratelimit-reset", str(int(wait_s * 1000))), ("gw-ratelimit-remaining", "0"))
        return json_said('{"code":"429000","msg":"Too many requests in a short period of time"}', 429, headers)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"code": str(code), "msg": text}), status)

    def maintenance(self) -> Said:
        return self.troubled(503, 500000, "Internal Server Error")

    def headers(self, used: Callable[[], int], now_ms: int) -> tuple[tuple[str, str], ...]:
        reset_ms = _HALF_MINUTE_S * 1000 - now_ms % (_HALF_MINUTE_S * 1000)
        return (
            ("gw-ratelimit-limit", str(_POINTS)), ("gw-ratelimit-remaining", str(max(0, _POINTS - used()))),
            ("gw-ratelimit-reset", str(reset_ms)),
        )  # fmt: skip


DIALECT = Kucoin
