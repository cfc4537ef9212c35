"""What the exchange says to an ask that reaches it.

Owns parameters and refusals as the real exchange has them, and what has opened yet by the clock that is passed in.
Refuses nothing that the real one would accept, and knows no connection (see ``exchange``, ``trouble``).
"""

from collections.abc import Sequence
from dataclasses import replace

from marketd.clock import Clock
from marketd.rehearsal.damage import Body, damaged, holds, open_ms_of, page_body
from marketd.rehearsal.faults import (
    Delisted,
    Faults,
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
from marketd.rehearsal.market import SPELLINGS, Market, Window
from marketd.rehearsal.said import Said, refusal
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES, Timeframe

DEFAULT_LIMIT = 100
MOST_ROWS = 10_000
PAIR_LIST = "pub:list:pair:exchange"


class _InvalidError(Exception):
    """A parameter that the exchange refuses; the message is its word for it."""


class Answers:
    """``symbols`` are those of the market that are listed."""

    def __init__(self, market: Market, clock: Clock, faults: Faults, symbols: Sequence[str]) -> None:
        self._market = market
        self._clock = clock
        self._faults = faults
        self._symbols = tuple(symbols)

    def candles(self, asked: Asked, *, last: bool = False) -> Said:
        """A page of candles, or the ``last`` one alone."""
        try:
            return self._last(asked) if last else self._hist(asked)
        except _InvalidError as invalid:
            return refusal(500, 10020, f"{invalid}: invalid")

    def _hist(self, asked: Asked) -> Said:
        if self._unknown(asked.symbol):
            return Said(Body(b"[]"))
        frame, now_ms = self._frame(asked), self._clock.now_ms()
        rows = self._rows(asked, frame, self._window(dict(asked.query), asked, now_ms), now_ms)
        return Said(self._page(asked, rows), rows=len(rows))

    def _last(self, asked: Asked) -> Said:
        if self._unknown(asked.symbol):
            return Said(Body(b"[]"))
        rows = self._rows(asked, self._frame(asked), Window(limit=1), self._clock.now_ms())
        return Said(Body(rows[0] if rows else b"[]"), rows=len(rows))

    def _page(self, asked: Asked, rows: list[bytes]) -> Body:
        fault = self._faults.take(Malformed, asked, lambda item: holds(rows, item.candle_ms))
        return Body(page_body(rows)) if fault is None else damaged(fault, rows)

    def _unknown(self, symbol: str) -> bool:
        """True where an unknown symbol is to be answered with no rows; otherwise it is refused here."""
        gone = {name for fault in self._faults.standing(Delisted) if not fault.candles for name in fault.symbols}
        if symbol in self._symbols and symbol not in gone:
            return False
        if any(fault.answer == "empty" for fault in self._faults.standing(UnknownSymbol)):
            return True
        raise _InvalidError("symbol")

    def _frame(self, asked: Asked) -> str:
        frame = SPELLINGS.get(asked.timeframe)
        if frame is None or self._faults.take(TimeframeRefused, asked) is not None:
            raise _InvalidError("timeframe")
        return frame

    def _window(self, query: dict[str, str], asked: Asked, now_ms: int) -> Window:
        ignores = self._faults.take(Ignores, asked)
        for name in () if ignores is None else ignores.parameters:
            query.pop(name, None)
        limit = _whole(query.get("limit"), "limit")
        limit = DEFAULT_LIMIT if limit is None else limit
        refused = self._faults.take(LimitRefused, asked)
        if not 1 <= limit <= (MOST_ROWS if refused is None else min(refused.above, MOST_ROWS)):
            raise _InvalidError("limit")
        start_ms, end_ms = _whole(query.get("start"), "time_interval"), _whole(query.get("end"), "time_interval")
        if end_ms is not None and (end_ms > now_ms or (start_ms is not None and start_ms >= end_ms)):
            raise _InvalidError("time_interval")
        sort = query.get("sort", "-1")
        if sort not in ("1", "-1"):
            raise _InvalidError("sort")
        return Window(start_ms, end_ms, limit, newest_first=sort == "-1")

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

    def lists(self, keys: str) -> Said:
        gone = {symbol for fault in self._faults.standing(Delisted) for symbol in fault.symbols}
        listed = ",".join(f'"{symbol}"' for symbol in self._symbols if symbol not in gone)
        lists = ",".join(f"[{listed}]" if key == PAIR_LIST else "[]" for key in keys.split(","))
        return Said(Body(f"[{lists}]".encode()))

    def operative(self, asked: Asked) -> Said:
        return Said(Body(b"[1]" if self._faults.take(Maintenance, asked) is None else b"[0]"))


def candles_asked(key: str, query: Sequence[tuple[str, str]], at_ms: int) -> Asked:
    """The ask for candles whose path holds ``key``, such as ``trade:1m:tBTCUSD``."""
    timeframe, symbol = _split_key(key)
    given = dict(query)
    first = given.get("limit") == "1" and given.get("sort") == "1" and "end" not in given
    return Asked(at_ms, "first" if first else "candles", symbol, timeframe, tuple(query))


def _split_key(key: str) -> tuple[str, str]:
    """(timeframe, pair) of ``trade:1m:tDOGE:USD``; whatever is wrong becomes an unknown symbol or timeframe."""
    kind, _, rest = key.partition(":")
    timeframe, _, symbol = rest.partition(":")
    return timeframe, symbol[1:] if kind == "trade" and symbol.startswith("t") else f"?{symbol}"


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise _InvalidError(name)
    return int(text)


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
