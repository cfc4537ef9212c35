"""What a job file changes in the job table.

Owns the comparison between the entries of a file and the rows that came from it. Pure: what is added, changed and
removed is decided here and written by the store in one transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketd.clock import ms_of
from marketd.jobfile import JobSpec

_COMPARED = ("schedule", "enabled", "start_ms", "end_ms", "catch_up", "timeout_s", "freshness_s")


@dataclass(frozen=True, slots=True)
class Difference:
    """``changed`` maps a row's id to its entry; ``removed`` are ids of rows whose entry has left the file."""

    added: tuple[JobSpec, ...]
    changed: Mapping[int, JobSpec]
    removed: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference(specs: Sequence[JobSpec], rows: Iterable[Mapping[str, Any]]) -> Difference:
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


def _differs(spec: JobSpec, row: Mapping[str, Any]) -> bool:
    return any(getattr(spec, key) != value for key, value in zip(_COMPARED, _values(row), strict=True))


def _values(row: Mapping[str, Any]) -> tuple[object, ...]:
    start, end = row["start_time"], row["end_time"]
    return (
        row["schedule"], row["enabled"], None if start is None else ms_of(start), None if end is None else ms_of(end),
        row["catch_up"], row["timeout_s"], row["freshness_s"],
    )  # fmt: skip
