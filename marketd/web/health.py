"""Is it well? The three verdicts of ``/system/health``.

Owns how figures become ``ok``, ``degraded`` and ``error``. An empty set is not healthy: nothing to keep fresh, no run
yet, a series that never got an answer are all degraded. Refuses to let a failed database hide behind numbers.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from marketd.errors import DatabaseUnavailable, DiskFull, MarketdError, PrivilegeError, SchemaError
from marketd.figures import Answered, DayFigures
from marketd.model import Series
from marketd.web import shapes
from marketd.web.status import Reports, Status

WORST: Final = ("ok", "degraded", "error")

_REASONS: Final = (
    (DatabaseUnavailable, "the database is out of reach"),
    (DiskFull, "the database has no space left"),
    (SchemaError, "the schema is not current: run marketd migrate"),
    (PrivilegeError, "the database role lacks a right"),
    (MarketdError, "the database refused"),
)


def reason(error: MarketdError) -> str:
    """What a reader is told of ``error``: its own text may name hosts and users, and belongs in the log."""
    return next(text for kind, text in _REASONS if isinstance(error, kind))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One part of the system; ``shape`` is its JSON without the status."""

    status: str
    shape: Mapping[str, Any]

    def json(self) -> dict[str, Any]:
        return {"status": self.status, **self.shape}


def late(status: Status, answered: Iterable[Answered]) -> Mapping[Series, float]:
    """By how many seconds each series is behind that is so by more than its objective; infinite: never answered."""
    until = {entry.series: entry.until_ms for entry in answered}
    now = {name: status.exchange_now_ms(name) for name in {series.exchange for series in status.objectives()}}
    found: dict[Series, float] = {}
    for series, objective_s in status.objectives().items():
        until_ms = until.get(series)
        behind_s = math.inf if until_ms is None else (now[series.exchange] - until_ms) / 1000
        if behind_s > objective_s:
            found[series] = behind_s
    return found


def api(status: Status) -> Verdict:
    uptime_s = max(0, status.now_ms() - status.started_ms) // 1000
    return Verdict("ok", {"uptime_seconds": uptime_s, "message": "API running"})


async def database(reports: Reports) -> Verdict:
    try:
        latency_ms = await reports.ping()
        tables = await reports.tables()
        totals = None if tables.missing else await reports.totals()
    except MarketdError as error:
        message = f"Database error: {type(error).__name__}"
        return Verdict("error", {"message": message, "details": {"error": reason(error)}})
    if totals is None:
        message = "Database connected, but tables are missing"
        details: dict[str, object] = {"candle_count": 0, "missing_tables": list(tables.missing)}
        return Verdict("degraded", {"message": message, "latency_ms": round(latency_ms, 2), "details": details})
    details = {"candle_count": totals.stored}
    return Verdict("ok", {"message": "Database connected", "latency_ms": round(latency_ms, 2), "details": details})


async def ingestion(reports: Reports, status: Status) -> Verdict:
    try:
        day = await reports.runs_24h()
        behind = late(status, await reports.answered())
        open_gaps = (await reports.totals()).open_gaps
    except MarketdError as error:
        return Verdict("error", {"message": f"Ingestion unknown: {type(error).__name__}"})
    if status.turn_age_s() > status.watchdog_s:
        return Verdict("error", {"message": "Scheduler does not turn", "details": _details(day, behind, open_gaps)})
    if day.total == 0 and day.running == 0:
        return Verdict("degraded", {"message": "No recent ingestion runs found"})
    well = not behind and bool(status.objectives()) and day.last_success_ms is not None
    message = f"Ingestion active ({day.total} runs in last 24h)"
    return Verdict("ok" if well else "degraded", {"message": message, "details": _details(day, behind, open_gaps)})


def _details(day: DayFigures, behind: Collection[Series], open_gaps: int) -> dict[str, object]:
    return {
        "last_run": None if day.last_run is None else shapes.iso(day.last_run.started_ms),
        "last_success": shapes.iso(day.last_success_ms),
        "runs_24h": day.total,
        "failed_24h": day.failed,
        "series_late": len(behind),
        "late": [str(series) for series in islice(behind, 10)],
        "open_gaps": open_gaps,
    }


def overall(*verdicts: Verdict) -> str:
    return max((verdict.status for verdict in verdicts), key=WORST.index)
