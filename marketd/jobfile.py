"""The job file: which jobs an operator wants.

Owns the shape of ``[[jobs]]`` and turns it into rows of the job table. Refuses the whole file on any
mistake, and names all of them at once; an entry that cannot be meant (the same job twice, an end before its start, a
start in the future) is a mistake. Pure: text and the time in, rows out.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from marketd.clock import at, ms_of
from marketd.cron import Crons
from marketd.errors import ConfigError, UsageError
from marketd.exchanges.facts import Exchange
from marketd.jobfields import CATCH_UP, facts_of, flag, jitter, offered, one_of, seconds, shown, spelled, text, typed
from marketd.jobs import NO_DERIVE, Derive
from marketd.model import JobRow, JobType
from marketd.text import clean

MOST_ROWS: Final = 10_000
MOST_MISTAKES: Final = 100
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
KEYS: Final = (
    "exchange", "symbols", "timeframes", "job_type", "schedule", "enabled", "start", "end", "catch_up", "timeout_s",
    "jitter_s", "freshness_s",
)  # fmt: skip

_Numbered: TypeAlias = tuple[int, JobRow]
"""A row and the number of the entry that asks for it, from 1."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Mistake(NamedTuple):
    """What is wrong with the value of ``key``, and the cure."""

    key: str
    said: str


def read_jobs(toml: str, now_ms: int, derive: Derive = NO_DERIVE) -> tuple[JobRow, ...]:
    """The rows that the job file ``toml`` asks for, in its order; empty for a file without entries.

    ``derive`` holds the configured derived timeframes. ConfigError lists every mistake with entry, key, value and cure.
    """
    entries = _entries(toml)
    crons, mistakes, rows = Crons(), list[str](), list[_Numbered]()
    for number, raw in enumerate(entries, start=1):
        entry = Entry(raw, crons, "file")
        rows += [(number, row) for row in entry.rows(now_ms, derive, MOST_ROWS + 1 - len(rows))]
        mistakes += [f"entry {number}: {mistake.key}: {mistake.said}" for mistake in entry.mistakes]
        if len(rows) > MOST_ROWS:
            mistakes.append(f"entry {number}: more than {MOST_ROWS} rows in all; leave symbols out to mean all series")
            break
    mistakes += _repeated(rows[:MOST_ROWS])
    if mistakes:
        raise ConfigError("job file refused:\n" + "\n".join(f"  {mistake}" for mistake in _capped(mistakes)))
    return tuple(row for _, row in rows)


def _entries(toml: str) -> Sequence[object]:
    try:
        document = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"job file is not TOML: {clean(str(error))}") from error
    except RecursionError as error:
        raise ConfigError("job file is nested too deeply") from error
    others = [clean(key, 40) for key in document if key != "jobs"]
    if others:
        raise ConfigError(f"job file refused: unknown {', '.join(others)}; every job is a [[jobs]] entry")
    entries = document.get("jobs", [])
    if not isinstance(entries, list):
        raise ConfigError("job file refused: jobs is not a list; write each job as [[jobs]], in two brackets")
    return entries


def _capped(mistakes: Sequence[str]) -> list[str]:
    more = len(mistakes) - MOST_MISTAKES
    return [*mistakes[:MOST_MISTAKES], *([f"and {more} more"] if more > 0 else [])]


def _repeated(rows: Sequence[_Numbered]) -> list[str]:
    first: dict[object, _Numbered] = {}
    mistakes = []
    for number, row in rows:
        other, there = first.setdefault(row.slot, (number, row))
        if there is not row:
            mistakes.append(f"entry {number}: {row} stands already in entry {other}; keep one of them")
    return mistakes


