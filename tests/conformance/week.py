"""``python -m tests.conformance.week``: all exchanges at once for a week, with every exchange's limit enforced.

Each is rehearsed in its own wire format and kept fresh by its own lane: the real scheduler, runner and budget, in
virtual time, on tables in memory. One exchange is out of reach for a whole day. Says what came of it, by exchange.
"""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

from marketd import assembly
from marketd.clock import at
from marketd.config import build
from marketd.cron import Crons
from marketd.errors import Unreachable
from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Exchange, Reply, Request
from marketd.jobs import job_from_row
from marketd.jobset import JobSet, job_set
from marketd.model import Series
from marketd.ports import Events, Progress
from marketd.rehearsal.answers import Answers
from marketd.rehearsal.damage import open_ms_of
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.exchange import enforced
from marketd.rehearsal.faults import Fault, Faults, Late, Maintenance, Malformed, Nothing, RateLimit, ServerError
from marketd.rehearsal.market import Market, Window, synthetic
from marketd.rehearsal.trouble import Trouble
from marketd.scheduler import Desk, Scheduler
from tests.conformance.direct import call_of, line_of, reply_of
from tests.conformance.spec import symbols_of
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock, VirtualLoop
from tests.simulation.pace import pace
from tests.simulation.server import Line, Server
from tests.simulation.store import SimLeases, SimOrders, SimPages, SimReader, SimRuns

DAY_S = 86_400
START_MS = 1_700_006_400_000 + 13 * 3_600_000 + 2 * 60_000  # 2023-11-15T13:02Z
FRAMES = {"1m": "* * * * *", "15m": "*/15 * * * *", "1h": "0 * * * *"}
COINS = ("BTC", "ETH", "SOL", "LTC", "XRP")
DOWN = "okx"
LOOK_S = 600.0


