"""A daemon's status that a test can set."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from marketd.clock import ms_of
from marketd.fillings import Filling
from marketd.jobs import Feasibility
from marketd.model import Series
from marketd.web import ExchangeStatus, JobStatus

NOW_MS: Final = ms_of(datetime(2024, 1, 3, tzinfo=UTC))


@dataclass
class Told:
    """A daemon's status that a test can set."""

    version: str = "1.2.3"
    started_ms: int = NOW_MS - 90_000
    watchdog_s: float = 30
    age_s: float = 0.5
    reasons: list[str] = field(default_factory=list)
    known_jobs: dict[int, JobStatus] = field(default_factory=dict)
    wanted: set[Series] = field(default_factory=set)
    followers: dict[Series, int] = field(default_factory=dict)
    known_exchanges: list[ExchangeStatus] = field(default_factory=list)
    goals: dict[Series, float] = field(default_factory=dict)
    last_reload: dict[str, object] | None = None
    needs: list[Feasibility] = field(default_factory=list)
    filling: dict[Series, Filling] = field(default_factory=dict)
    reaches: dict[str, int] = field(default_factory=dict)
    rests: dict[str, str] = field(default_factory=dict)

    def now_ms(self) -> int:
        return NOW_MS

    def exchange_now_ms(self, exchange: str) -> int:
        return NOW_MS

    def turn_age_s(self) -> float:
        return self.age_s

    def unready(self) -> Sequence[str]:
        return self.reasons

    def jobs(self) -> Mapping[int, JobStatus]:
        return self.known_jobs

    def follower(self, series: Series) -> int | None:
        return self.followers.get(series)

    def exchanges(self) -> Sequence[ExchangeStatus]:
        return self.known_exchanges

    def reloaded(self) -> Mapping[str, object] | None:
        return self.last_reload

    def tracked(self) -> Collection[Series]:
        return self.goals.keys() | self.wanted

    def objectives(self) -> Mapping[Series, float]:
        return self.goals

    def feasibility(self) -> Sequence[Feasibility]:
        return self.needs

    def fillings(self) -> Mapping[Series, Filling]:
        return self.filling

    def reach(self, series: Series) -> int | None:
        return self.reaches.get(series.exchange)

    def resting(self, exchange: str) -> Mapping[str, str]:
        return self.rests
