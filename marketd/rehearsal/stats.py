"""What the rehearsal exchange was asked, and what it said.

Owns the counters and the list of the last asks. Times are the exchange's own clock. Refuses to judge: whether the
asks were few enough is for the reader.
"""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from marketd.rehearsal.accounts import Signed

AskKind = Literal["candles", "first", "symbols", "status", "account", "archive", "other"]
ASK_KINDS: tuple[AskKind, ...] = ("candles", "first", "symbols", "status", "account", "archive", "other")
LAST_ASKS = 1000
WINDOW_MS = 60_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came; ``first`` is a candle ask for the oldest row only. Symbols as listed; ``weight`` as the
    exchange counts, 0 where it does not; ``signed`` is by whom it was asked for an ``account``.
    """

    at_ms: int
    kind: AskKind
    symbol: str = ""
    timeframe: str = ""
    query: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    signed: Signed | None = None

    @property
    def series(self) -> str:
        return f"{self.symbol} {self.timeframe}" if self.symbol else ""


@dataclass(slots=True)
class Outcome:
    """What became of an ask; status 0 means that no answer was sent (reset, hang)."""

    status: int = 0
    rows: int = 0


@dataclass(slots=True)
class Stats:
    """Counters since the start or the last reset."""

    began_ms: int
    kinds: Counter[str] = field(default_factory=Counter)
    series: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    busiest_minute: int = 0
    last: deque[tuple[Asked, Outcome]] = field(default_factory=lambda: deque(maxlen=LAST_ASKS))
    _minute: deque[int] = field(default_factory=deque)
    _weights: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=20_000))

    @property
    def requests(self) -> int:
        return sum(self.kinds.values())

    @property
    def asks(self) -> list[Asked]:
        """The last asks, oldest first."""
        return [asked for asked, _ in self.last]

    @contextmanager
    def counting(self, asked: Asked) -> Iterator[Outcome]:
        """Counts the ask at once, and the outcome that the caller fills in when it leaves."""
        outcome = Outcome()
        self.kinds[asked.kind] += 1
        if asked.series:
            self.series[asked.series] += 1
        self.last.append((asked, outcome))
        if asked.weight:
            self._note_time(asked.at_ms)
        self._weights.append((asked.at_ms, asked.weight))
        try:
            yield outcome
        finally:
            self.statuses[outcome.status] += 1
            self.rows += outcome.rows

    def reset(self, now_ms: int) -> None:
        fresh = Stats(now_ms)
        for name in (
            "began_ms",
            "kinds",
            "series",
            "statuses",
            "rows",
            "busiest_minute",
            "last",
            "_minute",
            "_weights",
        ):
            setattr(self, name, getattr(fresh, name))

    def weight_within(self, seconds: float, now_ms: int) -> int:
        """What was asked of late, as the exchange counts it."""
        return sum(weight for at_ms, weight in self._weights if at_ms > now_ms - seconds * 1000)

    def as_dict(self, last: int = 100) -> dict[str, object]:
        """The JSON of ``GET /rehearsal/stats``, with the newest ``last`` asks."""
        return {
            "since_ms": self.began_ms,
            "requests": self.requests,
            "rows": self.rows,
            "busiest_minute": self.busiest_minute,
            "kinds": {kind: self.kinds[kind] for kind in ASK_KINDS},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "series": dict(sorted(self.series.items())),
            "last": [_entry(asked, outcome) for asked, outcome in list(self.last)[-last:]] if last > 0 else [],
        }

    def _note_time(self, at_ms: int) -> None:
        self._minute.append(at_ms)
        while self._minute[0] <= at_ms - WINDOW_MS:
            self._minute.popleft()
        self.busiest_minute = max(self.busiest_minute, len(self._minute))


def _entry(asked: Asked, outcome: Outcome) -> dict[str, object]:
    return {
        "at_ms": asked.at_ms,
        "kind": asked.kind,
        "symbol": asked.symbol,
        "timeframe": asked.timeframe,
        "query": dict(asked.query),
        "status": outcome.status,
        "rows": outcome.rows,
    }
