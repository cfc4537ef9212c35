"""Gemini's wire format: a window of the newest candles, whatever is asked."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, descending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

_SPELLINGS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1hr": "1h", "6hr": "6h", "1day": "1d"}


class Gemini(Dialect):
    """``served`` candles of each timeframe: how many is not documented."""

    name = "gemini"
    symbols = ("BTCUSD", "ETHUSD", "LTCUSD")
    spellings = _SPELLINGS
    flat = True
    allowance = Allowance(120)

    def __init__(self, *, served: int = 1440) -> None:
        self._served = served

    def asked(self, call: Call, at_ms: int) -> Asked:
        match call.path.split("/"):
            case ["", "v2", "candles", symbol, timeframe]:
                return Asked(at_ms, "candles", symbol.upper(), timeframe, call.query)
            case ["", "v1", "symbols"]:
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        return Bounds()

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        return Window(limit=self._served)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f"[{each.open_ms},{each.open},{each.high},{each.low},{each.close},{each.volume}]"
            for each in descending(candles)
        ]
        return f"[{','.join(rows)}]".encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        return json.dumps([symbol.lower() for symbol, traded in symbols.items() if traded != "delisted"]).encode()

    def refused(self, word: Word) -> Said:
        if word == "path":
            return self._error(404, "EndpointNotFound", "API entry point was not found")
        text = "Supplied value 'xyz' is not a valid symbol" if word == "symbol" else "invalid time_frame"
        return self._error(400, "Bad Request", text)

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return self._error(429, "RateLimited", "Requests were made too frequently")

    def troubled(self, status: int, code: int, text: str) -> Said:
        return self._error(status, "System", text)

    def maintenance(self) -> Said:
        return self._error(503, "Maintenance", "The system is under maintenance")

    @staticmethod
    def _error(status: int, reason: str, text: str) -> Said:
        return json_said(json.dumps({"result": "error", "reason": reason, "message": text}), status)


DIALECT = Gemini
