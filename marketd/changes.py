"""What a reload changes.

Owns the difference between what was in force and what is now: jobs added, changed, removed and refused, settings taken
over and settings that wait for a restart. Pure; refuses to apply anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from marketd.clock import at
from marketd.config import Config, settings_of, shown
from marketd.jobset import JobSet
from marketd.model import Job

LANE_KEYS: Final = (
    "base_url", "share", "page_limit", "archive", "archive_url", "proxy", "derive", "api_key", "api_secret",
)  # fmt: skip
"""Settings of an exchange with which its lane is opened; a change of them opens it anew."""

_AT_RESTART: Final = ("database.", "http.", "log.")
_NOT_COMPARED: Final = ("id", "created_ms")


@dataclass(frozen=True, slots=True)
class Changes:
    """One sentence a change, in the order of the rows.

    ``refused`` names every row that is left out, ``infeasible`` every exchange of which too much is asked, old
    or new.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    infeasible: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    def items(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Kind of change, in words, to its sentences."""
        for each in fields(self):
            yield each.name.replace("_", " "), getattr(self, each.name)

    def __str__(self) -> str:
        counts = [f"{len(sentences)} {kind}" for kind, sentences in self.items() if sentences]
        return ", ".join(counts) or "nothing changed"

    def shape(self) -> dict[str, list[str]]:
        return {each.name: list(getattr(self, each.name)) for each in fields(self)}


def changes(before: tuple[Config, JobSet], after: tuple[Config, JobSet]) -> Changes:
    """What is different in ``after``: pairs of configuration and job set."""
    old, new = before[1].jobs, after[1].jobs
    settings = dict(_settings(before[0], after[0]))
    return Changes(
        added=tuple(f"{new[number]}{_schedule(new[number])}" for number in sorted(new.keys() - old.keys())),
        changed=tuple(
            f"{new[number]}: {what}"
            for number in sorted(new.keys() & old.keys())
            if (what := _difference(old[number], new[number]))
        ),
        removed=tuple(str(old[number]) for number in sorted(old.keys() - new.keys() - after[1].refused.keys())),
        refused=tuple(f"job {number}: {reason}" for number, reason in sorted(after[1].refused.items())),
        infeasible=tuple(str(asked) for asked in after[1].feasibility if not asked.feasible),
        settings=tuple(said for key, said in settings.items() if not key.startswith(_AT_RESTART)),
        needs_restart=tuple(said for key, said in settings.items() if key.startswith(_AT_RESTART)),
    )


def reopened(before: Config, after: Config) -> frozenset[str]:
    """Exchanges whose lane was opened with settings that have changed."""
    return frozenset(
        name
        for name, settings in after.exchanges.items()
        if any(getattr(settings, key) != getattr(before.exchanges[name], key) for key in LANE_KEYS)
        or (settings.share is not None and before.budgets[name] != after.budgets[name])  # others have to be told
    )


def _schedule(job: Job) -> str:
    return "" if job.schedule is None else f", {job.schedule}"


def _difference(old: Job, new: Job) -> str:
    pairs = ((each.name, getattr(old, each.name), getattr(new, each.name)) for each in fields(Job))
    return ", ".join(
        f"{name.removesuffix('_ms')} {_value(name, one)} -> {_value(name, other)}"
        for name, one, other in pairs
        if name not in _NOT_COMPARED and one != other
    )


def _value(name: str, value: object) -> str:
    if value is None:
        return "none"
    return at(value).isoformat() if name.endswith("_ms") and isinstance(value, int) else str(value)


def _settings(before: Config, after: Config) -> Iterator[tuple[str, str]]:
    """Key and sentence of every setting with another value; secrets stay masked."""
    old: Mapping[str, tuple[str, Any]] = {key: (name, value) for key, name, value in settings_of(before)}
    for key, name, value in settings_of(after):
        if old[key][1] != value:
            yield key, f"{key}: {shown(name, old[key][1]) or 'default'} -> {shown(name, value) or 'default'}"
