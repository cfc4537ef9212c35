"""The gauges: what has to be read to be known.

Owns the two rounds in which metrics are read from where the facts lie: budgets, pools and the loop every second, the
database every half minute. What happens is told by those who do it (``ports.Events``). Refuses to change anything.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from marketd.board import met
from marketd.errors import StoreError
from marketd.figures import Missing, SeriesFigures
from marketd.metrics import Metrics
from marketd.model import Cause, Series
from marketd.room import Room
from marketd.standing import Standing
from marketd.store.reports import Reports
from marketd.store.session import Database

log = logging.getLogger(__name__)

SAMPLE_S: Final = 1.0
FIGURES_S: Final = 30.0
_PAGE = 50  # series a statement: the pool that this shares with the port allows a statement a few seconds


@dataclass(slots=True)
class Gauges:
    """``pools`` are the open databases by their names in ``metrics.POOLS``."""

    metrics: Metrics
    standing: Standing
    reports: Reports
    pools: Mapping[str, Database]
    room: Room = field(default_factory=Room)
    _transactions: dict[str, int] = field(default_factory=dict)
    """Transactions that were open at the last round, and when each was first seen, in ms."""

    async def sample(self) -> None:
        """What can be read at once: budgets and pools, how late the loop wakes a sleeper, and how many tasks it has."""
        loop = asyncio.get_running_loop()
        while True:
            for exchange in self.standing.budgets:
                self._budget(exchange)
            for name, database in self.pools.items():
                use = database.use
                self.metrics.pool(name, used=use.used, idle=use.idle, most=use.most)
            self.metrics.disk_free(self.room.free(), self.room.least)
            due_s = loop.time() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            self.metrics.loop_lagged(loop.time() - due_s)
            self.metrics.tasks(len(asyncio.all_tasks()))

    def _budget(self, exchange: str) -> None:
        working = self.standing.working.get(exchange)
        if working is None:  # a standby has used nothing, and has nothing to use
            self.metrics.budget_state(exchange, used=0, free=0, blocked_until_ms=None)
            return
        budget = working.lane.budget
        blocked_s, used = budget.blocked_for_s, budget.used_last_minute
        until_ms = self.standing.now_ms() + round(blocked_s * 1000) if blocked_s else None
        free = max(0.0, budget.per_minute - used)
        self.metrics.budget_state(exchange, used=used, free=free, blocked_until_ms=until_ms)

    async def read(self) -> None:
        """What the database knows; needs its schema to be there."""
        while True:
            try:
                # Freshness first: it is cheap to read, and must not wait for what is not.
                owed = await self._freshness()
                await self._totals(owed)
                await self._failing()
                self._tell_oldest(await self.reports.open_transactions())
                if (last := await self.reports.last_verification()) is not None:
                    self.metrics.last_verification(last)
                self.metrics.database(True)
            except StoreError as error:
                self.metrics.database(False)
                log.warning("database away", extra={"fields": {"error": str(error), "once": "database"}})
            self.metrics.judge(self.standing.exchange_now_ms)  # time goes on without a database
            await self.standing.clock.sleep(FIGURES_S)

    async def _freshness(self) -> Mapping[Series, Missing]:
        """How far each series is answered, and what it owes."""
        for known in await self.reports.answered():
            if known.until_ms is not None:
                self.metrics.answered_until(known.series, known.until_ms)
        owed = await self.reports.missing()
        for series in self.standing.job_set.tracked:
            self.metrics.series_missing(series, owed.get(series, Missing()).by_cause())
        self.metrics.judge(self.standing.exchange_now_ms)
        return owed

    async def _totals(self, owed: Mapping[Series, Missing]) -> None:
        known = {figures.series: figures async for figures in self._figures()}
        for series, figures in known.items():
            self.metrics.series_gaps(series, figures.open_gaps)
        tracked = self.standing.job_set.tracked
        for exchange in self.standing.budgets:
            mine = [series for series in tracked if series.exchange == exchange]
            self.metrics.series_counted(exchange, Counter(self._state(series, known.get(series)) for series in mine))
            stored = [figures for series, figures in known.items() if series.exchange == exchange]
            self.metrics.intervals_counted(exchange, intervals(stored), completeness(stored))
            missing = [causes.by_cause() for series, causes in owed.items() if series.exchange == exchange]
            for cause in Cause:
                page = await self.reports.gaps(exchange, cause=cause, limit=0)
                self.metrics.gaps_counted(exchange, cause, page.total, sum(causes[cause] for causes in missing))

    async def _failing(self) -> None:
        failing = await self.reports.failing_jobs()
        for exchange in self.standing.budgets:
            self.metrics.jobs_failing(exchange, failing.get(exchange, {}))

    def _tell_oldest(self, found: Iterable[str]) -> None:
        """When it began, the server tells of the own role's transactions only; so it counts from the first sight."""
        now_ms = self.standing.now_ms()
        self._transactions = {one: self._transactions.get(one, now_ms) for one in found}
        first_ms = min(self._transactions.values(), default=now_ms)
        self.metrics.oldest_transaction(max(0, now_ms - first_ms) / 1000)

    async def _figures(self) -> AsyncIterator[SeriesFigures]:
        """Every series that is known, a page at a time."""
        cursor: Series | None = None
        while page := await self.reports.known(limit=_PAGE, cursor=cursor):
            for figures in await self.reports.figures_of(page):
                yield figures
            cursor = page[-1]

    def _state(self, series: Series, figures: SeriesFigures | None) -> str:
        """The first of these that holds: never answered, late, incomplete; else complete."""
        if figures is None or figures.answered_until_ms is None:
            return "never"
        now_ms = self.standing.exchange_now_ms(series.exchange)
        if not met(figures.answered_until_ms, self.standing.job_set.objectives.get(series), now_ms):
            return "late"
        return "complete" if figures.complete else "incomplete"


def intervals(known: Iterable[SeriesFigures]) -> Mapping[str, int]:
    """Intervals of all series by what is known of them; those that gaps owe are counted by cause elsewhere."""
    counts: Counter[str] = Counter()
    for figures in known:
        counts.update(
            stored=figures.stored, empty_once=figures.empty_once, empty_confirmed=figures.empty_confirmed,
            unknown=figures.unknown,
        )  # fmt: skip
    return counts


def completeness(known: Iterable[SeriesFigures]) -> float:
    """Share of all wanted intervals that is stored or answered empty, 0 to 1; 0 where nothing is wanted yet."""
    parts = [(figures.completeness or 0.0, figures.wanted) for figures in known]
    wanted = sum(weight for _, weight in parts)
    return sum(share * weight for share, weight in parts) / wanted if wanted else 0.0
