"""The board: the tracked series as Prometheus is shown them.

Owns the families with a label for every series, and the choice which series they show: all, or above the limit the
worst ones. Knows what it is told; refuses to ask for anything, and to show a series that nobody tracks.
"""

import heapq
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketd.model import Cause, Series

_SERIES: Final = ("exchange", "symbol", "timeframe")


@dataclass(slots=True)
class Line:
    """What is known of a series. ``until_ms`` is 0 before its first answer; ``met`` is what the last judgement said."""

    objective_s: float | None = None
    until_ms: int = 0
    met: bool = False
    open_gaps: int = 0
    missing: Mapping[Cause, int] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """The worst come first: the late ones, the latest of all in front; then those that owe most, doubts aside."""
        owed = sum(count for cause, count in self.missing.items() if cause is not Cause.SUSPECT)
        if self.objective_s is None or self.met:
            return True, 0.0, -owed
        return False, self.until_ms / 1000 + self.objective_s, -owed


class Board(Collector):
    """``lines`` are the tracked series; at most ``limit`` of them are shown, all until it is set."""

    def __init__(self) -> None:
        self.limit = sys.maxsize
        self.lines: dict[Series, Line] = {}

    def track(self, objectives: Mapping[Series, float | None]) -> None:
        """The series from now on, each with its freshness objective in seconds; what is known of them stays known."""
        lines = {series: self.lines.get(series) or Line() for series in objectives}
        for series, line in lines.items():
            line.objective_s = objectives[series]
        self.lines = lines

    def judge(self, now_ms: Callable[[str], int]) -> None:
        """Decide for every series whether its objective is met, by the time of its exchange."""
        for series, line in self.lines.items():
            line.met = met(line.until_ms, line.objective_s, now_ms(series.exchange))

    def shown(self) -> list[Series]:
        """The series that are shown; of equally bad ones the first by name, so that they do not take turns."""
        if len(self.lines) <= self.limit:
            return sorted(self.lines)
        return heapq.nsmallest(self.limit, self.lines, key=lambda series: (self.lines[series].rank, series))

    def collect(self) -> Iterator[Metric]:
        until = _gauge("answered_until_timestamp_seconds", "Up to when a series is answered; 0: not at all.")
        objective = _gauge("freshness_objective_seconds", "How far a series may be behind; only those with a goal.")
        fresh = _gauge(
            "freshness_objective_met", "1 while a series is as fresh as it shall be; only those with a goal."
        )
        gaps = _gauge("open_gaps", "Open gaps of a series.")
        missing = _gauge("missing_candles", "Intervals owed by open gaps.", "cause")
        shown = self.shown()
        for series in shown:
            line = self.lines[series]
            until.add_metric(series, line.until_ms / 1000)
            if line.objective_s is not None:
                objective.add_metric(series, line.objective_s)
                fresh.add_metric(series, line.met)
            gaps.add_metric(series, line.open_gaps)
            for cause in Cause:
                missing.add_metric([*series, cause], line.missing.get(cause, 0))
        yield from (until, objective, fresh, gaps, missing)
        left_out = len(self.lines) - len(shown)
        yield GaugeMetricFamily("marketd_series_not_shown", "Tracked series without metrics of their own.", left_out)


def met(until_ms: int, objective_s: float | None, now_ms: int) -> bool:
    """True where a series answered up to ``until_ms`` is as fresh as it shall be, which it is without an objective."""
    return objective_s is None or now_ms - until_ms <= objective_s * 1000


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"marketd_series_{name}", text, labels=(*_SERIES, *labels))
