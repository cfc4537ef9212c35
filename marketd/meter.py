"""How far a series is, while it is worked on.

Owns the arithmetic of a progress display: share done, rate, time and requests left. Pure; the caller says what time it
is. Refuses to draw, and to keep what it is told (see ``fillings``).
"""

from dataclasses import dataclass

from marketd.model import Series, Tally


@dataclass(frozen=True, slots=True)
class Reading:
    """``share`` is 0 to 1; ``rate`` candles a second; ``left_s`` is None while nothing can be said."""

    share: float
    rate: float
    left_s: float | None
    requests_left: int


@dataclass(slots=True)
class Meter:
    """One series of a run; ``intervals`` are to be done, in ``requests`` at most."""

    series: Series
    intervals: int
    requests: int
    began_s: float
    _share: float = 0.0

    def read(self, left: int, tally: Tally, now_s: float) -> Reading:
        """After a page: ``left`` intervals are not done yet."""
        self._share = min(1.0, max(self._share, 1 - left / max(1, self.intervals)))
        spent_s = max(now_s - self.began_s, 1e-3)
        left_s = spent_s * (1 - self._share) / self._share if self._share > 0 else None
        return Reading(self._share, tally.fetched / spent_s, left_s, round(self.requests * (1 - self._share)))
