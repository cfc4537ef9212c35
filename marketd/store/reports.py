"""Read-only figures for HTTP, ``status``, ``runs``, ``gaps`` and ``coverage``.

Owns the reads behind every page and report. Counts come from figures that are kept with the ledger: no query here
counts candles, nor the blocks of a series, so that a reader who polls costs the same with a thousand and with a billion
of them. Refuses to write.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import asyncpg

from marketd.blocks import BLOCK
from marketd.clock import ms_of
from marketd.figures import (
    Answered,
    Bucket,
    CandleFigures,
    DayFigures,
    GapFigures,
    GapPage,
    GapSummary,
    JobFigures,
    LeaseFigures,
    Missing,
    OpenGap,
    RevisionFigures,
    RunFigures,
    SeriesFigures,
    SeriesMap,
    SeriesReport,
    Tables,
    Totals,
    Verification,
)
from marketd.model import Cause, JobType, Resolution, RunStatus, Series
from marketd.ranges import NOTHING, Ranges, Span
from marketd.store import codec
from marketd.store.codec import millis
from marketd.store.queries import sql
from marketd.store.session import Connection, Database

PAGE = 100
"""Rows a page where the reader does not say."""


class Reports:
    """Every method raises DatabaseUnavailable while the database is away, SchemaError where tables are missing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> float:
        """Milliseconds that the database took to answer, a new connection included."""
        began = time.perf_counter()  # the loop's own time counts whole turns only
        await self._value("report_ping")
        return (time.perf_counter() - began) * 1000

    async def last_verification(self) -> Verification | None:
        """What was found when the promises were last held against the tables, by whom ever."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(sql("last_verification"))
        if row is None:
            return None
        return Verification(
            ms_of(row["began_at"]), ms_of(row["ended_at"]), row["kind"], row["pieces"], row["pieces_known"],
            json.loads(row["violations"]),
        )  # fmt: skip

    async def tables(self) -> Tables:
        row = await self._one("report_tables")
        return Tables(row["candles"], tuple(row["missing"]))

    async def totals(self) -> Totals:
        return Totals(**await self._one("report_totals"))

    async def answered(self) -> tuple[Answered, ...]:
        """How far every series that is known is answered; cheap, for freshness."""
        rows = await self._all("report_answered")
        return tuple(Answered(_series(row), millis(row["answered_until"])) for row in rows)

    async def missing(self) -> dict[Series, Missing]:
        """What open gaps owe, of every series that owes anything."""
        owed: dict[Series, dict[str, int]] = {}
        for row in await self._all("report_missing"):
            owed.setdefault(_series(row), {})[row["cause"]] = row["missing"]
        return {series: Missing(**causes) for series, causes in owed.items()}

    async def failing_jobs(self) -> dict[str, dict[JobType, int]]:
        """Exchange -> job type -> how many enabled jobs, awake, failed or were partial when they last ran."""
        failing: dict[str, dict[JobType, int]] = {}
        for row in await self._all("report_failing"):
            failing.setdefault(row["exchange"], {})[JobType(row["job_type"])] = row["jobs"]
        return failing

    async def open_transactions(self) -> frozenset[str]:
        """The transactions that are open in this database but this one, by names that last as long as they do."""
        return frozenset(row["transaction"] for row in await self._all("report_transactions"))

    async def series_figures(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        limit: int = PAGE,
        cursor: Series | None = None,
    ) -> tuple[SeriesReport, ...]:
        """Series that are known, ordered by their key, the first after ``cursor``."""
        async with self._database.session() as connection:
            which = await _known(connection, (exchange, symbol, timeframe), cursor, limit)
            figures = await _of(connection, "report_series", which)
            lasts = await _of(connection, "report_series_last", which)
            runs = await _runs_named(connection, (row["last_run"] for row in lasts.values()))
        return tuple(_report(figures[one], lasts[one], runs.get(lasts[one]["last_run"])) for one in which)

    async def known(self, *, limit: int = PAGE, cursor: Series | None = None) -> tuple[Series, ...]:
        """The same without their figures."""
        async with self._database.session() as connection:
            return await _known(connection, (None, None, None), cursor, limit)

    async def figures_of(self, which: Sequence[Series]) -> tuple[SeriesFigures, ...]:
        """Of these series, in this order, whether anything is known of them or not."""
        async with self._database.session() as connection:
            rows = await _of(connection, "report_series", which)
        return tuple(SeriesFigures(**_figures(rows[one])) for one in which)

    async def runs(
        self, job_id: int | None = None, *, limit: int = PAGE, cursor: int | None = None
    ) -> tuple[RunFigures, ...]:
        """Runs of one job or of all, newest first, those before the run ``cursor``."""
        if job_id is None:
            rows = await self._all("report_runs", cursor, limit)
        else:
            rows = await self._all("report_job_runs", job_id, cursor, limit)
        return tuple(_run(row) for row in rows)

    async def runs_named(self, ids: Iterable[int | None]) -> dict[int | None, RunFigures]:
        """The runs with these ids; None is nobody's."""
        async with self._database.session() as connection:
            return await _runs_named(connection, ids)

    async def runs_24h(self, exchange: str | None = None) -> DayFigures:
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("report_day"), exchange)
            runs = await _runs_named(connection, (row["last_run"] for row in rows))
        counts = {name: rows[0][name] for name in _DAY_COUNTS}
        last_success_ms = millis(rows[0]["last_success"])
        return DayFigures(**counts, last_run=runs.get(rows[0]["last_run"]), last_success_ms=last_success_ms)

    async def jobs(
        self, exchange: str | None = None, *, limit: int = 1000, cursor: int | None = None, at_work: bool = False
    ) -> tuple[JobFigures, ...]:
        """Jobs with their last run, by id, those after the job ``cursor``; orders for a week.

        ``at_work``: the enabled ones only, and no orders.
        """
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("report_jobs"), exchange, cursor, limit, at_work)
            runs = await _runs_named(connection, (row["last_run"] for row in rows))
        return tuple(_job(row, runs.get(row["last_run"])) for row in rows)

    async def job_exists(self, job_id: int) -> bool:
        return bool(await self._value("report_job_exists", job_id))

    async def gaps(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
        cause: Cause | None = None,
        *,
        closed: bool = False,
        limit: int = PAGE,
        cursor: int | None = None,
    ) -> GapPage:
        """Open gaps (with ``closed``, the closed ones too), by id, those after the gap ``cursor``."""
        which = (exchange, symbol, timeframe, cause)
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("report_all_gaps" if closed else "report_gaps"), *which, cursor, limit)
            total = await connection.fetchval(sql("report_gap_count"), *which)
        return GapPage(tuple(_gap(row) for row in rows), total)

    async def gaps_summary(self, exchange: str | None = None) -> GapSummary:
        row = await self._one("report_gap_summary", exchange)
        return GapSummary(row["open_gaps"], row["repaired_24h"], millis(row["oldest_open_gap"]))

    async def coverage_buckets(self, series: Series, start_ms: int, end_ms: int, buckets: int) -> tuple[Bucket, ...]:
        """States of the intervals that open in ``[start_ms, end_ms)``, in at most ``buckets`` equal stretches."""
        frame = series.frame
        spans = stretches(max(frame.ceiling(start_ms), 0), frame.ceiling(end_ms), buckets)
        if not spans:
            return ()
        starts, ends = [span[0] for span in spans], [span[1] for span in spans]
        rows = await self._all("report_buckets", *series, starts, ends)
        return tuple(_bucket(series, span, row) for span, row in zip(spans, rows, strict=True))

    async def maps(
        self, figures: Sequence[SeriesFigures], start_ms: int, end_ms: int, *, least_s: float
    ) -> tuple[SeriesMap, ...]:
        """What is known of the intervals that open in ``[start_ms, end_ms)``, of each of these series.

        Silences of ``least_s`` and more are told while few blocks have to be read for it. Beyond that only series with
        holes are read: of the others their figures say all.
        """
        windows = [_window(each, start_ms, end_ms) for each in figures]
        close = sum((window.end - window.start) // BLOCK + 2 for window in windows) <= _FEW_BLOCKS
        asked = [at for at, each in enumerate(figures) if close or not is_whole(each)]
        if not asked:
            return tuple(windows)
        keys = [(*windows[at].series, windows[at].start, windows[at].end) for at in asked]
        columns = [list(column) for column in zip(*keys, strict=True)]
        step_s = min(windows[at].series.frame.typical_s for at in asked)
        async with self._database.session() as connection:
            rows = await connection.fetch(
                sql("report_maps"), *columns, max(2, int(least_s // step_s)) if close else None
            )
            gaps = await connection.fetch(sql("report_map_gaps"), *columns, _MOST_GAPS)
        for at, row, own in zip(asked, rows, _gaps_of(gaps, len(asked)), strict=True):
            answered, quiet = codec.ranges(row["answered"] or ()), codec.ranges(row["quiet"] or ())
            windows[at] = replace(windows[at], answered=answered, quiet=quiet, gaps=tuple(own))
        return tuple(windows)

    async def gap(self, gap_id: int) -> GapFigures | None:
        rows = await self._all("report_gap", gap_id)
        return _gap(rows[0]) if rows else None

    async def runs_of(self, series: Series, limit: int = PAGE) -> tuple[RunFigures, ...]:
        """The newest runs of the jobs that may have worked on a series, newest first."""
        async with self._database.session() as connection:
            ids = [row["id"] for row in await connection.fetch(sql("report_series_runs"), *series, limit)]
            found = await _runs_named(connection, ids)
        return tuple(found[number] for number in ids)

    async def revisions(self, series: Series, limit: int = PAGE) -> tuple[RevisionFigures, ...]:
        """Of the newest candles that were ever revised."""
        return tuple(_revision(row) for row in await self._all("report_revisions", *series, limit))

    async def candles(self, series: Series, before_ms: int, limit: int = PAGE) -> tuple[CandleFigures, ...]:
        """The newest ``limit`` candles that open before a time, ascending."""
        rows = await self._all("report_candles", *series, codec.moment(before_ms), limit)
        return tuple(_candle(row) for row in reversed(rows))

    async def leases(self) -> tuple[LeaseFigures, ...]:
        """Who works on which exchange."""
        return tuple(_lease(row) for row in await self._all("report_leases"))

    async def _all(self, name: str, *values: object) -> list[asyncpg.Record]:
        async with self._database.session() as connection:
            return await connection.fetch(sql(name), *values)

    async def _one(self, name: str, *values: object) -> asyncpg.Record:
        return (await self._all(name, *values))[0]

    async def _value(self, name: str, *values: object) -> Any:
        return (await self._one(name, *values))[0]


_FEW_BLOCKS = 2_000
_MOST_GAPS = 20_000


def _gaps_of(rows: Iterable[asyncpg.Record], count: int) -> list[list[OpenGap]]:
    """By the number of their series."""
    found: list[list[OpenGap]] = [[] for _ in range(count)]
    for row in rows:
        found[row["number"] - 1].append(OpenGap(row["id"], Cause(row["cause"]), codec.ranges(row["missing"])))
    return found


def is_whole(figures: SeriesFigures) -> bool:
    """Everything from the first answered interval to the last one is answered."""
    return figures.open_gaps == 0 and figures.stored + figures.empty == _hull(figures).size


def _hull(figures: SeriesFigures) -> Ranges:
    if figures.answered_from_ms is None or figures.answered_until_ms is None:
        return NOTHING
    frame = figures.series.frame
    return Ranges.of((frame.number(figures.answered_from_ms), frame.number(figures.answered_until_ms)))


def _window(figures: SeriesFigures, start_ms: int, end_ms: int) -> SeriesMap:
    """What the figures alone say of a stretch of time, where there are no holes."""
    frame = figures.series.frame
    start = max(frame.ceiling(start_ms), 0)
    return SeriesMap(figures.series, start, max(frame.ceiling(end_ms), start + 1), _hull(figures), NOTHING, ())


_DAY_COUNTS = ("total", "success", "partial", "failed", "interrupted", "skipped", "running", "candles")


def stretches(start: int, end: int, count: int) -> tuple[Span, ...]:
    """``[start, end)`` in at most ``count`` parts whose sizes differ by one at most; none is empty."""
    size = end - start
    count = min(count, size)
    if count <= 0:
        return ()
    edges = [start + size * at // count for at in range(count + 1)]
    return tuple(pairwise(edges))


async def _known(
    connection: Connection, like: tuple[str | None, str | None, str | None], cursor: Series | None, limit: int
) -> tuple[Series, ...]:
    after = cursor or (None, None, None)
    return tuple(_series(row) for row in await connection.fetch(sql("report_known"), *like, *after, limit))


async def _of(connection: Connection, name: str, which: Sequence[Series]) -> dict[Series, asyncpg.Record]:
    """What a statement says of each of these series."""
    keys = [list(column) for column in zip(*which, strict=True)] or [[], [], []]
    return {_series(row): row for row in await connection.fetch(sql(name), *keys)}


async def _runs_named(connection: Connection, ids: Iterable[int | None]) -> dict[int | None, RunFigures]:
    wanted = sorted({number for number in ids if number is not None})
    if not wanted:
        return {}
    return {row["id"]: _run(row) for row in await connection.fetch(sql("report_runs_named"), wanted)}


def _series(row: asyncpg.Record) -> Series:
    return Series(row["exchange"], row["symbol"], row["timeframe"])


def _report(row: asyncpg.Record, last: asyncpg.Record, last_run: RunFigures | None) -> SeriesReport:
    return SeriesReport(
        **_figures(row),
        oldest_ms=millis(last["oldest_open_time"]),
        latest_ms=millis(last["latest_open_time"]),
        next_look_ms=millis(last["next_look_at"]),
        last_run=last_run,
        last_success_ms=millis(last["last_success"]),
    )


def _figures(row: asyncpg.Record) -> dict[str, Any]:
    once = max(0, row["empty_once"] - row["suspect"])
    return {
        "series": _series(row),
        "derived_from": row["derived_from"],
        "known_since_ms": millis(row["known_since"]),
        "first_ms": millis(row["first_open_time"]),
        "answered_from_ms": millis(row["answered_from"]),
        "answered_until_ms": millis(row["answered_until"]),
        "wanted_from_ms": millis(row["wanted_from"]),
        "history_known": row["history_known"],
        "wanted": row["wanted"] or 0,
        "stored": row["stored"],
        "empty_once": once,
        "empty_confirmed": max(0, row["empties"] - row["empty_once"]),
        "unknown": row["unknown"],
        "wanted_missing": row["wanted_missing"],
        "wanted_gaps": row["wanted_gaps"],
        "open_gaps": row["open_gaps"],
        "missing": Missing(**{cause.value: row[cause.value] for cause in Cause}),
        "next_attempt_ms": millis(row["next_attempt_at"]),
    }


def _run(row: asyncpg.Record) -> RunFigures:
    return RunFigures(
        id=row["id"],
        job_id=row["job_id"],
        exchange=row["exchange"],
        symbol=row["symbol"],
        timeframe=row["timeframe"],
        job_type=JobType(row["job_type"]),
        scheduled_ms=ms_of(row["scheduled_for"]),
        started_ms=millis(row["started_at"]),
        completed_ms=millis(row["completed_at"]),
        status=RunStatus(row["status"]),
        requests=row["requests"],
        fetched=row["candles_fetched"],
        inserted=row["candles_inserted"],
        updated=row["candles_updated"],
        empties=row["empties"],
        gaps_opened=row["gaps_opened"],
        gaps_closed=row["gaps_closed"],
        last_open_ms=millis(row["last_open_time"]),
        error=row["error_message"],
    )


def _job(row: asyncpg.Record, last_run: RunFigures | None) -> JobFigures:
    return JobFigures(
        id=row["id"],
        exchange=row["exchange"],
        symbol=row["symbol"],
        timeframe=row["timeframe"],
        job_type=JobType(row["job_type"]),
        schedule=row["schedule"],
        enabled=row["enabled"],
        origin=row["origin"],
        owner=row["owner"],
        start_ms=millis(row["start_time"]),
        end_ms=millis(row["end_time"]),
        status=row["status"],
        last_error=row["last_error"],
        paused=row["paused"],
        paused_until_ms=millis(row["paused_until"]),
        jitter_s=row["jitter_s"],
        running=row["running"],
        last_run=last_run,
    )


def _gap(row: asyncpg.Record) -> GapFigures:
    return GapFigures(
        id=row["id"],
        series=_series(row),
        start_ms=ms_of(row["gap_start"]),
        end_ms=ms_of(row["gap_end"]),
        missing=row["missing"],
        owed=row["owed"],
        detected_ms=ms_of(row["detected_at"]),
        repaired_ms=millis(row["repaired_at"]),
        cause=Cause(row["cause"]),
        resolution=None if row["resolution"] is None else Resolution(row["resolution"]),
        filled=row["filled"],
        emptied=row["emptied"],
        attempts=row["attempts"],
        next_attempt_ms=millis(row["next_attempt_at"]),
        last_error=row["last_error"],
    )


_PRICES = ("open", "high", "low", "close", "volume")


def _candle(row: asyncpg.Record) -> CandleFigures:
    return CandleFigures(ms_of(row["open_time"]), *(row[name] for name in _PRICES))


def _revision(row: asyncpg.Record) -> RevisionFigures:
    new = None if row["kind"] == "vanished" else tuple(row[f"new_{name}"] for name in _PRICES)
    old = tuple(row[f"old_{name}"] for name in _PRICES)
    return RevisionFigures(ms_of(row["open_time"]), ms_of(row["new_answered_at"]), old, new)


def _bucket(series: Series, span: Span, row: asyncpg.Record) -> Bucket:
    """Suspect intervals are answered and empty in the ledger, and gaps to a reader."""
    frame = series.frame
    return Bucket(
        start_ms=frame.open_ms(span[0]),
        end_ms=frame.open_ms(span[1]),
        stored=row["answered"] - row["empties"],
        empty=max(0, row["empties"] - row["suspect"]),
        gap=row["owed"] + row["suspect"],
        unknown=max(0, span[1] - span[0] - row["answered"] - row["owed"]),
    )


def _lease(row: asyncpg.Record) -> LeaseFigures:
    return LeaseFigures(
        exchange=row["exchange"],
        holder=row["holder"],
        kind=row["kind"],
        epoch=row["epoch"],
        alive=row["alive"],
        expires_ms=ms_of(row["expires_at"]),
        last_request_ms=millis(row["last_request_at"]),
        blocked_until_ms=millis(row["blocked_until"]),
    )
