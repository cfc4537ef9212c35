"""What the exchange says to an ask that reaches it.

Owns what is listed, what has opened yet by the clock that is passed in, and the faults of content. How anything is
written down, and what is refused, is the dialect's. Knows no connection (see ``exchange``, ``trouble``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from marketd.clock import Clock
from marketd.rehearsal.archive import Shelf
from marketd.rehearsal.damage import Body, damaged_body, damaged_rows, holds, open_ms_of
from marketd.rehearsal.dialect import Dialect, RefusalError, Traded, candle
from marketd.rehearsal.faults import (
    Delisted,
    Faults,
    Halted,
    Ignores,
    Late,
    LimitRefused,
    Maintenance,
    Malformed,
    Nothing,
    PageLimit,
    TimeframeRefused,
    UnknownSymbol,
)
from marketd.rehearsal.market import Market, Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe


class Answers:
    """``symbols`` are those of the market that are listed."""

    def __init__(self, market: Market, clock: Clock, faults: Faults, symbols: Sequence[str], dialect: Dialect) -> None:
        self._market = market.filled() if dialect.flat else market
        self._clock = clock
        self._faults = faults
        self._symbols = tuple(symbols)
        self._dialect = dialect
        self._archive = Shelf(self._market, clock, faults, self._symbols, dialect)

    def said(self, asked: Asked) -> Said:
        """The reply to whatever is asked."""
        if asked.kind in ("candles", "first"):
            return self.candles(asked)
        if asked.kind == "archive":
            return self._archive.said(asked)
        if asked.kind == "symbols":
            return Said(Body(self._dialect.listing(asked, self._listed())))
        operative = self._faults.take(Maintenance, asked) is None
        return self._dialect.other(asked, self._listed(), operative)

    def candles(self, asked: Asked) -> Said:
        """A page of candles."""
        try:
            return self._page(asked)
        except RefusalError as refusal:
            return refusal.said

    def _page(self, asked: Asked) -> Said:
        if self._unknown(asked.symbol):
            return Said(Body(self._dialect.page(asked, ())))
        frame, now_ms = self._frame(asked), self._clock.now_ms()
        rows = self._rows(asked, frame, self._window(asked, frame, now_ms), now_ms)
        fault = self._faults.take(Malformed, asked, lambda item: holds(rows, item.candle_ms))
        if fault is None:
            return Said(Body(self._written(asked, rows)), rows=len(rows))
        return Said(damaged_body(fault, self._written(asked, damaged_rows(fault, rows))), rows=len(rows))

    def _written(self, asked: Asked, rows: Sequence[bytes]) -> bytes:
        return self._dialect.page(asked, [candle(row) for row in rows])

    def _unknown(self, symbol: str) -> bool:
        """True where an unknown symbol is to be answered with no rows; otherwise it is refused here."""
        gone = {name for fault in self._faults.standing(Delisted) if not fault.candles for name in fault.symbols}
        if symbol in self._symbols and symbol not in gone:
            return False
        if any(fault.answer == "empty" for fault in self._faults.standing(UnknownSymbol)):
            return True
        raise self._dialect.refuse("symbol")

    def _frame(self, asked: Asked) -> str:
        frame = self._dialect.spellings.get(asked.timeframe)
        if frame is None or self._faults.take(TimeframeRefused, asked) is not None:
            raise self._dialect.refuse("timeframe")
        return frame

    def _window(self, asked: Asked, frame: str, now_ms: int) -> Window:
        bounds = self._dialect.bounds(asked)
        ignores = self._faults.take(Ignores, asked)
        if ignores is not None:
            bounds = bounds.without(ignores.parameters)
        refused = self._faults.take(LimitRefused, asked)
        if refused is not None and bounds.limit is not None and bounds.limit > refused.above:
            raise self._dialect.refuse("limit")
        return self._dialect.window(bounds, TIMEFRAMES[frame], now_ms)

    def _rows(self, asked: Asked, frame: str, window: Window, now_ms: int) -> list[bytes]:
        shorter = self._faults.take(PageLimit, asked)
        if shorter is not None:
            window = replace(window, limit=min(window.limit, shorter.rows))
        if self._faults.take(Nothing, asked) is not None:
            return []
        overlay = self._faults.overlay(asked.symbol, asked.timeframe)
        late = next((fault for fault in self._faults.standing(Late) if fault.concerns(asked)), None)
        if late is None:
            return self._market.page(asked.symbol, frame, window, now_ms, overlay)
        # those that are held back must not shorten the page
        more = 2 + int(late.delay_s) // TIMEFRAMES[frame].typical_s
        wider = replace(window, limit=window.limit + more)
        rows = self._market.page(asked.symbol, frame, wider, now_ms, overlay)
        return _published(rows, TIMEFRAMES[frame], late, now_ms)[: window.limit]

    def _listed(self) -> Mapping[str, Traded]:
        gone = {symbol for fault in self._faults.standing(Delisted) for symbol in fault.symbols}
        halted = {symbol for fault in self._faults.standing(Halted) for symbol in fault.symbols}
        return {
            symbol: "delisted" if symbol in gone else "halted" if symbol in halted else "trading"
            for symbol in self._symbols
        }


def _published(rows: list[bytes], frame: Timeframe, late: Late, now_ms: int) -> list[bytes]:
    """Without those of the late candles that have not been published yet."""
    published_ms = now_ms - int(late.delay_s * 1000)
    kept: list[bytes] = []
    for row in rows:
        number = frame.number(open_ms_of(row))
        chosen = number * 7919 % 1000 < late.share * 1000
        if not chosen or frame.open_ms(number + 1) <= published_ms:
            kept.append(row)
    return kept
