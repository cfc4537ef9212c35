"""What fires when, and what becomes of it; the database and the runs are toys, time leaps."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import pytest

from marketd.errors import DatabaseUnavailable, LeaseLost, StoreError, UnknownSymbol, Unreachable, leaf
from marketd.exchanges.facts import Status
from marketd.jobset import JobSet
from marketd.model import Claim, Job, JobType, RunStatus, Series, Tally
from marketd.ports import Events
from marketd.runner import Order, Outcome, Runner
from marketd.scheduler import Desk, Scheduler, jitter
from marketd.walker import Account

MINUTE = 60_000
NOON = 1_700_049_600_000  # 2023-11-15T12:00Z
BTC = Series("bitfinex", "BTCUSD", "1m")


@dataclass
class Leap:
    """A clock whose sleeps pass at once."""

    ms: int = NOON

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, delay_s: float) -> None:
        self.ms += int(delay_s * 1000)
        await asyncio.sleep(0)


@dataclass
class Rows:
    """The run rows: (job, scheduled ms) once, and not while the job has a running row."""

    begun: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    finished: list[tuple[int, RunStatus, str | None]] = field(default_factory=list)
    running: dict[int, int] = field(default_factory=dict)
    orders: list[dict[str, Any]] = field(default_factory=list)
    noted: list[tuple[int, str, str | None]] = field(default_factory=list)
    away: bool = False
    unheard: bool = False
    failure: StoreError = field(default_factory=lambda: DatabaseUnavailable("away"))
    note: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.note.set()

    async def last_firings(self) -> dict[int, int]:
        self._answer()
        return {job: max(at for one, at in self.begun + self.skipped if one == job) for job, _ in self.begun}

    async def begin(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int) -> dict[int, int]:
        self._answer()
        ids = {}
        for job, at_ms in firings:
            if job not in self.running and (job, at_ms) not in self.begun:
                self.begun.append((job, at_ms))
                self.running[job] = ids[job] = len(self.begun)
        if self.unheard:
            self.unheard = False
            raise DatabaseUnavailable("the answer to COMMIT is lost")
        return ids

    async def under_way(self, exchange: str, epoch: int) -> dict[int, int]:
        self._answer()
        return {job: run for job, run in self.running.items() if all(order["id"] != job for order in self.orders)}

    async def skip(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int, reason: str) -> None:
        self._answer()
        self.skipped += firings

    async def finish(self, run: int, status: RunStatus, error: str | None, requests: int) -> None:
        self._answer()
        self.finished.append((run, status, error))
        self.running = {job: one for job, one in self.running.items() if one != run}
        await self.note.wait()

    async def note_job(self, job: int, status: str, error: str | None) -> None:
        self.noted.append((job, status, error))

    async def open(self, exchange: str) -> Sequence[dict[str, Any]]:
        self._answer()
        return [order | self._run_of(order["id"]) for order in self.orders if order["enabled"]]

    def _run_of(self, order: int) -> dict[str, Any]:
        run = next((number + 1 for number, (job, _) in enumerate(self.begun) if job == order), None)
        status = None if run is None else RunStatus.RUNNING if order in self.running else RunStatus.SUCCESS
        return {"run_id": run, "run_status": status, "epoch": None if run is None else 1}

    async def due_series(self, exchange: str, now_ms: int) -> Sequence[Series]:
        return []

    def _answer(self) -> None:
        if self.away:
            raise self.failure


@dataclass
class Works:
    """Runs that end when they are let go of, or asked to stop."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    began: int = 0
    asked: int = 0
    left: int = 0
    outcome: Outcome = field(default_factory=lambda: Outcome(RunStatus.SUCCESS, Tally()))
    failure: Exception | None = None
    failing: frozenset[JobType] = frozenset(JobType)
    held: frozenset[JobType] = frozenset(JobType)
    """What waits to be let go of."""

    orders: list[Order] = field(default_factory=list)
    derived: dict[str, str] = field(default_factory=dict)

    class fetcher:
        listing: ClassVar[dict[str, Status]] = {}
        looks = 0

        class exchange:
            name = "bitfinex"

        class time:
            known = True

        @staticmethod
        def now_ms() -> int:
            return NOON

        @classmethod
        async def learn(cls, asking: object, *, anew: bool = False) -> None:
            cls.looks += 1

        @classmethod
        async def symbols(cls, asking: object) -> dict[str, Status]:
            return dict(cls.listing)

    async def run(self, order: Order, account: Account) -> Outcome:
        self.began += 1
        self.orders.append(order)
        self.left = max(0, self.left - 1)
        if self.failure is not None and order.job_type in self.failing:
            raise self.failure
        while order.job_type in self.held and not self.gate.is_set():
            if account.stop.is_set():
                return Outcome(RunStatus.INTERRUPTED, Tally())
            await asyncio.sleep(0)
        return self.outcome

    async def unfinished(self, orders: Sequence[tuple[Order, int]]) -> list[bool]:
        self.asked += len(orders)
        return [self.left > 0 for _ in orders]


