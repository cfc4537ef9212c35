"""Figures as JSON.

Owns the keys and spellings that readers of the port hold on to (``docs/http.md``); they do not change. Pure: records
in, dictionaries out. Times are ISO 8601 with offset, or milliseconds where the key is an open time.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from marketd import words
from marketd.clock import at
from marketd.figures import (
    Bucket,
    CandleFigures,
    DayFigures,
    GapFigures,
    JobFigures,
    RunFigures,
    SeriesFigures,
    SeriesReport,
)  # fmt: skip
from marketd.fillings import Filling
from marketd.model import Cause, Claim, Series
from marketd.web.status import ExchangeStatus, JobStatus, Status

Shape = dict[str, Any]


@lru_cache(maxsize=10_000)  # who polls is told of the same moments again and again
def iso(ms: int | None) -> str | None:
    return None if ms is None else at(ms).isoformat()


class Lag(NamedTuple):
    """How far a series is behind, None: unknown; and how far it may be, None: as far as it likes."""

    seconds: float | None
    objective_s: float | None

    @property
    def late(self) -> bool:
        return self.objective_s is not None and (self.seconds is None or self.seconds > self.objective_s)

    @property
    def said(self) -> str:
        return "never answered" if self.seconds is None else words.duration(self.seconds)


def lag(figures: SeriesFigures, status: Status) -> Lag:
    """From the end of what is answered, or from when the series became known."""
    begin_ms = figures.known_since_ms if figures.answered_until_ms is None else figures.answered_until_ms
    now_ms = status.exchange_now_ms(figures.series.exchange)
    behind_s = None if begin_ms is None else max(0.0, (now_ms - begin_ms) / 1000)
    return Lag(behind_s, status.objectives().get(figures.series))


def series(figures: SeriesReport, status: Status) -> Shape:
    """One series; ``complete`` asks for its freshness too, where it has an objective."""
    behind = lag(figures, status)
    return {
        **nothing_of(figures.series),
        "latest_candle_open_time": figures.latest_ms,
        "candles_count": figures.stored,
        "lag_seconds": behind.seconds,
        "freshness_objective_seconds": behind.objective_s,
        "complete": figures.complete and not behind.late,
        "first_open_time": figures.oldest_ms,
        "open_gaps": figures.open_gaps,
        "empty_intervals": figures.empty,
        "last_run": None if figures.last_run is None else run(figures.last_run),
        "last_success": iso(figures.last_success_ms),
        "derived_from": figures.derived_from,
        "answered_until": iso(figures.answered_until_ms),
        "completeness_ratio": figures.completeness,
        "unknown_intervals": figures.unknown,
        "missing_intervals": {cause.value: count for cause, count in figures.missing.by_cause().items()},
        "empty_once_intervals": figures.empty_once,
        "next_look_at": iso(figures.next_look_ms),
    }


def nothing_of(which: Series) -> Shape:
    """A series of which nothing is known."""
    return {
        "exchange": which.exchange,
        "symbol": which.symbol,
        "timeframe": which.timeframe,
        "latest_candle_open_time": None,
        "candles_count": 0,
        "schema_ok": True,
        "db_ok": True,
        "lag_seconds": None,
        "freshness_objective_seconds": None,
        "complete": False,
        "first_open_time": None,
        "open_gaps": 0,
        "empty_intervals": 0,
        "last_run": None,
        "last_success": None,
        "derived_from": None,
        "answered_until": None,
        "completeness_ratio": None,
        "unknown_intervals": 0,
        "missing_intervals": {cause.value: 0 for cause in Cause},
        "empty_once_intervals": 0,
        "next_look_at": None,
    }


def unanswered(which: Series, *, db_ok: bool, error: str) -> Shape:
    """A series that the database could not be asked about."""
    return {**nothing_of(which), "candles_count": None, "schema_ok": False, "db_ok": db_ok, "error": error}


def run(figures: RunFigures) -> Shape:
    return {
        "id": figures.id,
        "job_id": figures.job_id,
        "job_type": figures.job_type.value,
        "scheduled_for": iso(figures.scheduled_ms),
        "status": figures.status.value,
        "started_at": iso(figures.started_ms),
        "completed_at": iso(figures.completed_ms),
        "requests": figures.requests,
        "candles_fetched": figures.fetched,
        "candles_inserted": figures.inserted,
        "candles_updated": figures.updated,
        "empty_intervals": figures.empties,
        "gaps_opened": figures.gaps_opened,
        "gaps_closed": figures.gaps_closed,
        "last_open_time": iso(figures.last_open_ms),
        "error_message": figures.error,
    }


def day(figures: DayFigures) -> Shape:
    return {
        "total": figures.total,
        "success": figures.success,
        "partial": figures.partial,
        "failed": figures.failed,
        "running": figures.running,
        "interrupted": figures.interrupted,
        "skipped": figures.skipped,
    }


def job(figures: JobFigures, known: Mapping[int, JobStatus]) -> Shape:
    alive = known.get(figures.id)
    return {
        "id": figures.id,
        "exchange": figures.exchange,
        "symbol": figures.symbol,
        "timeframe": figures.timeframe,
        "job_type": figures.job_type.value,
        "schedule": figures.schedule,
        "enabled": figures.enabled,
        "next_run": None if alive is None else iso(alive.next_run_ms),
        "running": figures.running or (alive is not None and alive.running),
        "last_run": None if figures.last_run is None else run(figures.last_run),
        "origin": figures.origin,
        "paused": figures.paused,
        "paused_until": iso(figures.paused_until_ms),
        "jitter_s": figures.jitter_s,
        "start_time": iso(figures.start_ms),
        "end_time": iso(figures.end_ms),
        "status": figures.status,
        "last_error": figures.last_error,
    }


def gap(figures: GapFigures) -> Shape:
    return {
        "id": figures.id,
        "exchange": figures.series.exchange,
        "symbol": figures.series.symbol,
        "timeframe": figures.series.timeframe,
        "gap_start": iso(figures.start_ms),
        "gap_end": iso(figures.end_ms),
        "missing": figures.missing,
        "detected_at": iso(figures.detected_ms),
        "cause": figures.cause.value,
        "attempts": figures.attempts,
        "next_attempt_at": iso(figures.next_attempt_ms),
        "last_error": figures.last_error,
    }


def candles(found: Sequence[CandleFigures]) -> Shape:
    """Column by column, ascending; prices and volumes as exact texts."""
    shape: Shape = {"open_time": [each.open_ms for each in found]}
    for name in ("open", "high", "low", "close", "volume"):
        shape[name] = [f"{getattr(each, name):f}" for each in found]
    return shape


def exchange(status: ExchangeStatus) -> Shape:
    return {
        "name": status.name,
        "budget_per_minute": status.budget_per_minute,
        "used_last_minute": status.used_last_minute,
        "state": status.state,
        "until": iso(status.until_ms),
        "used": {claim.name.lower(): status.used.get(claim, 0) for claim in Claim},
    }


def backfill(series: Series, filling: Filling) -> Shape:
    """A run that fetches history right now, and how far it is."""
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "share": filling.reading.share,
        "requests": filling.requests,
        "requests_left": filling.reading.requests_left,
        "rate": filling.reading.rate,
        "seconds_left": filling.reading.left_s,
    }


def bucket(figures: Bucket) -> Shape:
    return {
        "start": iso(figures.start_ms),
        "end": iso(figures.end_ms),
        "stored": figures.stored,
        "empty": figures.empty,
        "gap": figures.gap,
        "unknown": figures.unknown,
    }
