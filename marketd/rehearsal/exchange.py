"""The rehearsal exchange as a web application that speaks Bitfinex's wire format.

Owns the paths, the counting, and its own time in the ``Date`` header. What is said to an ask is decided by ``answers``,
what becomes of it on its way by ``trouble``.
"""

from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial

from aiohttp import web

from marketd.clock import Clock
from marketd.errors import UsageError
from marketd.rehearsal.answers import Answers, candles_asked
from marketd.rehearsal.control import Control
from marketd.rehearsal.damage import Body
from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked, Stats
from marketd.rehearsal.trouble import Trouble

STATS: web.AppKey[Stats] = web.AppKey("stats", Stats)


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
    desk = _Desk(Answers(market, clock, faults, market.symbols if symbols is None else symbols), trouble, stats)
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

    def __init__(self, answers: Answers, trouble: Trouble, stats: Stats) -> None:
        self._answers = answers
        self._trouble = trouble
        self._clock = trouble.clock
        self._stats = stats

    async def candles(self, request: web.Request) -> web.StreamResponse:
        asked = candles_asked(request.match_info["key"], tuple(request.query.items()), self._clock.now_ms())
        last = request.match_info["section"] == "last"
        return await self._counted(request, asked, partial(self._answers.candles, asked, last=last))

    async def conf(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(self._clock.now_ms(), "symbols", query=tuple(request.query.items()))
        return await self._counted(request, asked, partial(self._answers.lists, request.match_info["keys"]))

    async def status(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(self._clock.now_ms(), "status")
        return await self._counted(request, asked, partial(self._answers.operative, asked))

    async def unknown_path(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, Asked(self._clock.now_ms(), "other"), _not_found)

    async def _counted(self, request: web.Request, asked: Asked, answer: Callable[[], Said]) -> web.StreamResponse:
        with self._stats.counting(asked) as outcome:
            response = await self._trouble.instead_of_answer(request, asked)
            if response is None:
                said = answer()
                outcome.rows = said.rows
                response = await self._trouble.delivered(request, asked, said)
            whole = request.transport is not None and not request.transport.is_closing()
            outcome.status = response.status if whole else 0
            return response


def _not_found() -> Said:
    # the path is not repeated: what came from outside is never put into a page
    return Said(Body(b"<pre>Cannot GET /api/v2/</pre>", "text/html"), 404)