class Entry:
    """One ``[[jobs]]``, or what the command line says with the same keys, while it is read.

    Every key is read by itself; ``mistakes`` holds what is wrong with any of them.
    """

    def __init__(self, raw: object, crons: Crons, origin: str) -> None:
        self.origin = origin
        self.raw: Mapping[str, object] = raw if isinstance(raw, dict) else {}
        self.crons = crons
        self.mistakes: list[Mistake] = []
        if not isinstance(raw, dict):
            self.wrong("jobs", f"{shown(raw)} is not an entry; write [[jobs]] and its keys below")
        for key in self.raw:
            if key not in KEYS:
                hint = f"; write {key}s = [...]" if f"{key}s" in KEYS else ""
                self.wrong(clean(key, 40), f"unknown key; known are {' '.join(KEYS)}{hint}")

    def wrong(self, key: str, said: str) -> None:
        self.mistakes.append(Mistake(key, said))

    def read(self, key: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
        if key not in self.raw:
            return default
        return self.converted(key, self.raw[key], convert, default)

    def converted(self, key: str, value: object, convert: Callable[[Any], Any], default: Any = None) -> Any:
        try:
            return convert(value)
        except (UsageError, ValueError, OverflowError) as error:
            self.wrong(key, clean(str(error), 400))
            return default

    def each(self, key: str, convert: Callable[[object], str]) -> tuple[str | None, ...]:
        """The names of a list, ``(None,)`` where the list is left out."""
        if key not in self.raw:
            return (None,)
        values = self.raw[key]
        if not isinstance(values, list) or not values:
            self.wrong(key, f"{shown(values)} is not a list of names; leave the key out to mean all")
            return ()
        names = [self.converted(key, value, convert) for value in values]
        return tuple(name for name in names if name is not None)

    def rows(self, now_ms: int, derive: Derive, most: int = MOST_ROWS) -> list[JobRow]:
        """At most so many of the rows that it asks for; worth nothing where there are mistakes."""
        for key in ("exchange", "job_type"):
            if self.raw and key not in self.raw:
                self.wrong(key, "is missing")
        facts: Exchange | None = self.read("exchange", facts_of)
        job_type: JobType | None = self.read("job_type", typed)
        shared = {
            "schedule": self.read("schedule", lambda value: self.crons[text(value)].expression),
            "enabled": self.read("enabled", flag, True),
            "catch_up": self.read("catch_up", lambda value: one_of(value, CATCH_UP), "one"),
            "timeout_s": self.read("timeout_s", seconds),
            "jitter_s": self.read("jitter_s", jitter),
            "freshness_s": self.read("freshness_s", seconds),
            "origin": self.origin,
            **self.bounds(now_ms),
        }
        if facts is None:
            return []
        symbols = self.each("symbols", lambda value: spelled(facts, value))
        own = {**facts.derived, **derive.get(facts.name, {})}
        timeframes = self.each("timeframes", lambda value: offered(facts, value, own))
        if job_type is None:
            return []
        pairs = ((symbol, timeframe) for symbol in symbols for timeframe in timeframes)
        return [
            JobRow(facts.name, symbol, timeframe, job_type, **shared)
            for (symbol, timeframe), _ in zip(pairs, range(most), strict=False)
        ]

    def bounds(self, now_ms: int) -> dict[str, int | None]:
        start_ms: int | None = self.read("start", moment)
        end_ms: int | None = self.read("end", moment)
        if start_ms is not None and start_ms > now_ms:
            self.wrong("start", f"{at(start_ms).isoformat()} is in the future")
        if start_ms is not None and end_ms is not None and end_ms <= start_ms:
            self.wrong("end", f"{at(end_ms).isoformat()} is not later than start {at(start_ms).isoformat()}")
        return {"start_ms": start_ms, "end_ms": end_ms}


def moment(value: object) -> int:
    """``_ms`` of a date (its first instant, UTC) or of a date-time with offset, as TOML has them or as text.

    UsageError for everything else: a date-time without offset means a different instant on every host.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise UsageError(f"{shown(value)} is no time; write 2024-01-01 or 2024-01-01T00:00:00Z")
    if value.tzinfo is None:
        raise UsageError(f"{value.isoformat()} has no offset; write {value.isoformat()}Z for UTC")
    if value < EARLIEST:
        raise UsageError(f"{value.isoformat()} is before {EARLIEST.date()}, when there was nothing to store")
    return ms_of(value)


def _parsed(written: str) -> date | datetime:
    try:
        return date.fromisoformat(written) if _DATE.fullmatch(written) else datetime.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{shown(written)} is no time; write 2024-01-01 or 2024-01-01T00:00:00Z") from None
