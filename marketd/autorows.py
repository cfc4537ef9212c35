"""Backfill rows that marketd makes by itself.

Owns the decision which rows of origin ``auto`` there shall be: a row that tracks series of which nobody fetches the
history causes one, and takes it along when it is disabled. Pure; a backfill row that somebody wrote, enabled or not,
says that it has been thought of.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from marketd.jobs import AUTO
from marketd.model import Job, JobType

NOT_NEEDED: Final = "not needed"
"""The status of an auto row that marketd has disabled; one that somebody else has disabled stays so."""


@dataclass(frozen=True, slots=True)
class AutoRows:
    """``create``: ids of rows that need one; ``enable`` and ``disable``: ids of auto rows."""

    create: tuple[int, ...] = ()
    enable: tuple[int, ...] = ()
    disable: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.create or self.enable or self.disable)


def auto_rows(jobs: Iterable[Job], backfills: Iterable[Mapping[str, Any]], timeframes: Sequence[str]) -> AutoRows:
    """What to do so that the tracked history is fetched.

    ``jobs`` are the usable enabled rows; ``backfills`` all backfill rows but orders, not validated.
    """
    rows = list(backfills)
    own = {row["caused_by"]: row for row in rows if row["origin"] == AUTO}
    written = {(row["exchange"], row["symbol"], row["timeframe"]) for row in rows if row["origin"] != AUTO}
    causes: dict[tuple[str, str, str | None], int] = {}
    for job in sorted(jobs, key=lambda job: job.id):
        if job.symbol is not None and job.origin != AUTO and job.job_type is not JobType.BACKFILL:
            named = timeframes if job.timeframe is None else (job.timeframe,)
            if not all(_written(written, job.exchange, job.symbol, timeframe) for timeframe in named):
                causes.setdefault((job.exchange, job.symbol, job.timeframe), job.id)
    wanted = set(causes.values())
    return AutoRows(
        create=tuple(sorted(wanted - own.keys())),
        enable=tuple(row["id"] for cause, row in own.items() if cause in wanted and row["status"] == NOT_NEEDED),
        disable=tuple(row["id"] for cause, row in own.items() if cause not in wanted and row["enabled"]),
    )


def _written(
    written: Collection[tuple[str, str | None, str | None]], exchange: str, symbol: str, timeframe: str
) -> bool:
    """Whether somebody has written a row that works on the series, from the narrowest to the widest."""
    return (
        (exchange, symbol, timeframe) in written or (exchange, symbol, None) in written
        or (exchange, None, timeframe) in written or (exchange, None, None) in written
    )  # fmt: skip
