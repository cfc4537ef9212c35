"""How far a series is, while it is worked on.

Owns the arithmetic of a progress display: share done, rate, time and requests left. Pure; the caller says what time it
is. Refuses to draw.
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
    """One series of a run. ``in_walks``: the work is many short walks, each of which counts its own intervals."""

    series: Series
    intervals: int
    requests: int
    began_s: float
    in_walks: bool = False
    _turns: int = 0
    _share: float = 0.0

    def read(self, left: int, tally: Tally, now_s: float) -> Reading:
        """After a page: ``left`` intervals of the walk are not done yet."""
        self._turns += 1
        # A walk of one page takes two turns: one that fetches it, one that stores it.
        share = self._turns / max(1, 2 * self.requests) if self.in_walks else 1 - left / max(1, self.intervals)
        self._share = min(1.0, max(self._share, share))
        spent_s = max(now_s - self.began_s, 1e-3)
        left_s = spent_s * (1 - self._share) / self._share if self._share > 0 else None
        return Reading(self._share, tally.fetched / spent_s, left_s, round(self.requests * (1 - self._share)))
