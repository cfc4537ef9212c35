"""Coinbase's wire format: ISO times, both or none, and now and then a candle from before the start."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from marketd.clock import ms_of
from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, descending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked, AskKind
from marketd.timeframe import Timeframe

_SPELLINGS = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}
_TEXTS = {
    "timeframe": "Unsupported granularity",
    "limit": "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
}  # fmt: skip
_STATUS = {"trading": "online", "halted": "offline", "delisted": "delisted"}
_MOST = 300


class Coinbase(Dialect):
    """``early``: a page begins with the candle before its start."""

    name = "coinbase"
    symbols = ("BTC-USD", "ETH-USD", "LTC-USD")
    spellings = _SPELLINGS
    allowance = Allowance(15, window_s=1, block_s=1)

    def __init__(self, *, early: bool = True) -> None:
        self._early = early

    def asked(self, call: Call, at_ms: int) -> Asked:
        match call.path.split("/"):
            case ["", "products", product, "candles"]:
                granularity = dict(call.query).get("granularity", "")
                kind: AskKind = "candles" if call.headers.get("user-agent") else "other"
                return Asked(at_ms, kind, product, granularity, call.query)
            case ["", "products"]:
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        return Bounds(self._moment(given.get("start")), self._moment(given.get("end")))

    def _moment(self, text: str | None) -> int | None:
        if text is None or text.isdigit():
            seconds = self.whole(text)
            return None if seconds is None else seconds * 1000
        try:
            return ms_of(datetime.fromisoformat(text))
        except ValueError:
            raise self.refuse("window") from None

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """Of one bound alone nothing is heeded; too many are rejected, not cut."""
        if bounds.start_ms is None or bounds.end_ms is None:
            return Window(limit=_MOST)
        step_ms = frame.step_s * 1000
        if (bounds.end_ms - bounds.start_ms) // step_ms + 1 > _MOST:
            raise self.refuse("limit")
        start_ms = bounds.start_ms - step_ms if self._early else bounds.start_ms
        return Window(start_ms, bounds.end_ms, _MOST + 1)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f"[{each.open_ms // 1000},{each.low},{each.high},{each.open},{each.close},{each.volume}]"
            for each in descending(candles)
        ]
        return f"[{','.join(rows)}]".encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [
            {"id": symbol, "status": _STATUS[traded], "trading_disabled": traded != "trading"}
            for symbol, traded in symbols.items()
        ]
        return json.dumps(listed).encode()

    def other(self, asked: Asked, symbols: Mapping[str, Traded], operative: bool) -> Said:
        if asked.symbol:
            return json_said('{"message":"User-Agent header is required."}', 400)
        return self.refused("path")

    def refused(self, word: Word) -> Said:
        if word in ("symbol", "path"):
            return self.troubled(404, 0, "NotFound")
        return self.troubled(400, 0, _TEXTS.get(word, "Invalid start"))

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return self.troubled(429, 0, "Public rate limit exceeded")

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"message": text}), status)


DIALECT = Coinbase
