"""The rehearsal exchange as a web application.

Owns the counting, and its own time in the ``Date`` header. What a request asks for is read by the ``dialect``, what is
said to it decided by ``answers``, and what becomes of it on its way by ``trouble``.
"""

from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from functools import partial

from aiohttp import web

from marketd.clock import Clock
from marketd.errors import UsageError
from marketd.rehearsal.answers import Answers
from marketd.rehearsal.control import Control
from marketd.rehearsal.dialect import Call, Dialect
from marketd.rehearsal.faults import Faults, RateLimit
from marketd.rehearsal.market import Market
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Stats
from marketd.rehearsal.trouble import Trouble

STATS: web.AppKey[Stats] = web.AppKey("stats", Stats)
_MOST_BODY = 64 * 1024


def create_app(
    market: Market,
    clock: Clock,
    dialect: Dialect,
    faults: Faults | None = None,
    symbols: Sequence[str] | None = None,
    stats: Stats | None = None,
) -> web.Application:
    """The application, at ``/`` and below the dialect's prefix; ``symbols`` restricts what is listed to some of the
    market's.

    UsageError names symbols that the market does not have.
    """
    missing = set(symbols or ()) - set(market.symbols)
    if missing:
        raise UsageError(f"the market has no {' '.join(sorted(missing))}; it has {' '.join(market.symbols)}")
    faults = Faults(clock) if faults is None else faults
    stats = Stats(clock.now_ms()) if stats is None else stats
    app = web.Application(client_max_size=_MOST_BODY)
    app[STATS] = stats
    trouble = Trouble(clock, faults, dialect)
    answers = Answers(market, clock, faults, market.symbols if symbols is None else symbols, dialect)
    app.router.add_routes(Control(trouble, stats).routes())
    app.router.add_route("*", "/{path:.*}", _Desk(answers, trouble, stats, dialect).answer)

    async def date(_: web.Request, response: web.StreamResponse) -> None:
        # aiohttp has put the host's time there already; the exchange has a time of its own
        response.headers["Date"] = formatdate(clock.now_ms() // 1000, usegmt=True)

    app.on_response_prepare.append(date)
    return app


def enforced(dialect: Dialect) -> RateLimit:
    """The limit that the exchange documents, as a fault that stands."""
    allowed = dialect.allowance
    return RateLimit(per_minute=allowed.weight, window_s=allowed.window_s, block_s=allowed.block_s)


class _Desk:
    """The handler of all of the exchange's own paths."""

    def __init__(self, answers: Answers, trouble: Trouble, stats: Stats, dialect: Dialect) -> None:
        self._answers = answers
        self._trouble = trouble
        self._clock = trouble.clock
        self._stats = stats
        self._dialect = dialect

    async def answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(
            request.path.removeprefix(self._dialect.prefix), tuple(request.query.items()), await request.read(),
            {name.lower(): value for name, value in request.headers.items()},
        )  # fmt: skip
        asked = self._dialect.asked(call, self._clock.now_ms())
        with self._stats.counting(asked) as outcome:
            response = await self._trouble.instead_of_answer(request, asked)
            if response is None:
                said = self._answers.said(asked)
                outcome.rows = said.rows
                response = await self._trouble.delivered(request, asked, self._headed(said))
            whole = request.transport is not None and not request.transport.is_closing()
            outcome.status = response.status if whole else 0
            return response

    def _headed(self, said: Said) -> Said:
        now_ms = self._clock.now_ms()
        used = partial(self._stats.weight_within, self._dialect.allowance.window_s, now_ms)
        return replace(said, headers=(*said.headers, *self._dialect.headers(used, now_ms)))
