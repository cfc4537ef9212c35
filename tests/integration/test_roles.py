"""The runtime role can do all of the work, and cannot change the schema or erase history; the reader only reads."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.errors import PrivilegeError
from marketd.model import JobRow, JobType, RunStatus, Series
from marketd.rehearsal.market import synthetic
from marketd.store.leases import Leases
from marketd.store.oracle import Oracle
from marketd.store.orders import OrderRow, Orders
from marketd.store.runs import Runs
from marketd.store.session import Database
from marketd.verification import hold
from tests.harness import bench
from tests.roles import login

DAY = 86_400_000
START = 1_700_006_400_000
BTC = Series("bitfinex", "BTCUSD", "1m")
WEEK = Series("bitfinex", "BTCUSD", "1w")


@pytest.fixture
async def owner(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_the_runtime_role_works(database: str, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    dsn = await login(owner, database, "marketd_run")
    market, clock = synthetic(7, ("BTCUSD",), START, START + 40 * DAY, 0.2), ScaledClock(START + 20 * DAY)
    async with bench(dsn, market, clock) as b:
        assert (await b.backfill(BTC, WEEK)).status is RunStatus.SUCCESS
        await owner.execute("DELETE FROM candles WHERE extract(minute FROM open_time) = 7")
        clock.jump(4000)
        assert (await b.continuous(BTC)).status is RunStatus.SUCCESS
        outcome = await b.repair(BTC, by_hand=True)
        assert (outcome.status, outcome.tally.gaps_closed > 0) == (RunStatus.SUCCESS, True)
        job = await b.runs.add_job(JobRow(*BTC, JobType.BACKFILL, origin="file", owner="here"))
        await b.runs.note_job(job, "success", None)
        assert await b.violations() == {}


async def test_whoever_reads_may_verify_and_the_runtime_role_keeps_what_it_found(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with Database(await login(owner, database, "marketd_read")) as opened:
        found = (await hold(Oracle(opened), 0)).summary
        with pytest.raises(PrivilegeError):
            await Oracle(opened).record(found)
    async with Database(await login(owner, database, "marketd_run")) as opened:
        await Oracle(opened).record(found)
        with pytest.raises(PrivilegeError):
            async with opened.session() as connection:
                await connection.execute("DELETE FROM verify_runs")
    assert await owner.fetchval("SELECT count(*) FROM verify_runs") == 1


async def test_the_runtime_role_keeps_auto_rows_notes_refusals_and_carries_out_orders(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    insert = "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type) VALUES ($1, $2, $3, $4) RETURNING id"
    cause = await owner.fetchval(insert, "bitfinex", "BTCUSD", "1m", "continuous")
    bad = await owner.fetchval(insert, "nowhere", "BTCUSD", "1m", "continuous")
    async with Database(await login(owner, database, "marketd_run")) as opened:
        runs, orders = Runs(opened), Orders(opened)
        digest = await runs.jobs_digest()
        await runs.keep_auto([cause], [], [])
        await runs.keep_auto([cause], [], [])
        assert await runs.jobs_digest() != digest
        auto = [row for row in await runs.backfill_rows() if row["origin"] == "auto"]
        assert [(row["caused_by"], row["enabled"]) for row in auto] == [(cause, True)], "several daemons make one"
        await runs.keep_auto([], [], [auto[0]["id"]])
        assert [(row["enabled"], row["status"]) for row in await runs.backfill_rows()] == [(False, "not needed")]
        await runs.note_refused({bad: "unknown exchange"})
        assert await owner.fetchval("SELECT last_error FROM market_data_jobs WHERE id = $1", bad) == "unknown exchange"

        lease = await Leases(opened, "here", "daemon").take("bitfinex")
        given = await orders.give([OrderRow(*BTC, JobType.BACKFILL, refetch=True)] * 3, "me")
        assert [(row["id"], row["run_id"]) for row in await orders.open("bitfinex")] == [(id, None) for id in given]
        run = (await runs.begin("bitfinex", [(given[0], 1000)], lease.epoch))[given[0]]
        await orders.withdraw([given[1]])
        states = await orders.follow(given)
        assert [(states[id].status, states[id].ended) for id in given] == [
            (RunStatus.RUNNING, False), (None, True), (None, False),
        ]  # fmt: skip
        await owner.execute("UPDATE market_data_job_runs SET candles_inserted = 5 WHERE id = $1", run)
        await runs.finish(run, RunStatus.SUCCESS, None, 3)
        state = (await orders.follow(given))[given[0]]
        assert (state.status, state.tally.requests, state.waiting) == (RunStatus.SUCCESS, 3, False)
        assert state.tally.inserted == 5
        assert [row["id"] for row in await orders.open("bitfinex")] == [given[2]]
        await orders.withdraw_all("somebody else")
        assert len(await orders.open("bitfinex")) == 1
        await orders.withdraw_all("me")
        assert await orders.open("bitfinex") == []


@pytest.mark.parametrize(
    "forbidden",
    [
        "DELETE FROM candles",
        "TRUNCATE candles",
        "DELETE FROM candle_coverage",
        "DELETE FROM candle_gaps",
        "DELETE FROM market_data_job_runs",
        "UPDATE candle_revisions SET old_open = 1",
        "ALTER TABLE candles ADD COLUMN x int",
        "DROP TABLE candles",
        "CREATE TABLE mine (x int)",
        "INSERT INTO market_data_jobs (exchange, job_type) VALUES ('bitfinex', 'backfill')",
        "UPDATE marketd_schema SET version = 9",
        "UPDATE series_figures SET stored = 0",
        "DELETE FROM series_figures",
        "UPDATE run_figures SET failed = 0",
        "SELECT marketd_count_figures()",
    ],
)
async def test_the_runtime_role_may_not(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]", forbidden: str
) -> None:
    connection = await asyncpg.connect(await login(owner, database, "marketd_run"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    finally:
        await connection.close()


async def test_the_runtime_role_changes_no_job_of_others(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await owner.execute("INSERT INTO market_data_jobs (exchange, job_type) VALUES ('bitfinex', 'backfill')")
    connection = await asyncpg.connect(await login(owner, database, "marketd_run"))
    try:
        assert await connection.execute("UPDATE market_data_jobs SET enabled = false") == "UPDATE 0"
        await connection.execute("SELECT marketd_note_job(id, 'failed', 'because') FROM market_data_jobs")
        row = await connection.fetchrow("SELECT enabled, status, last_error FROM market_data_jobs")
        assert row is not None
        assert tuple(row) == (True, "failed", "because")
    finally:
        await connection.close()


async def test_the_reader_reads_and_does_nothing_else(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    connection = await asyncpg.connect(await login(owner, database, "marketd_read"))
    try:
        for table in (
            "candles",
            "candle_coverage_times",
            "series_figures",
            "candle_gaps",
            "market_data_jobs",
            "market_data_job_runs",
        ):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO market_series VALUES ('a', 'b', '1m')")
    finally:
        await connection.close()


async def test_no_table_of_its_own_gives_the_runtime_role_the_rights_of_the_owner(
    database: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A temporary table is found before others of its name, unless a function says where it looks."""
    job = await owner.fetchval(
        "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type) "
        "VALUES ('bitfinex', 'BTCUSD', '1m', 'backfill') RETURNING id"
    )
    runner = await asyncpg.connect(await login(owner, database, "marketd_run"))
    try:
        for table, time in (("run_figures", "hour"), ("series_figures", "symbol"), ("market_data_jobs", "id")):
            await runner.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL); SELECT '{time}'")
        await runner.execute(
            "CREATE FUNCTION pg_temp.strike() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN DELETE FROM public.market_data_jobs; RETURN NEW; END'"
        )
        for table in ("run_figures", "series_figures", "market_data_jobs"):
            await runner.execute(
                f"CREATE TRIGGER strike BEFORE INSERT OR UPDATE ON pg_temp.{table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.strike()"
            )
        await runner.execute(
            "INSERT INTO public.market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status) "
            "VALUES ($1, now(), now(), now(), 'success')",
            job,
        )
        await runner.execute("SELECT public.marketd_note_job($1, 'success', NULL)", job)
    finally:
        await runner.close()
    assert await owner.fetchval("SELECT count(*) FROM public.market_data_jobs") == 1
    assert await owner.fetchval("SELECT sum(success) FROM public.run_figures") == 1


async def test_every_function_with_its_owners_rights_says_where_it_looks(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    found = await owner.fetch(
        "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert len(found) >= 4
    assert [row["proname"] for row in found if "search_path=public, pg_temp" not in row["proconfig"]] == []
