"""The rehearsal exchange's archive: a zip a month, and its checksum.

Owns when a month is there, its files, and what ``Archived`` faults make of them. The lines are the dialect's; the
candles are those of the market, at the moment of the request.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

from marketd.clock import Clock, at, ms_of
from marketd.rehearsal.damage import Body
from marketd.rehearsal.dialect import Candle, Dialect, candle
from marketd.rehearsal.faults import Archived, Faults
from marketd.rehearsal.market import Market, Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked

_ABSENT = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
_ZIP = "application/zip"
_XML = "application/xml"


class Shelf:
    """All months of all ``symbols``."""

    def __init__(self, market: Market, clock: Clock, faults: Faults, symbols: Sequence[str], dialect: Dialect) -> None:
        self._market = market
        self._clock = clock
        self._faults = faults
        self._symbols = symbols
        self._dialect = dialect

    def said(self, asked: Asked) -> Said:
        """A month's zip or checksum; what a bucket says where there is none."""
        given = dict(asked.query)
        start, end = _bounds(given["month"])
        harms = self._harms(asked, given["month"])
        if "missing" in harms or not self._has(asked, start, end):
            return Said(Body(_ABSENT, _XML), 404)
        name = f"{asked.symbol}-{asked.timeframe}-{given['month']}"
        written = replace(asked, timeframe="1h") if "coarser" in harms else asked
        candles = _holed(self._candles(written, ms_of(start), ms_of(end)), harms.get("holed"))
        content = _zip(name, self._dialect.archived(written, candles), harms)
        if not given["file"]:
            return Said(Body(content, _ZIP), rows=len(candles))
        wrong = self._faults.take(Archived, asked, lambda it: it.how == "sum" and it.of_month(given["month"]))
        told = hashlib.sha256(content if wrong is None else b"another").hexdigest()
        return Said(Body(f"{told}  {name}.zip\n".encode(), "binary/octet-stream"))

    def _harms(self, asked: Asked, month: str) -> dict[str, Archived]:
        found = [each for each in self._faults.standing(Archived) if each.concerns(asked) and each.of_month(month)]
        return {each.how: each for each in found}

    def _has(self, asked: Asked, start: datetime, end: datetime) -> bool:
        """A month is there from the first Monday after it, of what was traded in it."""
        if asked.symbol not in self._symbols or asked.timeframe not in self._dialect.spellings:
            return False
        first_ms, last_ms = self._market.source.bounds_ms(asked.symbol)
        issued = end + timedelta(days=-end.weekday() % 7)
        return first_ms < ms_of(end) and ms_of(start) < last_ms and issued <= at(self._clock.now_ms())

    def _candles(self, asked: Asked, start_ms: int, end_ms: int) -> list[Candle]:
        frame, overlay = self._dialect.spellings[asked.timeframe], self._faults.overlay(asked.symbol, asked.timeframe)
        window = Window(start_ms, end_ms - 1, 10**9, newest_first=False)
        rows = self._market.page(asked.symbol, frame, window, self._clock.now_ms(), overlay)
        return [candle(row) for row in rows]


def _holed(candles: Sequence[Candle], fault: Archived | None) -> Sequence[Candle]:
    """Without single candles, evenly spread."""
    if fault is None:
        return candles
    lacking = {len(candles) * (2 * nth + 1) // (2 * fault.rows) for nth in range(fault.rows)}
    return [each for place, each in enumerate(candles) if place not in lacking]


def _bounds(month: str) -> tuple[datetime, datetime]:
    year, number = (int(part) for part in month.split("-"))
    start = datetime(year, number, 1, tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)


def _zip(name: str, lines: bytes, harms: dict[str, Archived]) -> bytes:
    if "text" in harms:
        return b"Just a moment..."
    file = BytesIO()
    within = f"OTHER{name}.csv" if "renamed" in harms else f"{name}.csv"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        headings = b"open_time,open,high,low,close,volume,close_time\n" if "headed" in harms else b""
        made.writestr(zipfile.ZipInfo(within), headings + lines, zipfile.ZIP_DEFLATED)
    content = file.getvalue()
    return content[: len(content) // 2] if "cut" in harms else content
