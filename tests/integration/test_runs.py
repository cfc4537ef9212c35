"""The rows of runs: what a holder that was overtaken may not write, and what is begun or ends unheard."""

import asyncpg
import pytest

from marketd.errors import LeaseLost
from marketd.model import JobRow, JobType, RunStatus
from marketd.store.leases import Leases
from marketd.store.orders import OrderRow, Orders
from marketd.store.runs import Runs
from marketd.store.session import Database

BTC = JobRow("bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, "* * * * *")


async def test_a_holder_that_was_overtaken_neither_begins_nor_skips_a_firing(database: str) -> None:
    """fault_29."""
    async with Database(database, size=2) as opened:
        runs = Runs(opened)
        job = await runs.add_job(BTC)
        old = await Leases(opened, "old", "daemon").take("bitfinex")
        async with opened.session() as connection:
            await connection.execute("UPDATE exchange_leases SET expires_at = clock_timestamp() - interval '1 second'")
        new = await Leases(opened, "new", "daemon").take("bitfinex")
        with pytest.raises(LeaseLost):
            await runs.skip("bitfinex", [(job, 60_000)], old.epoch, "still under way")
        with pytest.raises(LeaseLost):
            await runs.begin("bitfinex", [(job, 60_000)], old.epoch)
        assert job in await runs.begin("bitfinex", [(job, 60_000)], new.epoch)


async def test_what_is_under_way_is_told_apart_from_orders_and_from_what_has_ended(database: str) -> None:
    async with Database(database, size=2) as opened:
        runs = Runs(opened)
        lease = await Leases(opened, "here", "daemon").take("bitfinex")
        jobs = [await runs.add_job(BTC) for _ in range(2)]
        (order,) = await Orders(opened).give([OrderRow("bitfinex", "BTCUSD", "1m", JobType.BACKFILL)], "me")
        begun = await runs.begin("bitfinex", [(number, 60_000) for number in (*jobs, order)], lease.epoch)
        await runs.finish(begun[jobs[0]], RunStatus.SUCCESS, None, 1)
        assert await runs.under_way("bitfinex", lease.epoch) == {jobs[1]: begun[jobs[1]]}
        assert await runs.under_way("bitfinex", lease.epoch + 1) == {}
        (row,) = await Orders(opened).open("bitfinex")
        assert (row["run_id"], row["run_status"], row["epoch"]) == (begun[order], "running", lease.epoch)


async def test_a_run_that_ends_after_its_auto_row_was_disabled_leaves_it_not_needed(database: str) -> None:
    """fault_60."""
    async with Database(database, size=2) as opened:
        runs = Runs(opened)
        lease = await Leases(opened, "here", "daemon").take("bitfinex")
        cause = await runs.add_job(BTC)
        await runs.keep_auto([cause], [], [])
        (auto,) = await runs.backfill_rows()
        run = (await runs.begin("bitfinex", [(auto["id"], 60_000)], lease.epoch))[auto["id"]]
        await runs.keep_auto([], [], [auto["id"]])
        await runs.finish(run, RunStatus.INTERRUPTED, None, 1)
        (auto,) = await runs.backfill_rows()
        assert (auto["enabled"], auto["status"]) == (False, "not needed")


async def test_a_backfill_row_that_was_removed_keeps_no_other_from_being_made(database: str) -> None:
    async with Database(database, size=2) as opened:
        runs = Runs(opened)
        removed = await runs.add_job(JobRow("bitfinex", "BTCUSD", "1m", JobType.BACKFILL, origin="cli"))
        connection = await asyncpg.connect(database)
        try:
            await connection.execute(
                "UPDATE market_data_jobs SET enabled = false, removed_at = now() WHERE id = $1", removed
            )
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute("INSERT INTO exchange_pauses VALUES ('bitfinex', '20000-01-01')")
        finally:
            await connection.close()
        assert await runs.backfill_rows() == []


async def test_the_end_of_a_run_takes_nothing_back_that_its_pages_have_counted(database: str) -> None:
    """fault_2. Who is cancelled while a page is committed does not hear of it: its row knows more than it does."""
    async with Database(database, size=2) as opened:
        runs = Runs(opened)
        lease = await Leases(opened, "here", "daemon").take("bitfinex")
        job = await runs.add_job(BTC)
        run = (await runs.begin("bitfinex", [(job, 60_000)], lease.epoch))[job]
        async with opened.session() as connection:
            await connection.execute(
                "UPDATE market_data_job_runs SET requests = 2, candles_fetched = 26, candles_inserted = 16, "
                "candles_updated = 5, empties = 3, gaps_opened = 2, gaps_closed = 4 WHERE id = $1",
                run,
            )
        await runs.finish(run, RunStatus.INTERRUPTED, "cancelled", 1)
        async with opened.session() as connection:
            row = await connection.fetchrow("SELECT * FROM market_data_job_runs WHERE id = $1", run)
    assert row is not None
    assert row["requests"] == 2
    assert [row[f"candles_{what}"] for what in ("fetched", "inserted", "updated")] == [26, 16, 5]
    assert [row[what] for what in ("empties", "gaps_opened", "gaps_closed")] == [3, 2, 4]
