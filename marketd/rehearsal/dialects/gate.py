"""Gate's wire format: rows in an order of their own, and a wall behind the newest 10 000 candles."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, ascending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

_SPELLINGS = {name: name for name in ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "1d")}
_REFUSALS = {
    "symbol": ("INVALID_CURRENCY_PAIR", "Invalid currency pair"),
    "timeframe": ("INVALID_PARAM_VALUE", "invalid value for field interval"),
    "limit": (
        "INVALID_PARAM_VALUE",
        "Candlestick range too broad. Maximum 1000 data points are allowed per request",
    ),
    "old": ("INVALID_PARAM_VALUE", "Candlestick too long ago. Maximum 10000 points recently are allowed"),
    "window": ("INVALID_PARAM_VALUE", "limit conflicts with from and to"),
}  # fmt: skip
_MOST, _SERVED = 1000, 10_000


class Gate(Dialect):
    """``sends_flat`` and ``served`` (how many of the newest are): nobody knows for sure."""

    name = "gate"
    symbols = ("BTC_USDT", "ETH_USDT", "LTC_USDT")
    prefix = "/api/v4"
    spellings = _SPELLINGS
    allowance = Allowance(200, window_s=10, block_s=10)

    def __init__(self, *, sends_flat: bool = True, served: int = _SERVED) -> None:
        self.flat = sends_flat
        self._served = served
        self._now_ms = 0

    def asked(self, call: Call, at_ms: int) -> Asked:
        given, self._now_ms = dict(call.query), at_ms
        match call.path:
            case "/spot/candlesticks":
                return Asked(at_ms, "candles", given.get("currency_pair", ""), given.get("interval", ""), call.query)
            case "/spot/currency_pairs":
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        start_s, end_s = self.whole(given.get("from")), self.whole(given.get("to"))
        limit = self.whole(given.get("limit"), "limit")
        if limit is not None and (start_s is not None or end_s is not None):
            raise self.refuse("window")
        return Bounds(None if start_s is None else start_s * 1000, None if end_s is None else end_s * 1000, limit)

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        end_ms = now_ms if bounds.end_ms is None else bounds.end_ms
        if bounds.start_ms is None:
            return Window(None, end_ms, min(bounds.limit or 100, _MOST))
        start = frame.number(bounds.start_ms)
        if frame.number(end_ms) - start + 1 > _MOST:
            raise self.refuse("limit")
        if start <= frame.number(now_ms) - self._served:
            raise self.refuse("old")
        return Window(frame.open_ms(start), end_ms, _MOST)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        frame = TIMEFRAMES[_SPELLINGS[asked.timeframe]] if asked.timeframe in _SPELLINGS else None
        rows = [
            f'["{each.open_ms // 1000}","1.5","{each.close}","{each.high}","{each.low}","{each.open}","{each.volume}",'
            f'"{str(frame is None or each.open_ms + frame.step_s * 1000 <= self._now_ms).lower()}"]'
            for each in ascending(candles)
        ]
        return f"[{','.join(rows)}]".encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [
            {"id": symbol, "trade_status": "tradable" if traded == "trading" else "untradable", "delisting_time": 0}
            for symbol, traded in symbols.items()
            if traded != "delisted"
        ]
        return json.dumps(listed).encode()

    def refused(self, word: Word) -> Said:
        if word == "path":
            return json_said('{"label":"NOT_FOUND","message":"Path not found"}', 404)
        label, text = _REFUSALS[word]
        return json_said(json.dumps({"label": label, "message": text}), 400)

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        reset_s = -(-(now_ms + int(wait_s * 1000)) // 1000)
        headers = (("X-Gate-RateLimit-Reset-Timestamp", str(reset_s)),)
        return json_said('{"label":"TOO_MANY_REQUESTS","message":"Request Rate limit Exceeded"}', 429, headers)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"label": "SERVER_ERROR", "message": text}), status)


DIALECT = Gate