class Blind:
    """A watch that sees nothing: what is stored is compared at the end."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_more: None


@dataclass
class Stall:
    """One exchange and the lane that asks it."""

    exchange: Exchange
    market: Market
    clock: HostClock
    faults: Faults
    dice: Random
    outage: tuple[float, float] | None
    throttled: int = 0
    requests: int = 0
    busiest: int = 0
    lags_s: list[float] = field(default_factory=list)
    _minutes: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dialect = spoken(self.exchange.name)
        self.trouble = Trouble(self.clock, self.faults, self.dialect)
        self.answers = Answers(self.market, self.clock, self.faults, self.market.symbols, self.dialect)

    @property
    def down(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return self.outage is not None and self.outage[0] <= now_s < self.outage[1]

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        await asyncio.sleep(self.dice.uniform(0.05, 0.3))
        if self.down:
            raise Unreachable("nobody answers")
        now_ms = self.clock.now_ms()
        asked = self.dialect.asked(call_of(request), now_ms)
        self._count(now_ms, request.weight)
        limited = self.trouble.throttled(asked)
        self.throttled += limited is not None
        said = limited or self.trouble.refused(asked) or self.answers.said(asked)
        return reply_of(said, now_ms)

    def _count(self, now_ms: int, weight: int) -> None:
        self.requests += 1
        self._minutes[now_ms // 60_000] += weight
        self.busiest = max(self.busiest, self._minutes[now_ms // 60_000])

    def truth(self, series: Series, start: int, end: int) -> dict[int, bytes]:
        frame = series.frame
        window = Window(frame.open_ms(start), frame.open_ms(end) - 1, 10**9, newest_first=False)
        rows = self.market.page(series.symbol, series.timeframe, window, self.clock.now_ms())
        return {frame.number(open_ms_of(row)): line_of(row, self.exchange.columns) for row in rows}


@dataclass
class Lane:
    """A stall, its tables, and what the daemon puts around the work on one exchange."""

    stall: Stall
    server: Server
    series: Sequence[Series]

    async def live(self) -> None:
        name, line, blind = self.stall.exchange.name, Line(self.server, self.stall.exchange.name), cast(Any, Blind())
        config = build("", {}, None, lambda path: None, need_database=False)
        books = assembly.Books(
            cast(Any, SimPages(line, blind)), cast(Any, SimReader(line)), cast(Any, SimRuns(line, blind)),
            cast(Any, SimOrders(line)), cast(Any, None),
        )  # fmt: skip
        leases = cast(Any, SimLeases(line, blind))
        async with assembly.lane(
            name, config, books, cast(Any, self.stall), self.stall.clock, Events(), Progress(), leases=leases
        ) as lane:
            desk = Desk(name, lane.lease.epoch, lane.runner, lane.runs, lane.orders, books.reader)
            scheduler = Scheduler(desk, self.stall.clock, Events(), config.settle_ms_of(name), 10)
            scheduler.take(self._jobs(config.derive))
            await scheduler.work()

    def _jobs(self, derive: Any) -> JobSet:
        rows = list(self.server.tables.jobs.values())
        crons = Crons()
        for row in rows:
            job_from_row(row, crons, derive)
        name = self.stall.exchange.name
        return job_set(rows, tuple(FRAMES), derive, {name: self.stall.exchange.requests_per_minute}, 120)

    def lag_s(self) -> float:
        """Of the series that is behind most: for how long the first interval that it lacks has been closed."""
        now_ms, lags = self.stall.clock.now_ms(), [0.0]
        for series in self.series:
            end = self.server.tables.of(series).answered_edges()[1]
            if end is not None:
                lags.append((now_ms - series.frame.open_ms(end + 1)) / 1000)
        return max(lags)

    def wrong(self) -> list[str]:
        """What differs from the truth, from the first answered interval on."""
        found: list[str] = []
        for series in self.series:
            table = self.server.tables.of(series)
            edges = table.answered_edges()
            if edges[0] is None or edges[1] is None:
                found.append(f"{series}: nothing answered")
                continue
            start, end = edges[0], edges[1]
            truth = self.stall.truth(series, start, end)
            if {number: line for number, line in table.candles.items() if start <= number < end} != truth:
                found.append(f"{series}: the candles are not the exchange's")
            if gaps := [gap for gap in table.gaps.values() if gap.open]:
                found.append(f"{series}: {len(gaps)} open gaps, {gaps[0].cause} {gaps[0].missing.size}")
            if sum(block.answered.size for block in table.blocks.values()) != end - start:
                found.append(f"{series}: not all is answered")
        return found


TROUBLES: tuple[Fault, ...] = (
    ServerError(status=503), ServerError(status=502, share=0.3), Maintenance(), Late(delay_s=40, share=0.3),
    Nothing(share=0.5), Malformed(how="duplicate"), Malformed(how="conflict", share=0.5), Malformed(how="shuffled"),
    Malformed(how="cut", share=0.5), Malformed(how="html", share=0.3), Malformed(how="misaligned", share=0.3),
    Malformed(how="nan", share=0.3),
)  # fmt: skip
CALM_S = 1.5 * DAY_S


async def _trouble(lane: Lane, ends_s: float) -> None:
    """A trouble of some minutes after every hour or so."""
    dice, loop = lane.stall.dice, asyncio.get_running_loop()
    while loop.time() < ends_s:
        await asyncio.sleep(dice.uniform(1_200, 7_200))
        if loop.time() < ends_s:
            lane.stall.faults.add(replace(dice.choice(TROUBLES), for_s=dice.uniform(60, 1_500)))


def lane_of(name: str, days: float, seed: int) -> Lane:
    clock, dice = HostClock(START_MS), Random(f"{seed} {name}")
    ends_ms = START_MS + int((days + 3) * DAY_S * 1000)
    market = synthetic(seed, symbols_of(name, COINS), START_MS - 3 * DAY_S * 1000, ends_ms, 0.2)
    faults = Faults(clock)
    faults.add(enforced(spoken(name)))
    outage = (days / 7 * 2 * DAY_S, days / 7 * 3 * DAY_S) if name == DOWN else None
    flat = spoken(name).flat
    stall = Stall(EXCHANGES[name], market.filled() if flat else market, clock, faults, dice, outage)
    server, series = Server(clock, Journal(), dice), []
    for symbol in symbols_of(name, COINS):
        for timeframe, schedule in FRAMES.items():
            series.append(Series(name, symbol, timeframe))
            job = {"symbol": symbol, "timeframe": timeframe, "job_type": "continuous", "schedule": schedule}
            server.tables.add_job(at(START_MS), exchange=name, **job)
    server.tables.add_job(at(START_MS), exchange=name, job_type="gap_repair", schedule="30 * * * *")
    return Lane(stall, server, series)


@dataclass(frozen=True)
class Report:
    name: str
    requests: int
    throttled: int
    busiest: int
    allowed: float
    lag_s: float
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        said = f"{self.name:<12} {self.requests:>7} requests, busiest minute {self.busiest:>3} of {self.allowed:g}, "
        said += f"{self.throttled} refused for the limit, at most {self.lag_s:.0f} s behind"
        return "\n    ".join([said, *self.wrong])


async def _week(days: float, seed: int, names: Sequence[str], *, troubled: bool) -> list[Report]:
    lanes = [lane_of(name, days, seed) for name in names]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(lane.live()) for lane in lanes]
        if troubled:
            tasks += [group.create_task(_trouble(lane, days * DAY_S - CALM_S)) for lane in lanes]
        while asyncio.get_running_loop().time() < days * DAY_S:
            await asyncio.sleep(LOOK_S)
            for lane in lanes:
                _sample(lane)
        for lane in lanes:
            lane.stall.faults.clear(RateLimit)
        reports = [_report(lane) for lane in lanes]
        for task in tasks:
            task.cancel()
    return reports


def _sample(lane: Lane) -> None:
    """How far it is behind, but for the outage and the hour in which it is caught up."""
    now_s, outage = asyncio.get_running_loop().time(), lane.stall.outage
    if now_s > 1_200 and (outage is None or not outage[0] <= now_s < outage[1] + 3_600):
        lane.stall.lags_s.append(lane.lag_s())


def _report(lane: Lane) -> Report:
    stall = lane.stall
    return Report(
        stall.exchange.name, stall.requests, stall.throttled, stall.busiest, stall.exchange.requests_per_minute,
        max(stall.lags_s, default=0.0), tuple(lane.wrong()),
    )  # fmt: skip


def week(days: float, seed: int, names: Sequence[str] = NAMES, *, troubled: bool = False) -> list[Report]:
    """What came of it, by exchange."""
    with pace(20.0), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_week(days, seed, names, troubled=troubled))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.week", description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--troubled", action="store_true")
    parser.add_argument("names", nargs="*", default=NAMES)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    reports = week(given.days, given.seed, given.names, troubled=given.troubled)
    for report in reports:
        print(report)
    return 1 if any(report.wrong or report.throttled for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
