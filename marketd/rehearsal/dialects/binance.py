"""Binance's wire format: always ascending, weights and bans."""

import json
import re
from collections.abc import Callable, Mapping, Sequence

from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, ascending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

_SPELLINGS = {
    name: name for name in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1M")
}  # fmt: skip
_REFUSALS = {
    "symbol": (-1121, "Invalid symbol."), "timeframe": (-1120, "Invalid interval."),
    "limit": (-1130, "Data sent for parameter 'limit' is not valid."),
    "window": (-1100, "Illegal characters found in parameter 'startTime'."),
    "old": (-1100, "Illegal characters found."),
}  # fmt: skip
_STATUS = {"trading": "TRADING", "halted": "HALT", "delisted": "BREAK"}
_MOST = 1000
_MONTHLY = re.compile(
    r"/data/spot/monthly/klines/(?P<symbol>[^/]+)/(?P<timeframe>[^/]+)/(?P=symbol)-(?P=timeframe)"
    r"-(?P<month>[12][0-9]{3}-(?:0[1-9]|1[0-2]))\.zip(?P<file>|\.CHECKSUM)"
)
_MICROSECONDS_MS = 1_735_689_600_000  # 2025-01-01


class Binance(Dialect):
    name = "binance"
    symbols = ("BTCUSDT", "ETHUSDT", "LTCUSDT")
    spellings = _SPELLINGS
    flat = True
    allowance = Allowance(6000, block_s=120)

    def asked(self, call: Call, at_ms: int) -> Asked:
        given = dict(call.query)
        match call.path:
            case "/api/v3/klines":
                first = given.get("startTime") == "0" and given.get("limit") == "1"
                return Asked(
                    at_ms, "first" if first else "candles", given.get("symbol", ""), given.get("interval", ""),
                    call.query, weight=2,
                )  # fmt: skip
            case "/api/v3/exchangeInfo":
                return Asked(at_ms, "symbols", query=call.query, weight=20)
        month = _MONTHLY.fullmatch(call.path)
        if month is not None:
            query = (("month", month["month"]), ("file", month["file"]))
            return Asked(at_ms, "archive", month["symbol"], month["timeframe"], query, weight=0)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        return Bounds(
            self.whole(given.get("startTime")), self.whole(given.get("endTime")),
            self.whole(given.get("limit"), "limit"),
        )  # fmt: skip

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """Too large a limit is taken down in silence."""
        limit = min(500 if bounds.limit is None else bounds.limit, _MOST)
        if limit < 1:
            raise self.refuse("limit")
        return Window(bounds.start_ms, bounds.end_ms, limit, newest_first=bounds.start_ms is None)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = [
            f'[{each.open_ms},"{each.open}","{each.high}","{each.low}","{each.close}","{each.volume}",'
            f'{each.open_ms + 59_999},"0.1",3,"0.1","0.1","0"]'
            for each in ascending(candles)
        ]
        return f"[{','.join(rows)}]".encode()

    def archived(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        """Microseconds since 2025."""
        step_ms = TIMEFRAMES[_SPELLINGS[asked.timeframe]].step_s * 1000
        lines = []
        for each in candles:
            unit = 1000 if each.open_ms >= _MICROSECONDS_MS else 1
            opens, closes = each.open_ms * unit, (each.open_ms + step_ms) * unit - 1
            prices = f"{each.open},{each.high},{each.low},{each.close},{each.volume}"
            lines.append(f"{opens},{prices},{closes},0.1,3,0.1,0.1,0\n")
        return "".join(lines).encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        listed = [{"symbol": symbol, "status": _STATUS[traded]} for symbol, traded in symbols.items()]
        return json.dumps({"timezone": "UTC", "rateLimits": [], "symbols": listed}).encode()

    def refused(self, word: Word) -> Said:
        if word == "path":
            return json_said('{"timestamp":"","status":404,"error":"Not Found"}', 404)
        code, text = _REFUSALS[word]
        return self.troubled(400, code, text)

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        """A ban, whose end is in the text."""
        until = now_ms + int(wait_s * 1000)
        text = f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."
        return self.troubled(418, -1003, text)

    def troubled(self, status: int, code: int, text: str) -> Said:
        return json_said(json.dumps({"code": code, "msg": text}), status)

    def maintenance(self) -> Said:
        return self.troubled(503, -1016, "This service is no longer available.")

    def headers(self, used: Callable[[], int], now_ms: int) -> tuple[tuple[str, str], ...]:
        return (("X-MBX-USED-WEIGHT-1M", str(used())),)


DIALECT = Binance
