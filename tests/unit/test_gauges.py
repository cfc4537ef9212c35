"""What is sampled from memory, under virtual time."""

import asyncio
from typing import Any, cast

import pytest

from marketd.assembly import Lane
from marketd.clock import ScaledClock
from marketd.figures import Missing, SeriesFigures
from marketd.gauges import Gauges, completeness, intervals
from marketd.limiter import Budget
from marketd.metrics import Metrics
from marketd.model import Claim, Series
from marketd.pulse import Pulse
from marketd.standing import Standing, Working
from marketd.store.reports import Reports
from marketd.store.session import Database

NOW_MS = 1_700_000_000_000
NOTHING = cast(Any, None)


class Stopped(ScaledClock):
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_MS


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"marketd_{name}", labels)


def budget_of(metrics: Metrics) -> tuple[float | None, ...]:
    names = ("budget_used_requests", "budget_free_requests", "budget_blocked_until_timestamp_seconds")
    return tuple(value(metrics, name, exchange="bitfinex") for name in names)


@pytest.mark.looptime
async def test_budgets_pools_and_the_loop_are_read_every_second() -> None:
    metrics, standing = Metrics(), Standing(Stopped(NOW_MS), NOW_MS, {"bitfinex": 30.0}, Pulse(lambda: 0.0), 60.0)
    away = Database("postgresql://nobody@127.0.0.1:9/none", size=3)
    gauges = Gauges(metrics, standing, Reports(away), {"pages": away})
    task = asyncio.get_running_loop().create_task(gauges.sample())
    await asyncio.sleep(0.5)
    assert budget_of(metrics) == (0, 0, 0), "a standby has no budget"
    assert value(metrics, "pool_connections_max", pool="pages") == 3

    budget = Budget(30.0)
    lane = Lane("bitfinex", NOTHING, budget, NOTHING, NOTHING, NOTHING, NOTHING)
    standing.working["bitfinex"] = Working(lane, NOTHING)
    await budget.acquire(Claim.CONTINUOUS)
    await asyncio.sleep(1)
    assert budget_of(metrics) == (1, 29, 0)
    budget.block(90.0)
    await asyncio.sleep(1)
    used, free, until = budget_of(metrics)
    assert (used, free) == (1, 29)
    assert until == pytest.approx(NOW_MS / 1000 + 89.5, abs=1)
    await asyncio.sleep(90)
    assert budget_of(metrics) == (0, 30, 0)

    standing.working.clear()
    await asyncio.sleep(1)
    assert budget_of(metrics) == (0, 0, 0)
    assert value(metrics, "event_loop_lag_seconds_count") == 93
    assert value(metrics, "event_loop_lag_seconds_sum") == pytest.approx(0, abs=1e-3)
    sleepers = [asyncio.get_running_loop().create_task(asyncio.sleep(100)) for _ in range(3)]
    before = value(metrics, "event_loop_tasks")
    assert before is not None
    await asyncio.sleep(1)
    assert value(metrics, "event_loop_tasks") == before + 3
    for each in (task, *sleepers):
        each.cancel()


def figures(symbol: str, wanted: int, unknown: int, missing: int) -> SeriesFigures:
    return SeriesFigures(
        series=Series("bitfinex", symbol, "1m"), derived_from=None, known_since_ms=0, first_ms=0,
        answered_from_ms=0, answered_until_ms=0, wanted_from_ms=0, history_known=True, wanted=wanted,
        stored=wanted - unknown - missing - 3, empty_once=1, empty_confirmed=2, unknown=unknown, wanted_missing=missing,
        wanted_gaps=1, open_gaps=1, missing=Missing(failed=missing), next_attempt_ms=None,
    )  # fmt: skip


def test_intervals_are_summed_and_completeness_is_weighed_by_what_is_wanted() -> None:
    known = [figures("A", 900, 90, 10), figures("B", 100, 0, 0)]
    assert intervals(known) == {"stored": 894, "empty_once": 2, "empty_confirmed": 4, "unknown": 90}
    assert completeness(known) == pytest.approx(0.9)
    assert completeness([]) == 0
