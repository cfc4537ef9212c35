"""Months of which an archive saves requests.

Owns the choice: whole months (UTC) within what is still to be asked for, whose files are there by now, and for which
the exchange would need more requests than the archive's two files. Pure. Refuses to fetch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from marketd.ranges import Ranges, Span
from marketd.timeframe import TIMEFRAMES, Timeframe

CALENDAR: Final = TIMEFRAMES["1M"]
_FILES = 2


@dataclass(frozen=True, slots=True)
class Month:
    """``number`` as in the timeframe ``1M``; ``span`` are its intervals in the series' own."""

    number: int
    span: Span

    def __str__(self) -> str:
        year, before = divmod(self.number, 12)
        return f"{1970 + year}-{before + 1:02}"


def worthwhile(
    remaining: Ranges, frame: Timeframe, *, page: int, now_ms: int, ready_ms: Callable[[int], int]
) -> list[Month]:
    """Those months of ``remaining``, oldest first; the exchange answers with ``page`` candles at once."""
    if not remaining:
        return []
    first, last = (CALENDAR.number(frame.open_ms(number)) for number in (remaining.start, remaining.end))
    months = (Month(number, _span(number, frame)) for number in range(first, last + 1))
    return [
        month
        for month in months
        if month.span[1] - month.span[0] > _FILES * page
        and remaining.covers(Ranges.of(month.span))
        and ready_ms(month.number) <= now_ms
    ]


def _span(number: int, frame: Timeframe) -> Span:
    return frame.ceiling(CALENDAR.open_ms(number)), frame.ceiling(CALENDAR.open_ms(number + 1))
