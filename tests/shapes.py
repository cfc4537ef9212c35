"""What readers of the port hold on to: the keys of its answers and the types of their values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

Number: TypeAlias = float | int


class Time:
    """ISO 8601 with offset."""


RUN: Mapping[str, Any] = {
    "id": int, "job_id": int, "job_type": str, "scheduled_for": Time, "status": str, "started_at": Time | None,
    "completed_at": Time | None, "requests": int, "candles_fetched": int, "candles_inserted": int,
    "candles_updated": int, "empty_intervals": int, "gaps_opened": int, "gaps_closed": int,
    "last_open_time": Time | None, "error_message": str | None,
}  # fmt: skip
MISSING = dict.fromkeys(("not_asked", "failed", "late", "lost", "suspect"), int)
SERIES: Mapping[str, Any] = {
    "exchange": str, "symbol": str, "timeframe": str, "latest_candle_open_time": int | None,
    "candles_count": int | None, "schema_ok": bool, "db_ok": bool, "lag_seconds": Number | None,
    "freshness_objective_seconds": Number | None, "complete": bool, "first_open_time": int | None, "open_gaps": int,
    "empty_intervals": int, "last_run": [RUN, None], "last_success": Time | None, "derived_from": str | None,
    "answered_until": Time | None, "completeness_ratio": Number | None, "unknown_intervals": int,
    "missing_intervals": MISSING, "empty_once_intervals": int, "next_look_at": Time | None,
}  # fmt: skip
EXCHANGE: Mapping[str, Any] = {
    "name": str, "budget_per_minute": Number, "used_last_minute": int, "state": str, "until": Time | None,
    "used": dict.fromkeys(("continuous", "order", "gap_repair", "backfill", "recheck"), int),
}  # fmt: skip
BACKFILL: Mapping[str, Any] = {
    "exchange": str, "symbol": str, "timeframe": str, "share": float, "requests": int, "requests_left": int,
    "rate": float, "seconds_left": float | None,
}  # fmt: skip
JOB: Mapping[str, Any] = {
    "id": int, "exchange": str, "symbol": str | None, "timeframe": str | None, "job_type": str,
    "schedule": str | None, "enabled": bool, "next_run": Time | None, "running": bool, "last_run": [RUN, None],
    "origin": str, "paused": bool, "paused_until": Time | None, "jitter_s": Number | None, "start_time": Time | None,
    "end_time": Time | None, "status": str | None, "last_error": str | None,
}  # fmt: skip
DAY = dict.fromkeys(("total", "success", "partial", "failed", "running", "interrupted", "skipped"), int)
WHOLE: Mapping[str, Any] = {
    "runs_24h": DAY, "last_run": [RUN, None], "last_success": Time | None, "candles_24h": int, "series": (SERIES,),
    "next_cursor": str | None, "exchanges": (EXCHANGE,), "backfills": (BACKFILL,), "jobs": (JOB,), "db_ok": bool,
    "schema_ok": bool,
}  # fmt: skip
RELOAD: Mapping[str, Any] = {"number": int, "outcome": str, "at": Time, "reason": str | None, "changes": dict}
JOBS: Mapping[str, Any] = {"jobs": (JOB,), "next_cursor": int | None, "last_reload": [RELOAD, None]}
AWAY = {"error": str}
"""What an answer of 200 has besides, while the database is out of reach."""

HEALTH: Mapping[str, Any] = {
    "status": str, "timestamp": Time,
    "database": {"connected": bool, "latency_ms": Number, "candles_table_exists": bool, "total_candles": int},
}  # fmt: skip
UNHEALTHY: Mapping[str, Any] = {"detail": {"status": str, "database": {"connected": bool, "error": str}}}


def mistakes(value: Any, wanted: Any, where: str = "") -> list[str]:
    """Where ``value`` is not of the shape ``wanted``: a table of exactly these keys, ``(shape,)`` a list, ``[…]`` one
    of several shapes, else a type.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(value, dict) or value.keys() != wanted.keys():
            return [f"{where}: {_keys(value)}, not {_keys(wanted)}"]
        return [said for key in wanted for said in mistakes(value[key], wanted[key], f"{where}.{key}")]
    if isinstance(wanted, tuple):
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return [said for at, each in enumerate(value) for said in mistakes(each, wanted[0], f"{where}[{at}]")]
    if isinstance(wanted, list):
        return [] if value is None and None in wanted else mistakes(value, wanted[0], where)
    return [] if _is(value, wanted) else [f"{where}: {value!r} is no {wanted}"]


def _keys(value: Any) -> object:
    return sorted(value) if isinstance(value, Mapping) else value


def _is(value: Any, wanted: Any) -> bool:
    kinds = getattr(wanted, "__args__", (wanted,))
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, str) and Time in kinds:
        return datetime.fromisoformat(value).tzinfo is not None
    return isinstance(value, wanted)
