"""What a job file changes in the job table.

Owns the comparison between the entries of a file and the rows that came from it. Pure: what is added, changed and
removed is decided here and written by the store in one transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marketd.clock import ms_of
from marketd.model import JobRow

_COMPARED = ("schedule", "enabled", "catch_up", "timeout_s", "freshness_s", "jitter_s")


@dataclass(frozen=True, slots=True)
class Difference:
    """``changed`` maps a row's id to its entry; ``removed`` are ids of rows whose entry has left the file."""

    added: tuple[JobRow, ...]
    changed: Mapping[int, JobRow]
    removed: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference(specs: Sequence[JobRow], rows: Iterable[Mapping[str, Any]]) -> Difference:
    """``rows`` are those of this file's owner; one whose entry has left and that is disabled already is no change."""
    wanted = {spec.slot: spec for spec in specs}
    there: dict[object, Mapping[str, Any]] = {}
    removed = []
    for row in rows:
        slot = (row["exchange"], row["symbol"], row["timeframe"], row["job_type"])
        if slot in wanted and slot not in there:
            there[slot] = row
        elif row["enabled"]:
            removed.append(int(row["id"]))
    changed = {int(row["id"]): wanted[slot] for slot, row in there.items() if _differs(wanted[slot], row)}  # type: ignore[index]
    return Difference(tuple(spec for slot, spec in wanted.items() if slot not in there), changed, tuple(removed))


def _differs(spec: JobRow, row: Mapping[str, Any]) -> bool:
    bounds = (spec.start_ms, spec.end_ms) != (_ms(row["start_time"]), _ms(row["end_time"]))
    return bounds or any(getattr(spec, key) != row[key] for key in _COMPARED)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else ms_of(moment)
