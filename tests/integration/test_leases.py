"""The lease of an exchange: one holder at a time, and what the next one is told."""

import asyncio

import pytest

from marketd.clock import ScaledClock
from marketd.errors import ExchangeHeld, LeaseLost
from marketd.model import JobType, RunStatus, Series
from marketd.rehearsal.market import synthetic
from marketd.store.leases import Lease, Leases
from marketd.store.session import Database
from tests.daemons import until
from tests.harness import bench
from tests.oracle import violations

DAY = 86_400_000
START = 1_700_006_400_000


async def let_it_expire(opened: Database) -> None:
    async with opened.session() as connection:
        await connection.execute("UPDATE exchange_leases SET expires_at = clock_timestamp() - interval '1 second'")


async def overtaken(opened: Database) -> tuple[Lease, Lease]:
    """A lease that ran out, and the one that was taken after it."""
    old = await Leases(opened, "old", "daemon").take("bitfinex")
    await let_it_expire(opened)
    return old, await Leases(opened, "new", "command").take("bitfinex")


async def test_the_living_holder_is_named_to_whoever_comes_second(database: str) -> None:
    async with Database(database, size=2) as opened:
        first, second = Leases(opened, "first", "daemon"), Leases(opened, "second", "command")
        held = await first.take("bitfinex")
        with pytest.raises(ExchangeHeld, match="bitfinex is worked on by daemon first"):
            await second.take("bitfinex")
        refused = await second.try_take("bitfinex")
        assert isinstance(refused, ExchangeHeld)
        assert (refused.kind, refused.holder) == ("daemon", "first")
        await first.renew(held)  # the attempts have not shaken it
        assert isinstance(await second.try_take("kraken"), Lease)


async def test_a_lease_that_ran_out_is_taken_over_once(database: str) -> None:
    async with Database(database, size=2) as opened:
        old, new = await overtaken(opened)
        assert new.epoch > old.epoch
        with pytest.raises(LeaseLost, match="another process has taken bitfinex over"):
            await Leases(opened, "old", "daemon").renew(old)
        refused = await Leases(opened, "old", "daemon").try_take("bitfinex")
        assert isinstance(refused, ExchangeHeld)
        assert refused.holder == "new"


async def test_a_holder_that_was_overtaken_releases_nothing(database: str) -> None:
    async with Database(database, size=2) as opened:
        leases = Leases(opened, "old", "daemon")
        old, new = await overtaken(opened)
        await leases.release(old)
        assert await leases.is_held("bitfinex")
        await leases.release(new)
        assert not await leases.is_held("bitfinex")


async def test_a_lease_is_held_until_it_runs_out_and_again_when_it_is_renewed(database: str) -> None:
    async with Database(database, size=2) as opened:
        leases = Leases(opened, "here", "daemon")
        assert not await leases.is_held("bitfinex")
        lease = await leases.take("bitfinex")
        assert await leases.is_held("bitfinex")
        await let_it_expire(opened)
        assert not await leases.is_held("bitfinex")
        await leases.renew(lease)
        assert await leases.is_held("bitfinex")


async def test_a_ban_is_told_to_the_next_holder_until_it_is_over(database: str) -> None:
    async with Database(database, size=2) as opened:
        leases = Leases(opened, "here", "daemon")
        lease = await leases.take("bitfinex")
        assert lease.blocked_s == 0
        await leases.note_block(lease, 60)
        await leases.release(lease)
        banned = await leases.take("bitfinex")
        assert 50 < banned.blocked_s <= 60
        await leases.release(banned)
        async with opened.session() as connection:
            await connection.execute(
                "UPDATE exchange_leases SET blocked_until = clock_timestamp() - interval '1 second'"
            )
        assert (await leases.take("bitfinex")).blocked_s == 0


async def test_a_takeover_waits_for_a_page_that_has_been_counted_and_neither_is_sacrificed(database: str) -> None:
    """fault_29: both lock the lease first and the run after it, or the server would end one of them as a deadlock."""
    market, clock = synthetic(3, ("BTCUSD",), START, START + 2 * DAY, 0.2), ScaledClock(START + DAY)
    async with bench(database, market, clock) as b, Database(database, size=3) as opened:
        async with opened.session() as connection:
            await connection.execute(_SLOW_COUNT)
        await let_it_expire(opened)
        order, account = await b.begun(JobType.BACKFILL, Series("bitfinex", "BTCUSD", "1m"))
        async with opened.session() as waited_for:
            await waited_for.execute("SELECT pg_advisory_lock(1)")
            async with asyncio.TaskGroup() as group:
                page = group.create_task(b.runner.run(order, account))
                await until(lambda: waiting(opened, "advisory"))
                taking = group.create_task(Leases(opened, "new", "command").take("bitfinex"))
                await until(lambda: waiting(opened, "tuple", "transactionid"))
                await waited_for.execute("SELECT pg_advisory_unlock(1)")
        assert taking.result().epoch == b.lease.epoch + 1
        assert page.result().status is RunStatus.SUCCESS
        assert await violations(database) == {}


_SLOW_COUNT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
CREATE TRIGGER wait AFTER UPDATE ON market_data_job_runs FOR EACH ROW
    WHEN (new.candles_fetched > old.candles_fetched) EXECUTE FUNCTION wait();
"""


async def waiting(opened: Database, *kinds: str) -> bool:
    async with opened.session() as connection:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = ANY ($1)",
                list(kinds),
            )
        )
