"""The walk's pipeline: storing one page while the next one is fetched."""

import asyncio

import pytest

from marketd.clock import ScaledClock
from marketd.errors import LeaseLost
from marketd.model import JobType, Series
from marketd.rehearsal import synthetic
from tests.harness import bench

NOW_MS = 1_709_251_205_000  # 2024-03-01 00:00:05
MINUTES = Series("bitfinex", "BTCUSD", "1m")


async def test_a_store_that_fails_leaves_no_cancellation_behind(database: str) -> None:
    """Python 3.11 counts one for a child that failed in a task group: a later failure must still be told as it is."""
    market = synthetic(1, ["BTCUSD"], NOW_MS - 10 * 86_400_000, NOW_MS + 86_400_000)
    async with bench(database, market, ScaledClock(NOW_MS), page=1000) as desk:
        order, account = await desk.begun(JobType.BACKFILL, MINUTES)
        await desk.fetch("UPDATE exchange_leases SET epoch = epoch + 1")
        with pytest.raises(LeaseLost):
            await desk.runner.run(order, account)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert desk.server.stats.as_dict(0)["rows"] == 2001
