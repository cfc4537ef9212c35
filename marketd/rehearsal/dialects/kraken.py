"""Kraken's wire format: errors within 200, the newest 720 candles and the open one."""

import json
from collections.abc import Mapping, Sequence

from marketd.rehearsal.damage import HTML_PAGE, Body
from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, Traded, Word, ascending, json_said
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

_SPELLINGS = {"1": "1m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "240": "4h", "1440": "1d"}
_TEXTS = {"symbol": "EQuery:Unknown asset pair", "path": "EGeneral:Unknown method"}
_STATUS = {"trading": "online", "halted": "cancel_only"}
_SERVED = 720
_OLDEST = "oldest trade"  # stands for the timeframe where trades are asked for: the first one lies in the first minute


class Kraken(Dialect):
    name = "kraken"
    symbols = ("XBTUSD", "ETHUSD", "LTCUSD")
    spellings = {**_SPELLINGS, _OLDEST: "1m"}  # noqa: RUF012  (nobody changes it)
    flat = True
    allowance = Allowance(1, window_s=1, block_s=5)

    def asked(self, call: Call, at_ms: int) -> Asked:
        given = dict(call.query)
        match call.path:
            case "/0/public/OHLC":
                return Asked(at_ms, "candles", given.get("pair", ""), given.get("interval", "1"), call.query)
            case "/0/public/Trades":
                return Asked(at_ms, "first", given.get("pair", ""), _OLDEST, call.query)
            case "/0/public/AssetPairs":
                return Asked(at_ms, "symbols", query=call.query)
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        """Since is exclusive, in seconds; there is no other bound."""
        since = self.whole(dict(asked.query).get("since"))
        if asked.timeframe == _OLDEST:
            return Bounds(start_ms=0, limit=1)
        return Bounds(start_ms=None if since is None else since * 1000 + 1)

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        if bounds.limit is not None:
            return Window(bounds.start_ms, limit=bounds.limit, newest_first=False)
        return Window(bounds.start_ms, limit=_SERVED + 1)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        if asked.timeframe == _OLDEST:
            rows = [f'["{each.open}","{each.volume}",{each.open_ms / 1000 + 7.25},"b","m","",1]' for each in candles]
            return _envelope(asked.symbol, rows, '"1"')
        rows = [
            f'[{each.open_ms // 1000},"{each.open}","{each.high}","{each.low}","{each.close}","0.0","{each.volume}",0]'
            for each in ascending(candles)
        ]
        committed = sorted(each.open_ms for each in candles)[:-1]
        return _envelope(asked.symbol, rows, str(committed[-1] // 1000 if committed else 0))

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        pairs = {
            f"X{symbol}": {"altname": symbol, "wsname": symbol, "status": _STATUS[traded]}
            for symbol, traded in symbols.items()
            if traded != "delisted"
        }
        return json.dumps({"error": [], "result": pairs}).encode()

    def refused(self, word: Word) -> Said:
        return self.troubled(200, 0, _TEXTS.get(word, f"EGeneral:Invalid arguments:{_argument(word)}"))

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return self.troubled(200, 0, "EGeneral:Too many requests")

    def troubled(self, status: int, code: int, text: str) -> Said:
        if status >= 500:
            return Said(Body(HTML_PAGE, "text/html"), status)
        return json_said(json.dumps({"error": [text]}), status)

    def maintenance(self) -> Said:
        return self.troubled(200, 0, "EService:Unavailable")


def _argument(word: Word) -> str:
    return "interval" if word == "timeframe" else "since"


def _envelope(symbol: str, rows: Sequence[str], last: str) -> bytes:
    return f'{{"error":[],"result":{{"X{symbol}":[{",".join(rows)}],"last":{last}}}}}'.encode()


DIALECT = Kraken