@dataclass
class Heard(Events):
    """What the scheduler tells."""

    ticks: list[int] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None:
        self.delays.append(delay_s)
        self.outcomes.append(outcome)

    def tick(self, exchange: str, at_ms: int) -> None:
        self.ticks.append(at_ms)

    def turned(self, exchange: str, duration_s: float) -> None:
        self.turns.append(exchange)

    def store_failed(self, kind: str) -> None:
        self.failed.append(kind)


@dataclass
class Stage:
    scheduler: Scheduler
    clock: Leap
    rows: Rows
    works: Works
    heard: Heard
    task: "asyncio.Task[None] | None" = None

    async def pass_minutes(self, minutes: float) -> None:
        end = self.clock.ms + minutes * MINUTE
        while self.clock.ms < end:  # noqa: ASYNC110  (the scheduler's own sleeps move the clock)
            await asyncio.sleep(0)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def start(self) -> None:
        self.task = asyncio.create_task(self.scheduler.work())

    async def restart(self) -> None:
        """Another process goes on with the same rows."""
        await self.end()
        before, self.rows.running = self.scheduler, {}
        self.scheduler = Scheduler(before.desk, self.clock, self.heard, before.settle_ms, before.page_allowance)
        self.scheduler.take(before.jobs)
        await self.start()

    async def end(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


def job(number: int = 1, **more: Any) -> Job:
    return Job(number, "bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, "*/5 * * * *", created_ms=NOON, **more)


def jobs(*some: Job) -> JobSet:
    return JobSet(jobs={one.id: one for one in some}, work={one.id: (BTC,) for one in some}, tracked=frozenset({BTC}))


@pytest.fixture
async def stage() -> Any:
    clock, rows, works = Leap(), Rows(), Works()
    works.fetcher.listing, works.fetcher.looks = {"BTCUSD": Status.TRADING}, 0
    desk = Desk("bitfinex", 1, cast(Runner, works), rows, rows, rows)
    heard = Heard()
    scheduler = Scheduler(desk, clock, heard, 120_000, 10)
    scheduler.take(jobs(job()))
    stage = Stage(scheduler, clock, rows, works, heard)
    await stage.start()
    yield stage
    await stage.end()


async def test_each_firing_runs_once(stage: Stage) -> None:
    stage.works.gate.set()
    await stage.pass_minutes(16)
    assert [at - NOON for _, at in stage.rows.begun] == [5 * MINUTE, 10 * MINUTE, 15 * MINUTE]
    assert [status for _, status, _ in stage.rows.finished] == [RunStatus.SUCCESS] * 3


async def test_a_job_does_not_overlap_itself_and_says_so(stage: Stage) -> None:
    await stage.pass_minutes(11)
    assert stage.works.began == 1
    assert stage.rows.skipped == [(1, NOON + 10 * MINUTE)]


async def test_a_run_is_under_way_until_its_end_is_recorded_whole(stage: Stage) -> None:
    stage.works.gate.set()
    stage.rows.note.clear()
    await stage.pass_minutes(11)
    assert stage.rows.running == {}, "the row says ended"
    assert (stage.works.began, len(stage.rows.skipped)) == (1, 1)
    stage.rows.note.set()
    await stage.pass_minutes(5)
    assert stage.works.began == 2


async def test_what_was_missed_is_caught_up_once(stage: Stage) -> None:
    stage.works.gate.set()
    await stage.pass_minutes(6)
    stage.rows.away = True
    await stage.pass_minutes(31)
    assert len(stage.rows.begun) == 1
    assert stage.heard.ticks[-1] >= NOON + 36 * MINUTE, "it turns, and can do nothing else"
    stage.rows.away = False
    await stage.pass_minutes(1)
    assert [at - NOON for _, at in stage.rows.begun] == [5 * MINUTE, 35 * MINUTE]
    assert stage.heard.outcomes == ["run", "late"]


async def test_a_firing_whose_beginning_was_not_heard_of_runs_once(stage: Stage) -> None:
    stage.works.gate.set()
    stage.rows.unheard = True
    await stage.pass_minutes(6)
    assert [at - NOON for _, at in stage.rows.begun] == [5 * MINUTE]
    assert [status for _, status, _ in stage.rows.finished] == [RunStatus.SUCCESS]


async def test_a_begun_run_whose_job_is_gone_meanwhile_is_closed(stage: Stage) -> None:
    """fault_60."""
    stage.rows.away = True
    await stage.pass_minutes(6)
    stage.scheduler.take(jobs())
    stage.rows.running[7] = 99
    stage.rows.away = False
    await stage.pass_minutes(1)
    assert stage.rows.finished == [(99, RunStatus.INTERRUPTED, "its job is gone")]


async def test_firings_of_a_job_that_are_due_together_are_one_run(stage: Stage) -> None:
    """Held back by more than a step, and the clock is set forward."""
    stage.works.gate.set()
    often = Job(1, "bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, "* * * * *", created_ms=NOON, jitter_s=3600)
    stage.scheduler.take(jobs(often))
    await stage.pass_minutes(20)
    ran = len(stage.rows.begun)
    stage.clock.ms += 60 * MINUTE
    await stage.pass_minutes(0.5)
    assert len(stage.rows.begun) == ran + 1
    assert len(stage.rows.begun) + len(stage.rows.skipped) == 20
    assert set(stage.rows.skipped).isdisjoint(stage.rows.begun)
    await stage.pass_minutes(90)
    assert stage.works.began == len(stage.rows.begun) == len(set(stage.rows.begun))


async def test_a_clock_that_was_far_ahead_does_not_hold_own_work_back(stage: Stage) -> None:
    """fault_51."""
    stage.works.failure, stage.works.left = Unreachable("gone"), 99
    stage.clock.ms += 365 * 24 * 60 * MINUTE
    stage.scheduler.take(jobs(Job(1, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, None, created_ms=NOON)))
    await stage.pass_minutes(0.5)
    assert stage.works.began == 1
    stage.clock.ms -= 365 * 24 * 60 * MINUTE
    await stage.pass_minutes(1)
    assert stage.works.began == 2


async def test_a_host_that_slept_catches_up_once_or_not_at_all_as_the_job_wants_it(stage: Stage) -> None:
    """fault_53."""
    stage.works.gate.set()
    stage.scheduler.take(jobs(job(1), job(2, catch_up="none")))
    await stage.pass_minutes(6)
    stage.clock.ms += 8 * 60 * MINUTE
    await stage.pass_minutes(1)
    assert [number for number, _ in stage.rows.begun] == [1, 2, 1]
    assert stage.rows.begun[-1] == (1, NOON + 485 * MINUTE), "the latest of those it slept through"
    assert stage.heard.outcomes == ["run", "run", "late"]
    await stage.pass_minutes(5)
    assert [number for number, _ in stage.rows.begun] == [1, 2, 1, 1, 2]


async def test_a_clock_set_back_fires_nothing_twice(stage: Stage) -> None:
    """fault_52."""
    stage.works.gate.set()
    await stage.pass_minutes(6)
    stage.clock.ms -= 30 * MINUTE
    await stage.pass_minutes(40)
    assert len(stage.rows.begun) == len(set(stage.rows.begun))


@pytest.mark.parametrize("restarted", [False, True])
async def test_times_that_a_clock_which_was_ahead_has_used_up_do_not_stop_live_runs(
    stage: Stage, restarted: bool
) -> None:
    """fault_52: The clock was a day ahead for half an hour, and is right again: that time comes once more tomorrow."""
    stage.works.gate.set()
    stage.scheduler.take(jobs(job(1), replace(job(2), job_type=JobType.GAP_REPAIR)))
    stage.clock.ms += 30 * MINUTE
    await stage.pass_minutes(30)
    stage.clock.ms -= 30 * MINUTE
    ahead = len(stage.rows.begun)
    if restarted:
        await stage.restart()
    await stage.pass_minutes(30)
    again = stage.rows.begun[ahead:]
    assert len(stage.rows.begun) == len(set(stage.rows.begun))
    assert [number for number, _ in again] == [1] * 6, "a repair is not as urgent"
    await stage.pass_minutes(10)
    assert [number for number, _ in stage.rows.begun[ahead + 6 :]] == [1, 2, 1, 2]


async def test_a_removed_job_stops_at_a_page_border(stage: Stage) -> None:
    """fault_60."""
    await stage.pass_minutes(6)
    assert stage.scheduler.running == {1}
    stage.scheduler.take(jobs(job(2)))
    await stage.turn()
    assert [status for _, status, _ in stage.rows.finished] == [RunStatus.INTERRUPTED]


async def test_a_paused_job_is_not_fired(stage: Stage) -> None:
    stage.scheduler.take(jobs(job(paused_until_ms=NOON + 12 * MINUTE)))
    stage.works.gate.set()
    await stage.pass_minutes(16)
    assert [at - NOON for _, at in stage.rows.begun] == [15 * MINUTE]


async def test_a_stop_ends_what_runs_and_begins_nothing(stage: Stage) -> None:
    await stage.pass_minutes(6)
    stage.scheduler.stop()
    await stage.pass_minutes(0)
    assert stage.task is not None
    async with asyncio.timeout(5):
        await stage.task
    assert [status for _, status, _ in stage.rows.finished] == [RunStatus.INTERRUPTED]


@pytest.mark.parametrize(
    ("failure", "said"),
    [(Unreachable("gone"), "gone"), (ZeroDivisionError("what"), "unexpected ZeroDivisionError: what")],
)
async def test_a_run_that_fails_says_why_and_the_next_one_comes(stage: Stage, failure: Exception, said: str) -> None:
    """fault_9."""
    stage.works.failure = failure
    await stage.pass_minutes(11)
    assert [(status, error) for _, status, error in stage.rows.finished] == [(RunStatus.FAILED, said)] * 2


async def test_a_run_that_finds_no_memory_fails_alone(stage: Stage) -> None:
    """fault_9."""
    stage.works.gate.set()
    stage.works.failure, stage.works.failing = MemoryError(), frozenset({JobType.GAP_REPAIR})
    stage.scheduler.take(jobs(job(1), replace(job(2), job_type=JobType.GAP_REPAIR)))
    await stage.pass_minutes(11)
    ended = [(stage.rows.begun[run - 1][0], status, error) for run, status, error in stage.rows.finished]
    assert sorted(ended) == [(1, RunStatus.SUCCESS, None)] * 2 + [(2, RunStatus.FAILED, "unexpected MemoryError: ")] * 2


async def test_a_run_over_its_time_is_partial(stage: Stage) -> None:
    stage.scheduler.take(jobs(job(timeout_s=0.01)))
    await stage.pass_minutes(6)
    await asyncio.sleep(0.05)
    await stage.turn()
    assert stage.rows.finished[0][1:] == (RunStatus.PARTIAL, "stopped after its timeout of 0.01 s")


async def test_a_backfill_is_due_until_it_is_finished_and_then_left_alone(stage: Stage) -> None:
    stage.works.gate.set()
    stage.works.left = 2
    backfill = Job(1, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, None, created_ms=NOON)
    stage.scheduler.take(jobs(backfill))
    await stage.pass_minutes(10)
    assert stage.works.began == 2
    assert stage.works.asked == 3, "found unfinished twice, finished once"
    stage.scheduler.take(jobs(backfill, job(2)))
    await stage.pass_minutes(1)
    assert stage.works.asked == 3, "what was answered stays answered"
    stage.scheduler.take(jobs(replace(backfill, start_ms=1), job(2)))
    await stage.pass_minutes(1)
    assert stage.works.asked == 4, "another range is looked at anew"


@pytest.mark.parametrize(("failure", "at_once"), [(DatabaseUnavailable("away"), True), (Unreachable("gone"), False)])
async def test_a_run_that_the_database_cut_off_need_not_wait_before_the_next_one(
    stage: Stage, failure: Exception, at_once: bool
) -> None:
    stage.works.failure, stage.works.left = failure, 99
    stage.scheduler.take(jobs(Job(1, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, None, created_ms=NOON)))
    await stage.pass_minutes(0.5)
    assert (stage.works.began > 1) is at_once, "looked for every ten seconds, or a minute after a failure of its own"


async def test_a_scheduler_that_waits_for_its_runs_to_end_is_alive(stage: Stage) -> None:
    turns: list[int] = []
    stage.scheduler.turned = lambda: turns.append(stage.clock.ms)
    stage.rows.note.clear()
    await stage.pass_minutes(6)
    stage.scheduler.stop()
    await stage.pass_minutes(2)
    assert stage.task is not None
    assert not stage.task.done()
    assert turns[-1] > NOON + 7 * MINUTE
    stage.rows.note.set()
    async with asyncio.timeout(5):
        await stage.task


async def test_turns_are_told_and_those_that_fail_by_the_kind_of_failure(stage: Stage) -> None:
    await stage.pass_minutes(1)
    assert set(stage.heard.turns) == {"bitfinex"}
    assert len(stage.heard.ticks) >= len(stage.heard.turns) >= 60
    assert stage.heard.failed == []
    stage.rows.away = True
    turned = len(stage.heard.turns)
    await stage.pass_minutes(5)
    assert set(stage.heard.failed) == {"unavailable"}
    stage.rows.failure = LeaseLost("another process has it")
    assert stage.task is not None
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(5):
            await _leaf(stage.task)
    assert stage.heard.failed[-1] == "lease_lost"
    assert len(stage.heard.turns) < turned + 360, "a turn that failed is no turn"


async def _leaf(task: "asyncio.Task[None]") -> None:
    try:
        await task
    except BaseExceptionGroup as failures:
        raise leaf(failures) from failures


async def test_a_firing_is_recorded_at_its_moment_not_at_the_next_look(stage: Stage) -> None:
    stage.works.gate.set()
    stage.clock.ms += 333
    await stage.pass_minutes(11)
    assert [at - NOON for _, at in stage.rows.begun] == [5 * MINUTE, 10 * MINUTE]
    assert all(delay_s < 0.005 for delay_s in stage.heard.delays)


async def test_jitter_holds_a_firing_back_by_less_than_it_says_and_keeps_its_due_time(stage: Stage) -> None:
    stage.works.gate.set()
    several = [replace(job(number), jitter_s=60) for number in range(1, 20)]
    stage.scheduler.take(jobs(*several))
    await stage.pass_minutes(5)
    assert len(stage.rows.begun) < 10, "some wait still"
    await stage.pass_minutes(1.2)
    assert sorted(stage.rows.begun) == [(number, NOON + 5 * MINUTE) for number in range(1, 20)]
    assert max(stage.heard.delays) - min(stage.heard.delays) > 20, "they are spread"
    assert max(stage.heard.delays) < 60.1


def test_jitter_is_the_same_whenever_it_is_asked_and_spread_evenly() -> None:
    assert jitter(job(), NOON) == 0
    held = [jitter(replace(job(number), jitter_s=10), NOON) for number in range(1000)]
    assert held == [jitter(replace(job(number), jitter_s=10), NOON) for number in range(1000)]
    assert 0 <= min(held) < 200
    assert 9_800 < max(held) < 10_000
    assert 4_500 < sum(held) / 1000 < 5_500


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "backfill",
        "enabled": True, "origin": "order", "refetch": False, "oldest_first": True, "most_gaps": None,
        **more,
    }  # fmt: skip


async def test_an_order_by_hand_is_carried_out_as_given_beside_the_jobs(stage: Stage) -> None:
    stage.rows.orders.append(order(50, refetch=True))
    await until(lambda: any(given.claim is Claim.ORDER for given in stage.works.orders))
    (given,) = [each for each in stage.works.orders if each.claim is Claim.ORDER]
    assert given.series == (BTC,)
    assert (given.by_hand, given.refetch, given.newest_first) == (True, True, False)
    stage.scheduler.take(jobs(job(2)))
    await stage.turn()
    assert 50 in stage.scheduler.running, "a reload does not concern it"


async def test_an_order_that_is_withdrawn_stops_at_a_page_border(stage: Stage) -> None:
    stage.rows.orders.append(order(50))
    await until(lambda: 50 in stage.scheduler.running)
    stage.rows.orders[0]["enabled"] = False
    await until(lambda: 50 not in stage.scheduler.running)
    assert stage.rows.finished[-1][1] is RunStatus.INTERRUPTED


async def test_an_order_that_cannot_be_meant_is_refused_and_keeps_nobody_from_work(stage: Stage) -> None:
    stage.rows.orders += [order(50, timeframe="7m"), order(51)]
    await until(lambda: 51 in stage.scheduler.running)
    number, status, error = stage.rows.noted[0]
    assert (number, status) == (50, "refused")
    assert "7m" in str(error)


async def test_an_order_may_name_what_this_exchange_derives(stage: Stage) -> None:
    stage.works.derived = {"2h": "1h"}
    stage.rows.orders.append(order(50, timeframe="2h"))
    built = (BTC._replace(timeframe="2h"),)
    await until(lambda: built in [one.series for one in stage.works.orders] or bool(stage.rows.noted))
    assert stage.rows.noted == []


async def test_an_order_whose_beginning_was_not_heard_of_is_carried_out(stage: Stage) -> None:
    stage.scheduler.take(jobs())
    stage.works.gate.set()
    stage.rows.unheard = True
    stage.rows.orders.append(order(50))
    await until(lambda: bool(stage.rows.finished))
    assert (stage.works.began, len(stage.rows.begun)) == (1, 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (orders are looked for every second of real time)
            await asyncio.sleep(0.01)


class TestMarketsThatRest:
    """By the exchange's own list, which is looked at every hour, and every ten minutes while one rests."""

    async def test_a_job_whose_market_rests_is_idle_says_why_and_goes_on_when_it_is_back(self, stage: Stage) -> None:
        stage.works.gate.set()
        await stage.pass_minutes(6)
        stage.works.fetcher.listing = {"BTCUSD": Status.HALTED}
        await stage.pass_minutes(67)
        began = stage.works.began
        assert stage.rows.noted[-1] == (1, "idle", "bitfinex has halted BTCUSD")
        await stage.pass_minutes(30)
        assert stage.works.began == began
        stage.works.fetcher.listing = {"BTCUSD": Status.TRADING}
        await stage.pass_minutes(16)
        assert list(stage.rows.noted[-1]) == [1, "resumed", None]
        assert stage.works.began > began

    async def test_what_was_traded_until_it_came_to_rest_is_still_fetched(self, stage: Stage) -> None:
        """A live job fires on until a run is well that began after the interval in which it was seen to rest."""
        stage.works.gate.set()
        hourly = replace(job(), timeframe="1h")
        series = BTC._replace(timeframe="1h")
        stage.scheduler.take(JobSet(jobs={1: hourly}, work={1: (series,)}, tracked=frozenset({series})))
        stage.works.fetcher.listing = {"BTCUSD": Status.DELISTED}
        stage.works.outcome = Outcome(RunStatus.FAILED, Tally(), ((series, Unreachable("away")),))
        await stage.pass_minutes(126)
        assert stage.works.began == 25, "what failed is tried again"
        stage.works.outcome = Outcome(RunStatus.SUCCESS, Tally())
        await stage.pass_minutes(20)
        assert stage.works.began == 26
        assert stage.rows.noted[-1] == (1, "idle", "bitfinex has delisted BTCUSD")

    async def test_it_is_looked_at_every_hour_and_more_often_while_one_rests(self, stage: Stage) -> None:
        stage.works.gate.set()
        await stage.pass_minutes(130)
        assert stage.works.fetcher.looks == 3
        stage.works.fetcher.listing = {"BTCUSD": Status.HALTED}
        await stage.pass_minutes(60)
        looks = stage.works.fetcher.looks
        await stage.pass_minutes(40)
        assert stage.works.fetcher.looks == looks + 4

    async def test_a_market_that_is_halted_keeps_its_backfill_and_one_that_is_not_listed_does_not(
        self, stage: Stage
    ) -> None:
        stage.works.gate.set()
        backfill = Job(2, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, "*/5 * * * *", created_ms=NOON)
        stage.works.fetcher.listing = {"BTCUSD": Status.DELISTED, "ETHUSD": Status.TRADING}
        stage.scheduler.take(jobs(job(), backfill))
        await stage.pass_minutes(80)
        assert {number for number, _, _ in stage.rows.noted} == {1}
        began = len(stage.rows.begun)
        await stage.pass_minutes(20)
        assert {number for number, _ in stage.rows.begun[began:]} == {2}
        stage.works.fetcher.listing = {"BTCUSDT": Status.TRADING, "ETHUSD": Status.TRADING}
        await stage.pass_minutes(11)
        assert {number for number, _, _ in stage.rows.noted} == {1}, "what is not listed may still be served"
        stage.works.outcome = Outcome(RunStatus.FAILED, Tally(), ((BTC, UnknownSymbol("no such symbol")),))
        await stage.pass_minutes(16)
        assert (2, "idle", "bitfinex does not list BTCUSD; did you mean BTCUSDT, ETHUSD?") in stage.rows.noted

    async def test_a_run_that_is_under_way_stops_at_a_page_border(self, stage: Stage) -> None:
        """Of a market that is gone: its live run was refused."""
        stage.works.held = frozenset({JobType.BACKFILL})
        stage.works.outcome = Outcome(RunStatus.FAILED, Tally(), ((BTC, UnknownSymbol("no such symbol")),))
        stage.works.fetcher.listing = {"ETHUSD": Status.TRADING}
        backfill = Job(2, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, "*/5 * * * *", created_ms=NOON)
        stage.scheduler.take(jobs(job(), backfill))
        await stage.pass_minutes(8)
        assert [status for _, status, *_ in stage.rows.finished] == [RunStatus.FAILED, RunStatus.INTERRUPTED]

    async def test_of_several_series_the_others_are_worked_on(self, stage: Stage) -> None:
        stage.works.gate.set()
        both = Job(3, "bitfinex", None, "1m", JobType.CONTINUOUS, "*/5 * * * *", created_ms=NOON)
        eth = BTC._replace(symbol="ETHUSD")
        stage.works.fetcher.listing = {"BTCUSD": Status.HALTED, "ETHUSD": Status.TRADING}
        stage.scheduler.take(JobSet(jobs={3: both}, work={3: (BTC, eth)}, tracked=frozenset({BTC, eth})))
        await stage.pass_minutes(70)
        assert stage.works.orders[-1].series == (eth,)
        assert stage.rows.noted == []

    async def test_a_run_that_fails_for_an_unknown_symbol_makes_it_look_at_once(self, stage: Stage) -> None:
        stage.works.gate.set()
        errors = ((BTC, UnknownSymbol("Bitfinex does not know this symbol")),)
        stage.works.outcome = Outcome(RunStatus.FAILED, Tally(), errors)
        stage.works.fetcher.listing = {"ETHUSD": Status.TRADING}
        await stage.pass_minutes(12)
        assert stage.works.began == 1
        assert stage.rows.noted == [(1, "idle", "bitfinex does not list BTCUSD; did you mean ETHUSD?")]

    async def test_a_new_job_for_what_is_not_listed_is_refused_after_its_first_try(self, stage: Stage) -> None:
        """The list is looked at again before, since the market may be as new as the job."""
        stage.works.gate.set()
        stage.works.outcome = Outcome(RunStatus.PARTIAL, Tally(), ((BTC._replace(symbol="NOPE"), UnknownSymbol("no")),))
        await stage.pass_minutes(1)
        nope = replace(job(2), symbol="NOPE")
        series = BTC._replace(symbol="NOPE")
        both = JobSet(jobs={1: job(), 2: nope}, work={1: (BTC,), 2: (series,)}, tracked=frozenset({BTC, series}))
        stage.scheduler.take(both)
        looks = stage.works.fetcher.looks
        await stage.pass_minutes(1)
        assert stage.works.fetcher.looks == looks + 1
        await stage.pass_minutes(20)
        assert stage.rows.noted == [(2, "idle", "bitfinex does not list NOPE")]
        assert [number for number, _ in stage.rows.begun].count(2) == 1
