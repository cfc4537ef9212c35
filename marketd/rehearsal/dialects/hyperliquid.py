"""Hyperliquid's wire format: one path, questions in JSON, and the newest 5000 candles only."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from marketd.rehearsal.damage import Body
from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, ascending
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

_SPELLINGS = {
    name: name for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "1M")
}  # fmt: skip
_SERVED = 5000


class Hyperliquid(Dialect):
    """``sends_flat``: minutes without trades have a candle."""

    name = "hyperliquid"
    symbols = ("BTC", "ETH", "PURR/USDC")
    spellings = _SPELLINGS
    allowance = Allowance(1200)

    def __init__(self, *, sends_flat: bool = True) -> None:
        self.flat = sends_flat

    def asked(self, call: Call, at_ms: int) -> Asked:
        question = _question(call.body) if call.path == "/info" else {}
        match question.get("type"):
            case "candleSnapshot":
                given = question.get("req")
                given = given if isinstance(given, dict) else {}
                names = ("coin", "interval", "startTime", "endTime")
                query = tuple((name, str(given[name])) for name in names if name in given)
                coin, interval = str(given.get("coin", "")), str(given.get("interval", ""))
                return Asked(at_ms, "candles", coin, interval, query, weight=20 + _rows_asked(given) // 60)
            case "meta" | "spotMeta" as kind:
                return Asked(at_ms, "symbols", query=(("type", str(kind)),), weight=20)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        return Bounds(self.whole(given.get("startTime")), self.whole(given.get("endTime")))

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """The start is taken down to the candle that contains it; what is older than the wall is not there."""
        oldest_ms = frame.open_ms(frame.number(now_ms) - _SERVED + 1)
        start_ms = 0 if bounds.start_ms is None else frame.open_ms(frame.number(bounds.start_ms))
        return Window(max(start_ms, oldest_ms), bounds.end_ms, _SERVED)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        step_ms = TIMEFRAMES[_SPELLINGS.get(asked.timeframe, "1m")].typical_s * 1000
        rows = [
            f'{{"T":{each.open_ms + step_ms - 1},"c":"{each.close}","h":"{each.high}","i":"{asked.timeframe}",'
            f'"l":"{each.low}","n":3,"o":"{each.open}","s":"{asked.symbol}","t":{each.open_ms},"v":"{each.volume}"}}'
            for each in ascending(candles)
        ]
        return f"[{','.join(rows)}]".encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        """Perpetuals and spot pairs in two lists; what is delisted stays in its own."""
        spot = dict(asked.query)["type"] == "spotMeta"
        listed: list[dict[str, Any]] = []
        for symbol, traded in symbols.items():
            if ("/" in symbol or symbol.startswith("@")) == spot:
                listed.append({"name": symbol, **({"isDelisted": True} if traded == "delisted" and not spot else {})})
        return json.dumps({"universe": listed}).encode()

    def refused(self, word: Word) -> Said:
        if word == "symbol":
            return Said(Body(b"null"), 500)
        return Said(Body(b"Failed to deserialize the JSON body into the target type", "text/plain"), 422)

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return Said(Body(b"null"), 429)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return Said(Body(text.encode(), "text/plain"), status)


def _question(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows_asked(given: Mapping[str, Any]) -> int:
    """How many rows a window holds, as far as it can be read; each sixty weigh one."""
    frame, start_ms, end_ms = _SPELLINGS.get(str(given.get("interval"))), given.get("startTime"), given.get("endTime")
    if frame is None or not isinstance(start_ms, int) or not isinstance(end_ms, int):
        return 0
    return min(max(end_ms - start_ms, 0) // (TIMEFRAMES[frame].typical_s * 1000), _SERVED)


DIALECT = Hyperliquid
