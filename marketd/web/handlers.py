"""What each path answers.

Owns the paths and their answers (``docs/http.md``). Every read is bounded: pages have a ceiling, and beyond so many
readers at once the answer is 503, not a longer queue. Refuses to write anything, and to ask the database for liveness.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from marketd.errors import MarketdError, SchemaError, leaf
from marketd.figures import SeriesFigures, SeriesMap
from marketd.model import Series
from marketd.web import boards, detail, health, overview, page, params, shapes
from marketd.web.detail import Known
from marketd.web.overview import Found, Given
from marketd.web.shapes import Shape
from marketd.web.status import Reports, Status

MOST_READERS: Final = 32

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Handlers:
    def __init__(self, reports: Reports, status: Status, registry: CollectorRegistry) -> None:
        self._reports = reports
        self._status = status
        # Compressing would hold up the loop for longer than it spares the wire, which is most often the loopback.
        self._metrics: Handler = make_aiohttp_handler(registry, disable_compression=True)
        self._readers = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._for_people(self.status_page)),
            web.get("/series", self._for_people(self.series_page)),
            web.get("/gap", self._for_people(self.gap_page)),
            web.get("/candles", self.candles),
            web.get("/static/{name}", self.static),
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/health", self.health),
            web.get("/healthz", self.health),
            web.get("/system/health", self.system_health),
            web.get("/system/status", self.system_status),
            web.get("/ingestion/status", self.ingestion_status),
            web.get("/gaps", self.gaps),
            web.get("/gaps/summary", self.gaps_summary),
            web.get("/jobs", self.jobs),
            web.get("/jobs/{id}/runs", self.runs),
            web.get("/coverage", self.coverage),
            web.get("/metrics", self._metrics),
        ]

    def _for_people(self, handler: Handler) -> Handler:
        """What goes wrong is said on a page, in place of JSON; one without figures still tells of the requests."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except params.BadParameter as error:
                return page.response(page.refused(self._status, str(error)), 422)
            except web.HTTPNotFound as error:
                return page.response(page.refused(self._status, error.text or ""), 404)
            except MarketdError as error:
                return page.response(page.broken(self._status, health.reason(error)))

        return handle

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Reports]:
        """The right to ask the database."""
        if self._readers >= MOST_READERS:
            raise web.HTTPServiceUnavailable(text="too many readers at once", headers={"Retry-After": "1"})
        self._readers += 1
        try:
            yield self._reports
        finally:
            self._readers -= 1

    async def livez(self, _: web.Request) -> web.Response:
        age_s = self._status.turn_age_s()
        alive = age_s <= self._status.watchdog_s
        shape = {"status": "ok" if alive else "error", "last_turn_seconds": round(age_s, 3)}
        return web.json_response(shape, status=200 if alive else 503)

    async def readyz(self, _: web.Request) -> web.Response:
        reasons = list(self._status.unready())
        async with self._reading() as reports:
            try:
                await reports.ping()
            except MarketdError as error:
                reasons.append(health.reason(error))
        shape = {"status": "error" if reasons else "ok", "reasons": reasons}
        return web.json_response(shape, status=503 if reasons else 200)

    async def health(self, _: web.Request) -> web.Response:
        async with self._reading() as reports:
            try:
                latency_ms = await reports.ping()
                tables = await reports.tables()
                stored = 0 if "candle_coverage" in tables.missing else (await reports.totals()).stored
            except MarketdError as error:
                broken = {"connected": False, "error": health.reason(error)}
                return web.json_response({"detail": {"status": "error", "database": broken}}, status=503)
        database = {
            "connected": True,
            "latency_ms": round(latency_ms, 2),
            "candles_table_exists": tables.candles,
            "total_candles": stored,
        }
        timestamp = shapes.iso(self._status.now_ms())
        return web.json_response({"status": "ok", "database": database, "timestamp": timestamp})

    async def system_health(self, _: web.Request) -> web.Response:
        async with self._reading() as reports:
            api = health.api(self._status)
            database = await health.database(reports)
            ingestion = await health.ingestion(reports, self._status)
        return web.json_response(
            {
                "api": api.json(),
                "database": database.json(),
                "ingestion": ingestion.json(),
                "overall": {"status": health.overall(api, database, ingestion)},
            }
        )

    async def system_status(self, _: web.Request) -> web.Response:
        uptime_s = max(0, self._status.now_ms() - self._status.started_ms) // 1000
        database: Shape = {"status": "ok", "connected": True}
        async with self._reading() as reports:
            try:
                database["latency_ms"] = round(await reports.ping(), 2)
            except MarketdError as error:
                database = {"status": "error", "connected": False, "latency_ms": None, "error": health.reason(error)}
        return web.json_response(
            {
                "backend": {"status": "ok", "uptime_seconds": uptime_s, "version": self._status.version},
                "database": database,
                "timestamp": self._status.now_ms(),
            }
        )

    async def ingestion_status(self, request: web.Request) -> web.Response:
        which = params.series(request.query)
        if which is not None:
            return web.json_response(await self._series_status(which))
        exchange, limit = params.exchange(request.query), params.limit(request.query)
        cursor = params.series_cursor(request.query)
        return web.json_response(await self._whole_status(exchange, limit, cursor))

    async def _series_status(self, which: Series) -> Shape:
        async with self._reading() as reports:
            try:
                found = await reports.series_figures(*which, limit=1)
            except MarketdError as error:
                db_ok = isinstance(error, SchemaError)
                return shapes.unanswered(which, db_ok=db_ok, error=type(error).__name__)
        return shapes.series(found[0], self._status) if found else shapes.nothing_of(which)

    async def _whole_status(self, exchange: str | None, limit: int, cursor: Series | None) -> Shape:
        exchanges = [
            shapes.exchange(entry) for entry in self._status.exchanges() if exchange is None or entry.name == exchange
        ]
        async with self._reading() as reports:
            try:
                async with asyncio.TaskGroup() as group:  # the longest of all answers: not one after the other
                    reading_day = group.create_task(reports.runs_24h(exchange))
                    reading_series = group.create_task(reports.series_figures(exchange, limit=limit, cursor=cursor))
                    reading_jobs = group.create_task(reports.jobs(exchange, at_work=True))
            except BaseExceptionGroup as failures:
                error = leaf(failures)
                if not isinstance(error, MarketdError):
                    raise error from failures
                return _unanswered_whole(exchanges, self._backfills(exchange), error)
            day, series, jobs = reading_day.result(), reading_series.result(), reading_jobs.result()
        known = self._status.jobs()
        return {
            "db_ok": True,
            "schema_ok": True,
            "runs_24h": shapes.day(day),
            "last_run": None if day.last_run is None else shapes.run(day.last_run),
            "last_success": shapes.iso(day.last_success_ms),
            "candles_24h": day.candles,
            "series": [shapes.series(figures, self._status) for figures in series],
            "next_cursor": params.written(series[-1].series) if len(series) == limit else None,
            "exchanges": exchanges,
            "backfills": self._backfills(exchange),
            "jobs": [shapes.job(figures, known) for figures in jobs],
        }

    def _backfills(self, exchange: str | None) -> list[Shape]:
        found = boards.filling(self._status).items()
        return [shapes.backfill(series, each) for series, each in found if exchange in (None, series.exchange)]

    async def gaps(self, request: web.Request) -> web.Response:
        query = request.query
        which = params.exchange(query), params.symbol(query), params.timeframe(query), params.cause(query)
        limit, cursor = params.limit(query), params.row_cursor(query)
        async with self._reading() as reports:
            found = await reports.gaps(*which, limit=limit, cursor=cursor)
        return web.json_response(
            {
                "gaps": [shapes.gap(figures) for figures in found.gaps],
                "total": found.total,
                "next_cursor": found.gaps[-1].id if len(found.gaps) == limit else None,
            }
        )

    async def gaps_summary(self, request: web.Request) -> web.Response:
        exchange = params.exchange(request.query)
        async with self._reading() as reports:
            summary = await reports.gaps_summary(exchange)
        return web.json_response(
            {
                "open_gaps": summary.open_gaps,
                "repaired_24h": summary.repaired_24h,
                "oldest_open_gap": summary.oldest_open_ms,
            }
        )

    async def jobs(self, request: web.Request) -> web.Response:
        exchange, limit = params.exchange(request.query), params.limit(request.query, params.MOST_ROWS)
        cursor = params.row_cursor(request.query)
        async with self._reading() as reports:
            found = await reports.jobs(exchange, limit=limit, cursor=cursor)
        known = self._status.jobs()
        return web.json_response(
            {
                "jobs": [shapes.job(figures, known) for figures in found],
                "next_cursor": found[-1].id if len(found) == limit else None,
                "last_reload": self._status.reloaded(),
            }
        )

    async def runs(self, request: web.Request) -> web.Response:
        job_id = params.identity(request.match_info["id"])
        limit, cursor = params.limit(request.query), params.row_cursor(request.query)
        async with self._reading() as reports:
            found = await reports.runs(job_id, limit=limit, cursor=cursor)
            if not found and not await reports.job_exists(job_id):
                raise web.HTTPNotFound(text=f"no job {job_id}")
        return web.json_response(
            {
                "runs": [shapes.run(figures) for figures in found],
                "next_cursor": found[-1].id if len(found) == limit else None,
            }
        )

    async def coverage(self, request: web.Request) -> web.Response:
        which = params.needed_series(request.query)
        given, buckets = _given_range(request.query), params.buckets(request.query)
        async with self._reading() as reports:
            start_ms, end_ms = await self._coverage_range(reports, which, *given)
            found = await reports.coverage_buckets(which, start_ms, end_ms, buckets) if start_ms < end_ms else ()
        return web.json_response(
            {
                "exchange": which.exchange,
                "symbol": which.symbol,
                "timeframe": which.timeframe,
                "start": shapes.iso(start_ms),
                "end": shapes.iso(end_ms),
                "buckets": [shapes.bucket(figures) for figures in found],
            }
        )

    async def _coverage_range(
        self, reports: Reports, which: Series, start_ms: int | None, end_ms: int | None
    ) -> tuple[int, int]:
        """What was asked for, up to the last closed interval; by default from where the series begins."""
        frame = which.frame
        closed_ms = frame.open_ms(frame.closed_end(self._status.exchange_now_ms(which.exchange)))
        end_ms = closed_ms if end_ms is None else min(end_ms, closed_ms)
        if start_ms is None:
            (found,) = await reports.figures_of((which,))
            begins = (found.wanted_from_ms, found.answered_from_ms)
            start_ms = min((begin for begin in begins if begin is not None), default=end_ms)
        return start_ms, end_ms

    async def status_page(self, request: web.Request) -> web.Response:
        given = params.given(request.query)
        async with self._reading() as reports:
            found = await self._found(reports, given)
        view = overview.overview(found, self._status, given)
        return page.response(await asyncio.to_thread(page.whole, view, self._status.version))

    async def _found(self, reports: Reports, given: Given) -> Found:
        answered, owed = await reports.answered(), await reports.missing()
        ranked, late = overview.ranked(answered, owed, self._status, given)
        shown = ranked[(given.page - 1) * overview.PAGE : given.page * overview.PAGE]
        figures = await reports.figures_of(shown)
        window = overview.window(given, figures, self._status.now_ms())
        return Found(
            ranked=ranked,
            late=late,
            owed=owed,
            open_gaps=(await reports.gaps_summary(given.exchange)).open_gaps,
            figures=figures,
            window=window,
            maps=await _maps(reports, figures, window),
            jobs=await reports.jobs(given.exchange, limit=overview.JOBS, at_work=True),
        )

    async def series_page(self, request: web.Request) -> web.Response:
        which, given = params.needed_series(request.query), params.given(request.query)
        before_ms = params.moment(request.query, "before") or self._status.exchange_now_ms(which.exchange)
        async with self._reading() as reports:
            known = await self._known(reports, which, given, before_ms)
        view = detail.series(known, self._status, given)
        return page.response(page.of_series(view, self._status.version, self._status.now_ms()))

    async def _known(self, reports: Reports, which: Series, given: Given, before_ms: int) -> Known:
        figures = await reports.series_figures(*which, limit=1)
        if not figures:
            raise web.HTTPNotFound(text=f"nothing is known of {which}")
        window = overview.window(given, figures, self._status.now_ms())
        (drawn,) = await _maps(reports, figures, window)
        return Known(
            figures=figures[0],
            window=window,
            map=drawn,
            candles=await reports.candles(which, before_ms, limit=detail.CANDLES),
            before_ms=before_ms,
            gaps=(await reports.gaps(*which, limit=detail.LISTED)).gaps,
            runs=await reports.runs_of(which, limit=detail.LISTED),
            revisions=await reports.revisions(which, limit=detail.LISTED),
        )

    async def gap_page(self, request: web.Request) -> web.Response:
        number = params.identity(request.query.get("id", ""))
        async with self._reading() as reports:
            found = await reports.gap(number)
        if found is None:
            raise web.HTTPNotFound(text=f"no gap {number}")
        return page.response(page.of_gap(detail.gap(found), self._status.version, self._status.now_ms()))

    async def candles(self, request: web.Request) -> web.Response:
        which = params.needed_series(request.query)
        before_ms = params.moment(request.query, "before") or self._status.exchange_now_ms(which.exchange)
        async with self._reading() as reports:
            found = await reports.candles(which, before_ms, limit=params.limit(request.query, detail.CANDLES))
        return web.json_response(shapes.candles(found))

    async def static(self, request: web.Request) -> web.Response:
        return page.asset(request.match_info["name"])


async def _maps(reports: Reports, figures: Sequence[SeriesFigures], window: tuple[int, int]) -> Sequence[SeriesMap]:
    start_ms, end_ms = window
    return await reports.maps(figures, start_ms, end_ms, least_s=(end_ms - start_ms) / 1000 / overview.COLUMNS)


def _given_range(query: params.Query) -> tuple[int | None, int | None]:
    start_ms, end_ms = params.moment(query, "start"), params.moment(query, "end")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise params.BadParameter("start", "not before end")
    return start_ms, end_ms


def _unanswered_whole(exchanges: list[Shape], backfills: list[Shape], error: MarketdError) -> Shape:
    return {
        "db_ok": isinstance(error, SchemaError),
        "schema_ok": False,
        "error": type(error).__name__,
        "runs_24h": dict.fromkeys(("total", "success", "partial", "failed", "running", "interrupted", "skipped"), 0),
        "last_run": None,
        "last_success": None,
        "candles_24h": 0,
        "series": [],
        "next_cursor": None,
        "exchanges": exchanges,
        "backfills": backfills,
        "jobs": [],
    }
