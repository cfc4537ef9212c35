"""A small share of the simulation, for every day; ``make simulate`` lives as long as it is asked to."""

import asyncio
import pickle
import time
from dataclasses import replace

import pytest

from marketd.exchanges import NAMES
from tests.simulation.loop import HostClock, Stuck, VirtualLoop
from tests.simulation.run import run
from tests.simulation.world import Plan


@pytest.mark.parametrize("seed", [1, 2])
def test_a_troubled_world_keeps_every_promise(seed: int) -> None:
    result = run(Plan.drawn(seed, days=0.6, series=2))
    assert result.violations == []
    assert result.troubles
    assert result.liveness_s
    assert result.held > 2 * 1440


@pytest.mark.parametrize("exchange", [name for name in NAMES if name != "bitfinex"])
def test_a_troubled_world_of_any_exchange_keeps_every_promise(exchange: str) -> None:
    result = run(Plan.drawn(3, days=0.5, series=1, exchange=exchange))
    assert result.violations == []
    assert result.troubles
    assert result.liveness_s
    assert result.held > 720


@pytest.mark.parametrize(
    "only",
    [
        ("database_slow",),
        ("second", "killed", "frozen"),
        ("lost", "revised", "late"),
        ("delisted", "unlisted"),
        ("host_clock", "exchange_clock"),
        ("frozen",),
        ("killed", "stopped"),
        ("rescheduled", "disabled", "narrowed", "paused", "reload"),
    ],
    ids=" ".join,
)
def test_one_kind_of_trouble_again_and_again_keeps_every_promise(only: tuple[str, ...]) -> None:
    """fault_24, fault_29, fault_48, fault_49, fault_51, fault_52, fault_53, fault_54, fault_60."""
    result = run(replace(Plan.drawn(6, days=0.4, series=2), only=only, pause_s=1800.0, history_days=1))
    assert result.violations == []
    assert set(result.troubles) == set(only)
    assert result.liveness_s, "complete when it was over"


def test_a_frozen_process_with_much_to_do_asks_no_more_at_once_than_it_may() -> None:
    plan = Plan.drawn(5, days=0.2, series=8)
    plan = replace(plan, only=("frozen",), per_minute=60.0, page_limit=120, history_days=3, pause_s=300.0)
    result = run(plan)
    assert result.violations == []
    assert result.troubles["frozen"]


def test_one_seed_is_one_run() -> None:
    plan = replace(Plan.drawn(7, days=0.2, series=2), pause_s=900.0)
    first = run(plan)
    assert first.violations == []
    assert first.digest == run(plan).digest
    assert first.digest != run(replace(plan, seed=8, days=0.1)).digest


def test_what_came_of_a_run_can_be_sent_between_processes() -> None:
    """``make simulate JOBS=2`` lives worlds beside each other."""
    result = run(replace(Plan.drawn(7, days=0.05, series=1), pause_s=900.0, history_days=1))
    assert pickle.loads(pickle.dumps(result)) == result


def test_the_engine_polls_as_often_as_it_really_does() -> None:
    """The other worlds poll more rarely, to be fast."""
    result = run(replace(Plan.drawn(3, days=0.02, series=1), slower=1.0, pause_s=300.0, history_days=1))
    assert result.violations == []


def test_nobody_waits_in_virtual_time() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(3600, lambda: None).cancel()  # at the head of the timers, and dead
        await asyncio.sleep(1e6)
        return loop.time()

    began = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(wait()) == pytest.approx(1e6)
    assert time.monotonic() - began < 1


def test_what_would_wait_for_ever_is_said() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Stuck):
        runner.run(asyncio.Event().wait())


def test_threads_end_at_once() -> None:
    async def threaded() -> int:
        return await asyncio.to_thread(lambda: 7)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(threaded()) == 7


def test_a_host_believes_its_own_clock() -> None:
    async def later() -> int:
        clock = HostClock(1_000_000, -500)
        await clock.sleep(2)
        return clock.now_ms()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(later()) == 1_001_500
