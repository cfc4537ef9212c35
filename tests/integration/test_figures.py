"""The figures kept beside the ledger, held against a count of everything, whoever changes it and in whatever order."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from marketd import planner
from marketd.blocks import union
from marketd.clock import at
from marketd.figures import SeriesReport
from marketd.model import Series
from marketd.ranges import NOTHING, Ranges, Span
from marketd.store import migrations
from marketd.store.codec import multirange, names
from marketd.store.queries import sql
from marketd.store.reports import Reports
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from tests.integration.ledger_rows import BLOCK, BTC, DAY, FIRST, START, Rows, minutes

SIZE = 1440
AUDITED = [BLOCK], [START], [START + timedelta(days=1)]
"""A block, where it begins, and where it ends."""
BLOCKS = range(BLOCK, BLOCK + 7)
ETH, XRP = Series("bitfinex", "ETHUSD", "1m"), Series("bitfinex", "XRPUSD", "1m")


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn, server_settings={"lock_timeout": "5s"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Rows]:
    async with connected(database) as connection:
        yield Rows(connection)


async def wrong(rows: Rows) -> list[tuple[Any, ...]]:
    """The series whose figures are not the sums of their ledger."""
    known = [tuple(row) for row in await rows.connection.fetch(sql("verify_series"))]
    return [series for series in known if await rows.connection.fetch(sql("i19_figures"), *series)]


async def wrong_hours(connection: "asyncpg.Connection[asyncpg.Record]") -> list[asyncpg.Record]:
    """The hours whose figures are not the sums of their runs."""
    days = await connection.fetch(sql("verify_hours"))
    found = [await connection.fetch(sql("i20_run_figures"), *day) for day in days]
    return [hour for day in found for hour in day]


async def edges(rows: Rows, series: Series = BTC) -> tuple[int | None, int | None]:
    row = await rows.connection.fetchrow(
        "SELECT answered_start, answered_end FROM series_figures WHERE (exchange, symbol, timeframe) = ($1, $2, $3)",
        *series,
    )
    assert row is not None
    return row["answered_start"], row["answered_end"]


def some(luck: random.Random, span: Span, most: int = 4) -> Ranges:
    """A few random stretches of ``span``; maybe none."""
    cuts = sorted(luck.randint(*span) for _ in range(2 * luck.randint(0, most)))
    return Ranges.of(*zip(cuts[::2], cuts[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Known:
    """What ledger, gaps, facts and backfill row say of a series; a block with empties is looked at when it opens."""

    series: Series
    answered: Ranges
    once: Ranges
    confirmed: Ranges
    gaps: tuple[tuple[str, Ranges], ...]
    first: int | None = None
    job: tuple[int | None, int | None] | None = None

    @classmethod
    def invented(cls, luck: random.Random, series: Series) -> "Known":
        """A state that keeps the promises of the ledger; often with nothing unknown between its edges."""
        whole = (BLOCKS.start * SIZE, BLOCKS.stop * SIZE)
        answered = union(
            Ranges.of(here) if luck.random() < 0.6 else some(luck, here)
            for here in ((number * SIZE, (number + 1) * SIZE) for number in BLOCKS)
            if luck.random() < 0.7
        )
        missing = some(luck, whole, 3) - answered
        if luck.random() < 0.5:
            missing |= answered.hull - answered
        split = luck.randint(*whole)
        parts = (missing & Ranges.of((whole[0], split)), missing & Ranges.of((split, whole[1])))
        once = some(luck, whole, 12) & (answered | missing)
        suspect = some(luck, whole, 1) & answered & once
        gaps = [(luck.choice(["failed", "lost", "late", "not_asked"]), part) for part in parts]
        return cls(
            series=series,
            answered=answered,
            once=once,
            confirmed=(some(luck, whole, 12) & answered) - once,
            gaps=tuple((cause, part) for cause, part in [*gaps, ("suspect", suspect)] if part),
            first=luck.choice([None, luck.randint(*whole)]),
            job=luck.choice(
                [None, (luck.choice([None, luck.randint(*whole)]), luck.choice([None, luck.randint(*whole)]))]
            ),
        )

    async def put(self, rows: Rows) -> None:
        for number in BLOCKS:
            here = Ranges.of((number * SIZE, (number + 1) * SIZE))
            answered, once = self.answered & here, self.once & here
            if answered or once:
                look_at = at(self.series.frame.open_ms(number * SIZE)) if once or self.confirmed & here else None
                await rows.block(
                    number, answered, once=once, confirmed=self.confirmed & here, series=self.series, look_at=look_at
                )
        for cause, missing in self.gaps:
            await rows.gap(cause, missing, series=self.series)
        await rows.know(self.series, first=None if self.first is None else at(self.series.frame.open_ms(self.first)))
        if self.job is not None:
            start, end = (None if number is None else at(self.series.frame.open_ms(number)) for number in self.job)
            if start is None or end is None or start < end:
                await rows.job("backfill", symbol=self.series.symbol, start=start, end=end)

    @property
    def owed(self) -> Ranges:
        return union(missing for cause, missing in self.gaps if cause != "suspect")

    def wanted(self) -> Ranges | None:
        """The wanted history; None where nobody knows where it begins or nothing is answered."""
        if not self.answered:
            return None
        start, end = self.answered.start, self.answered.end
        if self.job is not None and (None in self.job or self.job[0] < self.job[1]):  # type: ignore[operator]
            begins = [number for number in (self.job[0], self.first) if number is not None]
            start, end = max(begins, default=start), min(end, end if self.job[1] is None else self.job[1])
        return Ranges.of((start, end))

    def check(self, told: SeriesReport) -> None:
        wanted, frame = self.wanted() or NOTHING, self.series.frame
        assert told.wanted == wanted.size
        assert told.unknown == (wanted - self.answered - self.owed).size
        owed = [(missing & wanted).size for _, missing in self.gaps]
        assert (told.wanted_missing, told.wanted_gaps) == (sum(owed), sum(map(bool, owed)))
        assert told.stored == (self.answered - self.once - self.confirmed).size
        suspect = union(missing for cause, missing in self.gaps if cause == "suspect")
        assert told.empty_once == (self.once & self.answered - suspect).size
        assert told.empty_confirmed == (self.confirmed & self.answered).size
        hull = (
            (None, None) if not self.answered else tuple(map(frame.open_ms, (self.answered.start, self.answered.end)))
        )
        assert (told.answered_from_ms, told.answered_until_ms) == hull
        empties = self.once | self.confirmed
        assert told.next_look_ms == (frame.open_ms(empties.start // SIZE * SIZE) if empties else None)


@pytest.mark.parametrize("seed", range(6))
async def test_figures_of_any_ledger_are_those_of_a_count(database: str, rows: Rows, seed: int) -> None:
    luck = random.Random(seed)
    known = {series: Known.invented(luck, series) for series in (Series("bitfinex", f"S{n}", "1m") for n in range(40))}
    for state in known.values():
        await state.put(rows)
    async with Database(database, size=1) as opened:
        told = await Reports(opened).series_figures()
    assert len(told) == len(known)
    for figures in told:
        known[figures.series].check(figures)
    assert await wrong(rows) == []


def windows(luck: random.Random, known: Known) -> list[Span]:
    """Windows that hold, border on, cut and miss what is answered."""
    low, high = (BLOCKS.start - 1) * SIZE, (BLOCKS.stop + 1) * SIZE
    some_number, other = luck.randint(low, high), luck.randint(low, high)
    found = [(low, high), (min(some_number, other), max(some_number, other)), (some_number, some_number), (high, low)]
    if known.answered:
        start, end = known.answered.start, known.answered.end
        found += [(start, end), (start, end + 1), (start - 1, end), (start + 5, end), (start, end - 5), (end - 9, end)]
        found += [(low, start), (end, high), (start + 1, start + 2)]
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_unfinished_is_what_the_planner_would_ask_for(database: str, rows: Rows, seed: int) -> None:
    luck = random.Random(seed)
    states = [Known.invented(luck, Series("bitfinex", f"S{n}", "1m")) for n in range(40)]
    nothing = Known(XRP, NOTHING, NOTHING, NOTHING, ())
    for state in states:
        await state.put(rows)
    seen = set()
    async with Database(database, size=1) as opened:
        reader = SeriesReader(opened)
        asked = [(state, windows(luck, state)) for state in [*states, nothing]]
        for turn in range(max(len(spans) for _, spans in asked)):
            wanted = [(state, spans[turn % len(spans)]) for state, spans in asked]
            expected = {at for at, (state, span) in enumerate(wanted) if unknown(state, span)}
            assert await reader.unfinished([(state.series, *span) for state, span in wanted]) == expected
            seen |= {at in expected for at in range(len(wanted))}
        assert await reader.unfinished([]) == frozenset()
    assert seen == {True, False}


def unknown(state: Known, span: Span) -> Ranges:
    gaps = union(missing for _, missing in state.gaps)
    return planner.backfill(wanted=Ranges.of(span), answered=state.answered, gaps=gaps)


async def test_a_window_beyond_any_number_is_unfinished(database: str, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    async with Database(database, size=1) as opened:
        assert await SeriesReader(opened).unfinished([(BTC, -(2**31), 2**31 - 1)]) == {0}


@pytest.mark.parametrize("from_now_s", [-1, 0, 1, 86_400, 25 * 3600, 25 * 3600 + 1, 10**8])
async def test_a_series_is_due_where_one_of_its_gaps_is(database: str, rows: Rows, from_now_s: int) -> None:
    """As the planner says: what waits for longer than any gap does was opened by a clock that was ahead."""
    now_ms = 1_700_000_000_000
    gap = await rows.gap("failed", Ranges.of((FIRST, FIRST + 5)))
    attempt_ms = now_ms + 1000 * from_now_s
    await rows.connection.execute("UPDATE candle_gaps SET next_attempt_at = $2 WHERE id = $1", gap, at(attempt_ms))
    async with Database(database, size=1) as opened:
        due = await SeriesReader(opened).due_series("bitfinex", now_ms)
    assert (due == [BTC]) is planner.is_due(attempt_ms, now_ms)


async def upsert(rows: Rows, luck: random.Random) -> None:
    """What a page does, to blocks that are there and others that are not."""
    series, numbers = luck.choice([BTC, ETH, XRP]), luck.sample(BLOCKS, 3)
    answered = [some(luck, (number * SIZE, (number + 1) * SIZE)) for number in numbers]
    once = [some(luck, (number * SIZE, (number + 1) * SIZE)) for number in numbers]
    stored = [(parts - empties).size for parts, empties in zip(answered, once, strict=True)]
    three = len(numbers)
    await rows.connection.execute(
        sql("write_blocks"), *names([series] * three), numbers,
        list(map(multirange, answered)), list(map(multirange, once)),
        ["{}"] * three, ["{}"] * three, ["[]"] * three, stored, [START] * three, [None] * three, [0] * three,
    )  # fmt: skip


OTHERS = (
    "DELETE FROM candle_coverage WHERE block % 7 = $1",
    "DELETE FROM candle_coverage WHERE block IN (SELECT min(block) + $1 % 2 FROM candle_coverage)",
    "UPDATE candle_coverage SET answered = '{}', stored = 0 WHERE block % 7 = $1",
    "UPDATE candle_coverage SET answered = answered - int4multirange(int4range(block * 1440, block * 1440 + 300 * $1)),"
    " stored = marketd_size(answered - int4multirange(int4range(block * 1440, block * 1440 + 300 * $1)) - empty_once)",
    "UPDATE candle_coverage SET audited_at = now() WHERE block % 7 <> $1",
    "UPDATE candle_coverage c SET symbol = 'LTC' || symbol WHERE block % 7 = $1 AND symbol NOT LIKE 'LTC%'"
    " AND NOT EXISTS (SELECT FROM candle_coverage k WHERE k.symbol = 'LTC' || c.symbol AND k.block = c.block)",
    "DELETE FROM candle_coverage WHERE symbol LIKE 'LTC%' AND $1 = 3",
)


@pytest.mark.parametrize("seed", range(4))
async def test_figures_follow_every_change(rows: Rows, seed: int) -> None:
    luck = random.Random(seed)
    for _ in range(60):
        if luck.random() < 0.6:
            await upsert(rows, luck)
        else:
            await rows.connection.execute(luck.choice(OTHERS), luck.randrange(7))
        assert await wrong(rows) == []
    await rows.connection.execute("TRUNCATE candle_coverage")
    assert await wrong(rows) == []


async def test_an_audit_that_changes_nothing_leaves_the_figures_alone(rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), once=Ranges.of(DAY))
    version = "SELECT xmin::text || ' ' || xmax::text FROM series_figures"
    before = await rows.connection.fetchval(version)
    assert await rows.connection.fetch(sql("audit"), *BTC, *AUDITED, START) == []
    assert await rows.connection.fetchval("SELECT audited_at FROM candle_coverage") == START
    assert await rows.connection.fetchval(version) == before


async def test_a_block_that_disagrees_with_its_rows_has_its_turn_until_it_agrees(rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    wrong = await rows.connection.fetch(sql("audit"), *BTC, *AUDITED, START)
    assert [row["block"] for row in wrong] == [BLOCK]
    assert await rows.connection.fetchval("SELECT audited_at FROM candle_coverage") is None


async def test_edges_move_inwards_with_the_rows_that_held_them(rows: Rows) -> None:
    for number in range(3):
        await rows.block(BLOCK + number, minutes((number * SIZE + 10, number * SIZE + 20)))
    assert await edges(rows) == (FIRST + 10, FIRST + 2 * SIZE + 20)
    await rows.connection.execute("UPDATE candle_coverage SET answered = '{}', stored = 0 WHERE block = $1", BLOCK)
    assert await edges(rows) == (FIRST + SIZE + 10, FIRST + 2 * SIZE + 20)
    await rows.connection.execute("DELETE FROM candle_coverage WHERE block = $1", BLOCK + 2)
    assert await edges(rows) == (FIRST + SIZE + 10, FIRST + SIZE + 20)
    await rows.connection.execute("DELETE FROM candle_coverage")
    assert await edges(rows) == (None, None)


async def begun(connection: "asyncpg.Connection[asyncpg.Record]") -> Transaction:
    transaction = connection.transaction()
    await transaction.start()
    return transaction


async def waits(rows: Rows, pid: int) -> None:
    """Until the session ``pid`` waits for a lock."""
    asked = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    while not await rows.connection.fetchval(asked, pid):
        pass


async def test_pages_of_one_series_at_the_same_time_are_both_counted(database: str, rows: Rows) -> None:
    """The second waits for the first, and adds to what it finds then."""
    async with connected(database) as first, connected(database) as second:
        async with asyncio.TaskGroup() as group:
            page = await begun(first)
            await Rows(first).block(BLOCK, Ranges.of(DAY))
            later = group.create_task(Rows(second).block(BLOCK + 1, minutes((SIZE, SIZE + 9))))
            await waits(rows, second.get_server_pid())
            assert not later.done()
            await page.commit()
        assert await edges(rows) == (FIRST, FIRST + SIZE + 9)
        assert await wrong(rows) == []


async def test_an_edge_is_looked_up_after_others_have_moved_it(database: str, rows: Rows) -> None:
    """One deletes the oldest block while another, not yet committed, has written an older one."""
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.block(BLOCK + 1, minutes((SIZE, SIZE + 9)))
    async with connected(database) as first, connected(database) as second:
        async with asyncio.TaskGroup() as group:
            page = await begun(first)
            await Rows(first).block(BLOCK - 1, minutes((-7, 0)))
            group.create_task(second.execute("DELETE FROM candle_coverage WHERE block = $1", BLOCK))
            await waits(rows, second.get_server_pid())
            await page.commit()
        assert await edges(rows) == (FIRST - 7, FIRST + SIZE + 9)
        assert await wrong(rows) == []


async def test_series_are_taken_in_the_order_of_their_key(database: str, rows: Rows) -> None:
    """A statement over two series that waits for the first one does not hold the second: nobody waits in a ring."""
    for series in (BTC, ETH):
        await rows.block(BLOCK, Ranges.of(DAY), series=series)
    both = "UPDATE candle_coverage SET answered = '{}', stored = 0 WHERE block = $1"
    async with connected(database) as first, connected(database) as second:
        async with asyncio.TaskGroup() as group:
            page = await begun(first)
            await Rows(first).block(BLOCK + 1, minutes((SIZE, SIZE + 9)))
            group.create_task(second.execute(both, BLOCK))
            await waits(rows, second.get_server_pid())
            await rows.block(BLOCK + 1, minutes((SIZE, SIZE + 9)), series=ETH)
            await page.commit()
        assert await wrong(rows) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE series_figures SET stored = stored + 1",
        "UPDATE series_figures SET answered_start = answered_start - 1",
        "UPDATE series_figures SET answered_end = NULL",
        "DELETE FROM series_figures",
        "UPDATE series_figures SET symbol = 'OTHER'",
        "ALTER TABLE candle_coverage DISABLE TRIGGER USER; UPDATE candle_coverage SET empty_once = '{}', stored = 1440",
    ],
)
async def test_verify_finds_wrong_figures_and_the_owner_can_count_anew(rows: Rows, damage: str) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), once=minutes((5, 9)))
    assert await wrong(rows) == []
    await rows.connection.execute(damage)
    assert tuple(BTC) in await wrong(rows)
    await rows.connection.execute("SELECT marketd_count_figures()")
    assert await wrong(rows) == []


async def test_the_migration_counts_what_is_there(empty_database: str) -> None:
    known = migrations.load()
    async with connected(empty_database) as connection:
        await migrations.apply(connection, known[:3])
        rows = Rows(connection)
        await rows.block(BLOCK, Ranges.of(DAY), once=minutes((5, 9)))
        await rows.block(BLOCK + 1, NOTHING)
        gap = await rows.gap("failed", minutes((SIZE + 3, SIZE + 9), (SIZE + 20, SIZE + 21)))
        await migrations.apply(connection, known)
        assert await wrong(rows) == []
        assert await edges(rows) == DAY
        assert await connection.fetchval("SELECT missing_size FROM candle_gaps WHERE id = $1", gap) == 7


RUNS = (
    "UPDATE market_data_job_runs SET status = 'success', completed_at = now() WHERE status = 'running'",
    "UPDATE market_data_job_runs SET status = 'interrupted', completed_at = now() WHERE status = 'running'",
    "UPDATE market_data_job_runs SET candles_inserted = candles_inserted + 7 WHERE status = 'running'",
    "UPDATE market_data_job_runs SET candles_inserted = candles_inserted + 1 WHERE id % 3 = 0",
    "UPDATE market_data_job_runs SET started_at = started_at - interval '50 minutes' WHERE id % 5 = 0",
    "DELETE FROM market_data_job_runs WHERE id % 4 = 0",
)
BY_STATUS = (
    "SELECT r.status, count(*) AS runs, count(*) FILTER (WHERE r.started_at > now() - interval '24 hours') AS started,"
    " coalesce(sum(candles_inserted) FILTER (WHERE r.started_at > now() - interval '24 hours'), 0)::bigint AS candles"
    " FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id"
    " WHERE $1::text IS NULL OR j.exchange = $1 GROUP BY r.status"
)


async def more_runs(rows: Rows, luck: random.Random, jobs: list[int]) -> None:
    """Runs that began around the hours of now and of a day ago, and one that still runs."""
    for job in jobs:
        ago = timedelta(minutes=luck.randint(0, 150)) + luck.choice([timedelta(), timedelta(hours=22, minutes=45)])
        status = luck.choice(["success", "partial", "failed", "skipped", "interrupted"])
        await rows.connection.execute(
            "INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status,"
            " candles_inserted, error_message) VALUES"
            " ($1, clock_timestamp(), now() - $2::interval, now(), $3, $4, 'because')",
            job, ago, status, luck.randint(0, 99),
        )  # fmt: skip
    await rows.connection.execute(
        "INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, status, candles_inserted)"
        " VALUES ($1, clock_timestamp(), now() - $2::interval, 'running', 5) ON CONFLICT DO NOTHING",
        luck.choice(jobs), timedelta(minutes=luck.randint(0, 2000)),
    )  # fmt: skip


async def check_day(rows: Rows, reports: Reports, exchange: str | None) -> None:
    """What is told of the day is what a count of all runs says."""
    counted = {row["status"]: row for row in await rows.connection.fetch(BY_STATUS, exchange)}
    told = await reports.runs_24h(exchange)
    assert told.total == sum(row["started"] for row in counted.values())
    assert told.candles == sum(row["candles"] for row in counted.values())
    assert told.running == (counted["running"]["runs"] if "running" in counted else 0)
    for status in ("success", "partial", "failed", "interrupted", "skipped"):
        assert getattr(told, status) == (counted[status]["started"] if status in counted else 0)


@pytest.mark.parametrize("seed", range(3))
async def test_the_day_follows_every_run(database: str, rows: Rows, seed: int) -> None:
    luck = random.Random(seed)
    jobs = [await rows.job(job_type) for job_type in ("continuous", "gap_repair")]
    other = "INSERT INTO market_data_jobs (exchange, job_type) VALUES ('kraken', 'gap_repair') RETURNING id"
    jobs.append(await rows.connection.fetchval(other))
    async with Database(database, size=1) as opened:
        for _ in range(25):
            await more_runs(rows, luck, jobs)
            await rows.connection.execute(luck.choice(RUNS))
            for exchange in (None, "kraken", "nobody"):
                await check_day(rows, Reports(opened), exchange)
        assert await wrong_hours(rows.connection) == []
        await rows.connection.execute("UPDATE run_figures SET failed = failed + 1 WHERE exchange = 'kraken'")
        found = await wrong_hours(rows.connection)
        assert {row["exchange"] for row in found} == {"kraken"}
        await rows.connection.execute("SELECT marketd_count_figures()")
        assert await wrong_hours(rows.connection) == []
        await rows.connection.execute("TRUNCATE market_data_job_runs")
        await check_day(rows, Reports(opened), None)
