"""Cron expressions as UTC instants.

Owns which five-field expressions are accepted, when they fire next and fired last, and the table that says which
jobs are due. Refuses words (``@reboot``), seconds, random and hashed fields, and expressions that never fire. The
clock is the caller's; a table coalesces missed firings to the latest one a job.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final, NamedTuple

from croniter import croniter

from marketd.errors import UsageError
from marketd.text import clean

LONGEST_TEXT: Final = 256
DAY_MINUTES: Final = 1440
_ANCHOR_S: Final = 1_704_067_200  # Monday 2024-01-01
FORTNIGHT: Final = 15
CALENDARS: Final = 57 * 366
"""Weekdays and dates come back after 28 years: two times that holds two of whatever fires."""

_MOST_DAYS: Final = 1000  # what fires on more days than that in so many years shows its longest pause sooner
_RANDOM = re.compile(r"(?:^|[\s,])[hr](?:$|[\s,(/])", re.IGNORECASE)


class Firing(NamedTuple):
    """A due time of a job."""

    job_id: int
    scheduled_ms: int


class Due(NamedTuple):
    """What is due now, and when the next firing will be (None: never, the table is empty)."""

    firings: tuple[Firing, ...]
    next_ms: int | None


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; make it with ``parse``. All instants are ``_ms`` since the epoch, UTC."""

    expression: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    horizon_days: int
    """After how many days the pattern of days has shown its longest pause; 1: it fires every day."""
    _iterator: croniter = field(repr=False, compare=False)

    def next_after(self, ms: int) -> int:
        """The first firing later than ``ms``."""
        return int(self._iterator.get_next(float, start_time=float(ms // 1000), update_current=False)) * 1000

    def latest_at_or_before(self, ms: int) -> int:
        """The last firing that is not later than ``ms``."""
        after = float(ms // 1000 + 1)
        return int(self._iterator.get_prev(float, start_time=after, update_current=False)) * 1000

    @property
    def per_minute(self) -> float:
        """Firings a minute in an hour in which it fires: what a budget must stand."""
        return len(self.minutes) / 60


def parse(expression: str) -> Cron:
    """The schedule that ``expression`` means; UsageError says what is wrong and what is accepted."""
    if len(expression) > LONGEST_TEXT:
        raise UsageError(f"cron expression of {len(expression)} characters; at most {LONGEST_TEXT} are accepted")
    shown = repr(clean(expression, 80))
    if expression.lstrip().startswith("@"):
        raise UsageError(f"cron expression {shown}: words are not accepted; write five fields, such as 0 * * * *")
    fields = expression.split()
    if len(fields) != 5:
        raise UsageError(
            f"cron expression {shown} has {len(fields)} fields; "
            "five are accepted: minute hour day month weekday, such as */5 * * * *"
        )
    text = " ".join(fields)
    if _RANDOM.search(text):
        raise UsageError(f"cron expression {shown}: random (R) and hashed (H) fields are not accepted")
    try:
        return _built(text)
    except (ValueError, OverflowError) as error:
        reason = clean(str(error), 120)
        raise UsageError(f"cron expression {shown} is not one: {reason}") from error


def _built(text: str) -> Cron:
    """Raises croniter's errors, which are ValueErrors; asking for the next date finds what never fires."""
    iterator = croniter(text, float(_ANCHOR_S))
    expanded = croniter.expand(text)[0]
    iterator.get_next(float, start_time=float(_ANCHOR_S), update_current=False)
    return Cron(
        expression=text,
        minutes=_numbers(expanded[0], 60),
        hours=_numbers(expanded[1], 24),
        horizon_days=_horizon_days(text, expanded),
        _iterator=iterator,
    )


def _horizon_days(text: str, expanded: Sequence[Sequence[int | str]]) -> int:
    if any(expanded[at] != ["*"] for at in (2, 3)) or re.search("[#lL]", text.split()[4]):
        return CALENDARS
    return 1 if expanded[4] == ["*"] else FORTNIGHT


def _numbers(expanded: Iterable[int | str], size: int) -> tuple[int, ...]:
    numbers = tuple(sorted(entry for entry in expanded if isinstance(entry, int)))
    return numbers or tuple(range(size))


def longest_step_s(cron: Cron) -> int:
    """The longest time between two firings, in seconds, as the calendar has it from 2024 on.

    A day's pattern is the same on every day that fires, so only the days are walked, not the firings.
    """
    offsets = [hour * 60 + minute for hour in cron.hours for minute in cron.minutes]
    within = max((later - earlier for earlier, later in pairwise(offsets)), default=0)
    days = 1 if cron.horizon_days == 1 else _longest_day_step(cron, offsets[0])
    return 60 * max(within, days * DAY_MINUTES - offsets[-1] + offsets[0])


def _longest_day_step(cron: Cron, first_minute: int) -> int:
    hour, minute = divmod(first_minute, 60)
    daily = croniter(" ".join([str(minute), str(hour), *cron.expression.split()[2:]]), float(_ANCHOR_S))
    last_s = _ANCHOR_S + cron.horizon_days * 86_400
    longest, previous = 1, int(daily.get_next(float))
    for _ in range(_MOST_DAYS):
        if previous >= last_s:
            break
        current = int(daily.get_next(float))
        longest = max(longest, (current - previous) // 86_400)
        previous = current
    return longest


class Crons(dict[str, Cron]):
    """Expressions parsed once each: ``crons[expression]`` parses at the first look and remembers."""

    def __missing__(self, expression: str) -> Cron:
        cron = self[expression] = parse(expression)
        return cron


class CronTable:
    """Which jobs are due. One parse and one next time for each distinct expression, however many jobs share it.

    Slots later than ``seen_ms`` are due when their time comes; a table that replaces another is given the other's
    ``seen_ms``, so that a reload neither loses nor repeats a slot.
    """

    def __init__(self, jobs: Iterable[tuple[int, str]], seen_ms: int, crons: Crons | None = None) -> None:
        self.seen_ms = seen_ms
        self._crons = Crons() if crons is None else crons
        self._jobs: dict[str, list[int]] = {}
        for job_id, expression in jobs:
            self._jobs.setdefault(expression, []).append(job_id)
        self._heap = self._nexts(seen_ms)

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._jobs.values())

    def _nexts(self, ms: int) -> list[tuple[int, str]]:
        heap = [(self._crons[expression].next_after(ms), expression) for expression in self._jobs]
        heapify(heap)
        return heap

    @property
    def next_ms(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> Due:
        """The firings since the last call, the latest slot of each job only, and the next due time.

        When the host's clock was set back, nothing is due and the slots are counted from the new time on: one that
        was recorded already is refused by the unique (job, slot) of the runs, one that was not is not lost.
        """
        if now_ms < self.seen_ms:
            self._heap = self._nexts(now_ms)
        self.seen_ms = now_ms
        firings: list[Firing] = []
        while self._heap and self._heap[0][0] <= now_ms:
            _, expression = heappop(self._heap)
            cron = self._crons[expression]
            slot = cron.latest_at_or_before(now_ms)
            firings += [Firing(job_id, slot) for job_id in self._jobs[expression]]
            heappush(self._heap, (cron.next_after(now_ms), expression))
        return Due(tuple(firings), self.next_ms)

    def missed(self, recorded: Mapping[int, int]) -> tuple[Firing, ...]:
        """The latest slot up to ``seen_ms`` of every job in ``recorded`` that is later than what stands there.

        ``recorded`` maps a job to its last recorded slot (or to when it was created): what a stop has missed, once a
        job. Jobs that are not in it owe nothing.
        """
        firings: list[Firing] = []
        for expression, ids in self._jobs.items():
            known = [job_id for job_id in ids if job_id in recorded]
            if known:
                slot = self._crons[expression].latest_at_or_before(self.seen_ms)
                firings += [Firing(job_id, slot) for job_id in known if slot > recorded[job_id]]
        return tuple(firings)

    def next_of(self) -> dict[int, int]:
        """The next due time of every job, for ``/jobs`` and ``plan``."""
        return {job_id: at for at, expression in self._heap for job_id in self._jobs[expression]}
