"""Round times for the map's axis.

Owns which step suits a range. Pure.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from marketd.clock import at, ms_of

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_MOST: Final = 8
_STEPS: Final = (
    (_HOUR_MS, "%H:%M"), (3 * _HOUR_MS, "%H:%M"), (6 * _HOUR_MS, "%d %b %H:%M"), (_DAY_MS, "%d %b"),
    (2 * _DAY_MS, "%d %b"), (7 * _DAY_MS, "%d %b"),
)  # fmt: skip
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)


def marks(start_ms: int, end_ms: int) -> Sequence[tuple[float, str]]:
    """At most eight times: each as a share of the range, 0 to 100, and as a text (UTC)."""
    width = max(1, end_ms - start_ms)
    for step_ms, form in _STEPS:
        if width // step_ms <= _MOST:
            found = range(start_ms + -start_ms % step_ms, end_ms, step_ms)
            return [((ms - start_ms) / width * 100, f"{at(ms):{form}}") for ms in found]
    step = next((months for months in _MONTHS if width // (months * 30 * _DAY_MS) <= _MOST), _MONTHS[-1])
    return [((ms - start_ms) / width * 100, f"{at(ms):%b %Y}") for ms in _month_starts(start_ms, end_ms, step)]


def _month_starts(start_ms: int, end_ms: int, step: int) -> list[int]:
    first, last = at(start_ms), at(end_ms)
    numbers = range(first.year * 12 // step * step, last.year * 12 + 12, step)
    found = [ms_of(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)) for number in numbers]
    return [ms for ms in found if start_ms <= ms < end_ms]
