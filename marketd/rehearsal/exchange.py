"""The rehearsal exchange as a web application that speaks Bitfinex's wire format.

Owns paths, parameters and refusals as the real exchange has them, and its own time: the ``Date`` header and what has
opened yet come from the clock that is passed in. Refuses nothing that the real one would accept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial

from aiohttp import web

from marketd.clock import Clock
from marketd.errors import UsageError
from marketd.rehearsal.control import Control
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
from marketd.rehearsal.stats import Asked, Stats
from marketd.rehearsal.trouble import Trouble, refusal
from marketd.timeframe import TIMEFRAMES, Timeframe

DEFAULT_LIMIT = 100
MOST_ROWS = 10_000
PAIR_LIST = "pub:list:pair:exchange"
STATS: web.AppKey[Stats] = web.AppKey("stats", Stats)


class _InvalidError(Exception):
    """A parameter that the exchange refuses; the message is its word for it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A body that may still be damaged on its way, or a response that is sent as it is."""

    content: Body | web.Response
    rows: int = 0


def create_app(
    market: Market,
    clock: Clock,
    faults: Faults | None = None,
    symbols: Sequence[str] | None = None,
    stats: Stats | None = None,
) -> web.Application:
    """The application, at ``/`` and below ``/v2``; ``symbols`` restricts what is listed to some of the market's.

    UsageError names symbols that the market does not have.
    """
    missing = set(symbols or ()) - set(market.symbols)
    if missing:
        raise UsageError(f"the market has no {' '.join(sorted(missing))}; it has {' '.join(market.symbols)}")
    faults = Faults(clock) if faults is None else faults
    stats = Stats(clock.now_ms()) if stats is None else stats
    app = web.Application()
    app[STATS] = stats
    trouble = Trouble(clock, faults)
    desk = _Desk(market, trouble, stats, tuple(market.symbols if symbols is None else symbols))
    for prefix in ("", "/v2"):
        app.router.add_get(prefix + "/candles/{key}/{section:hist|last}", desk.candles)
        app.router.add_get(prefix + "/conf/{keys}", desk.conf)
        app.router.add_get(prefix + "/platform/status", desk.status)
    app.router.add_routes(Control(trouble, stats).routes())
    app.router.add_route("*", "/{path:.*}", desk.unknown_path)

    async def date(_: web.Request, response: web.StreamResponse) -> None:
        # aiohttp has put the host's time there already; the exchange has a time of its own
        response.headers["Date"] = formatdate(clock.now_ms() // 1000, usegmt=True)

    app.on_response_prepare.append(date)
    return app


class _Desk:
    """The handlers of the exchange's own paths."""

    def __init__(self, market: Market, trouble: Trouble, stats: Stats, symbols: tuple[str, ...]) -> None:
        self._market = market
        self._trouble = trouble
        self._clock = trouble.clock
        self._faults = trouble.faults
        self._stats = stats
        self._symbols = symbols

    async def candles(self, request: web.Request) -> web.StreamResponse:
        timeframe, symbol = _split_key(request.match_info["key"])
        query = tuple(request.query.items())
        first = request.query.get("limit") == "1" and request.query.get("sort") == "1" and "end" not in request.query
        asked = Asked(self._clock.now_ms(), "first" if first else "candles", symbol, timeframe, query)
        one = request.match_info["section"] == "last"
        return await self._counted(request, asked, partial(self._last if one else self._hist, asked))

    async def conf(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(self._clock.now_ms(), "symbols", query=tuple(request.query.items()))
        return await self._counted(request, asked, partial(self._lists, request.match_info["keys"]))

    async def status(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(self._clock.now_ms(), "status")
        return await self._counted(request, asked, partial(self._operative, asked))

    async def unknown_path(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, Asked(self._clock.now_ms(), "other"), _not_found)

    async def _counted(self, request: web.Request, asked: Asked, answer: Callable[[], _Answer]) -> web.StreamResponse:
        with self._stats.counting(asked) as outcome:
            response = await self._trouble.instead_of_answer(request, asked)
            if response is None:
                answered = self._answered(answer)
                outcome.rows = answered.rows
                content = answered.content
                if isinstance(content, Body):
                    response = await self._trouble.delivered(request, asked, content)
                else:
                    response = content
            whole = request.transport is not None and not request.transport.is_closing()
            outcome.status = response.status if whole else 0
            return response

    def _answered(self, answer: Callable[[], _Answer]) -> _Answer:
        try:
            return answer()
        except _InvalidError as invalid:
            return _Answer(refusal(500, 10020, f"{invalid}: invalid"))

    def _hist(self, asked: Asked) -> _Answer:
        if self._unknown(asked.symbol):
            return _Answer(Body(b"[]"))
        frame, now_ms = self._frame(asked), self._clock.now_ms()
        rows = self._rows(asked, frame, self._window(dict(asked.query), asked, now_ms), now_ms)
        return _Answer(self._page(asked, rows), len(rows))

    def _last(self, asked: Asked) -> _Answer:
        if self._unknown(asked.symbol):
            return _Answer(Body(b"[]"))
        rows = self._rows(asked, self._frame(asked), Window(limit=1), self._clock.now_ms())
        return _Answer(Body(rows[0] if rows else b"[]"), len(rows))

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

    def _lists(self, keys: str) -> _Answer:
        gone = {symbol for fault in self._faults.standing(Delisted) for symbol in fault.symbols}
        listed = ",".join(f'"{symbol}"' for symbol in self._symbols if symbol not in gone)
        lists = ",".join(f"[{listed}]" if key == PAIR_LIST else "[]" for key in keys.split(","))
        return _Answer(Body(f"[{lists}]".encode()))

    def _operative(self, asked: Asked) -> _Answer:
        return _Answer(Body(b"[1]" if self._faults.take(Maintenance, asked) is None else b"[0]"))


def _not_found() -> _Answer:
    # the path is not repeated: what came from outside is never put into a page
    return _Answer(web.Response(status=404, text="<pre>Cannot GET /api/v2/</pre>", content_type="text/html"))


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
