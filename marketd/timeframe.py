"""Timeframes as numbered intervals.

Owns the arithmetic between instants and interval numbers: interval ``n`` of a timeframe opens at ``open_ms(n)`` and
closes at ``open_ms(n + 1)``, UTC. Weeks begin on Monday, ``2w`` counts from Monday 1970-01-05, months follow the
calendar. Refuses to know any exchange's spelling or deviation (see ``exchanges``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from marketd.errors import UsageError

MONDAY_S = 4 * 86_400  # 1970-01-05, the first Monday of the epoch


@dataclass(frozen=True, slots=True)
class Timeframe:
    """``step_s`` seconds an interval, counted from ``anchor_s``; ``step_s`` 0 means calendar months."""

    name: str
    step_s: int
    anchor_s: int = 0

    def number(self, ms: int) -> int:
        """Number of the interval that contains the instant ``ms``."""
        if self.step_s:
            return (ms // 1000 - self.anchor_s) // self.step_s
        moment = datetime.fromtimestamp(ms // 1000, UTC)
        return (moment.year - 1970) * 12 + moment.month - 1

    def open_ms(self, number: int) -> int:
        """First instant of interval ``number``."""
        if self.step_s:
            return (self.anchor_s + number * self.step_s) * 1000
        year, month = divmod(number, 12)
        return int(datetime(1970 + year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000

    def aligned(self, ms: int) -> bool:
        """True where an interval opens exactly at ``ms``."""
        return self.open_ms(self.number(ms)) == ms

    def ceiling(self, ms: int) -> int:
        """Number of the first interval that opens at or after ``ms``."""
        number = self.number(ms)
        return number if self.open_ms(number) == ms else number + 1

    def closed_end(self, ms: int) -> int:
        """End (exclusive) of the intervals that are closed at the instant ``ms``."""
        return self.number(ms)

    @property
    def typical_s(self) -> int:
        """Length in seconds, for estimates; a month counts 30 days."""
        return self.step_s or 30 * 86_400


_STEPS = {
    "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800,
    "1h": 3600, "2h": 7200, "3h": 10_800, "4h": 14_400, "6h": 21_600, "8h": 28_800, "12h": 43_200,
    "1d": 86_400,
}  # fmt: skip

TIMEFRAMES: dict[str, Timeframe] = {
    **{name: Timeframe(name, step) for name, step in _STEPS.items()},
    "1w": Timeframe("1w", 7 * 86_400, MONDAY_S),
    "2w": Timeframe("2w", 14 * 86_400, MONDAY_S),
    "1M": Timeframe("1M", 0),
}


def timeframe(name: str) -> Timeframe:
    """The timeframe called ``name``; UsageError names what would be accepted."""
    try:
        return TIMEFRAMES[name]
    except KeyError:
        raise UsageError(f"unknown timeframe {name!r}; known are {' '.join(TIMEFRAMES)}") from None
