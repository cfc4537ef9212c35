"""Figures from a real database: rows are put in as the daemon would leave them, figures are read back."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from marketd.clock import ms_of
from marketd.errors import DatabaseUnavailable, SchemaError
from marketd.figures import Missing
from marketd.model import Cause, RunStatus, Series
from marketd.ranges import Ranges
from marketd.store.queries import sql
from marketd.store.reports import Reports, stretches
from marketd.store.session import Database
from tests.integration.ledger_rows import BLOCK, BTC, DAY, FIRST, START, Rows, minutes


@pytest.fixture
async def reports(database: str) -> AsyncIterator[Reports]:
    async with Database(database, size=2) as opened:
        yield Reports(opened)


async def test_an_empty_database_has_no_figures(reports: Reports) -> None:
    assert await reports.ping() >= 0
    assert (await reports.tables()).missing == ()
    assert (await reports.tables()).candles
    assert (await reports.totals()).stored == 0
    assert await reports.series_figures() == ()
    assert await reports.answered() == ()
    assert await reports.runs() == ()
    assert await reports.jobs() == ()
    assert await reports.leases() == ()
    day = await reports.runs_24h()
    assert (day.total, day.last_run, day.last_success_ms) == (0, None, None)
    summary = await reports.gaps_summary()
    assert (summary.open_gaps, summary.repaired_24h, summary.oldest_open_ms) == (0, 0, None)
    assert (await reports.gaps()).total == 0


async def test_a_database_without_our_schema_is_named(empty_database: str) -> None:
    async with Database(empty_database, size=1) as opened:
        reports = Reports(opened)
        tables = await reports.tables()
        assert not tables.candles
        assert "candle_coverage" in tables.missing
        with pytest.raises(SchemaError):
            await reports.series_figures()


async def test_a_database_that_is_away_is_named() -> None:
    async with Database("postgresql://nobody@127.0.0.1:9/none", size=1) as opened:
        with pytest.raises(DatabaseUnavailable):
            await Reports(opened).ping()


async def test_figures_of_a_series(rows: Rows, reports: Reports) -> None:
    """A full day with holes, then half a day with a failed and a suspect gap."""
    await rows.know(first=START)
    look = START + timedelta(days=9)
    await rows.block(BLOCK, Ranges.of(DAY), once=minutes((10, 12)), confirmed=minutes((20, 30)), look_at=look)
    half = minutes((1440, 1500), (1503, 2160))
    await rows.block(BLOCK + 1, half, once=minutes((2000, 2040)))
    await rows.gap("failed", minutes((1500, 1503)))
    await rows.gap("suspect", minutes((2000, 2040)))
    await rows.gap("late", minutes((2160, 2162)))
    await rows.gap("lost", minutes((3, 4)), repaired="stored")
    await rows.candle(FIRST)
    await rows.candle(FIRST + 2159)
    (figures,) = await reports.series_figures()
    assert figures.series == BTC
    assert figures.first_ms == figures.oldest_ms == figures.answered_from_ms == figures.wanted_from_ms == ms_of(START)
    assert figures.latest_ms == BTC.frame.open_ms(FIRST + 2159)
    assert figures.answered_until_ms == BTC.frame.open_ms(FIRST + 2160)
    assert figures.stored == 1440 - 12 + 60 + 657 - 40
    assert (figures.empty_once, figures.empty_confirmed, figures.empty) == (2, 10, 12)
    assert figures.missing == Missing(failed=3, late=2, suspect=40)
    assert figures.missing.by_cause()[Cause.SUSPECT] == 40
    assert figures.missing.total == 45
    assert (figures.open_gaps, figures.wanted_gaps, figures.wanted_missing) == (3, 2, 43)
    assert (figures.wanted, figures.unknown) == (2160, 0)
    assert figures.next_look_ms == ms_of(look)
    assert not figures.complete
    assert figures.completeness == pytest.approx((2160 - 43) / 2160)


async def test_states_of_all_wanted_intervals_add_up(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, minutes((100, 200), (300, 1440)), confirmed=minutes((100, 110)))
    await rows.block(BLOCK + 2, minutes((2880, 2900)))
    await rows.gap("not_asked", minutes((250, 260)))
    (figures,) = await reports.series_figures()
    assert figures.wanted == 2800
    assert figures.unknown == 2800 - 100 - 1140 - 20 - 10
    assert figures.stored + figures.empty + figures.missing.total + figures.unknown == figures.wanted


async def test_complete_means_nothing_unknown_and_nothing_owed(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), confirmed=minutes((20, 30)))
    (figures,) = await reports.series_figures()
    assert figures.complete
    assert figures.completeness == 1.0
    await rows.gap("lost", minutes((40, 41)))
    (figures,) = await reports.series_figures()
    assert not figures.complete


async def test_wanted_history_begins_where_the_backfill_says(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.job("backfill", start=START - timedelta(days=1, seconds=30))
    (figures,) = await reports.series_figures()
    assert figures.wanted_from_ms == ms_of(START - timedelta(days=1))
    assert (figures.wanted, figures.unknown) == (2880, 1440)
    await rows.know(first=START - timedelta(hours=1))
    (figures,) = await reports.series_figures()
    assert (figures.wanted, figures.unknown, figures.complete) == (1500, 60, False)


async def test_coverage_before_the_wanted_history_counts_for_nothing(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, minutes((0, 10), (100, 1440)))
    await rows.job("backfill", start=START + timedelta(minutes=100), end=START + timedelta(minutes=1000))
    (figures,) = await reports.series_figures()
    assert (figures.wanted, figures.unknown, figures.complete) == (900, 0, True)


async def test_an_explicit_backfill_beats_a_wildcard(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.job("backfill", symbol=None, timeframe=None, start=START - timedelta(days=30))
    await rows.job("backfill", start=START)
    (figures,) = await reports.series_figures()
    assert figures.complete


async def test_a_backfill_from_an_unknown_first_candle_is_never_complete(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.job("backfill")
    (figures,) = await reports.series_figures()
    assert (figures.history_known, figures.unknown, figures.complete) == (False, 0, False)
    await rows.know(first=START)
    (figures,) = await reports.series_figures()
    assert figures.complete


async def test_a_derived_series_begins_with_its_parent(rows: Rows, reports: Reports) -> None:
    week = Series("bitfinex", "BTCUSD", "1w")
    await rows.know(first=START + timedelta(days=3))
    await rows.know(week, parent="1m")
    number = week.frame.number(ms_of(START))
    await rows.block(number // 1440, Ranges.of((number, number + 2)), series=week)
    await rows.job("backfill", symbol=None, timeframe=None)
    figures = (await reports.series_figures(timeframe="1w"))[0]
    assert figures.derived_from == "1m"
    assert figures.wanted_from_ms == ms_of(START)
    assert figures.complete


async def test_series_are_known_from_ledger_facts_or_jobs_and_paged(rows: Rows, reports: Reports) -> None:
    eth, xrp = Series("bitfinex", "ETHUSD", "1h"), Series("bitfinex", "XRPUSD", "5m")
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.know(eth)
    await rows.job(symbol="XRPUSD", timeframe="5m")
    await rows.job(symbol="LTCUSD", timeframe="5m", origin="order")
    everything = await reports.series_figures()
    assert [figures.series for figures in everything] == [BTC, eth, xrp]
    first = await reports.series_figures(limit=2)
    assert [figures.series for figures in first] == [BTC, eth]
    rest = await reports.series_figures(limit=2, cursor=eth)
    assert [figures.series for figures in rest] == [xrp]
    assert [figures.series for figures in await reports.series_figures(symbol="ETHUSD")] == [eth]
    assert await reports.series_figures("kraken") == ()
    never = rest[0]
    assert (never.answered_until_ms, never.stored, never.completeness, never.complete) == (None, 0, None, False)


async def test_answered_ignores_a_newest_block_of_gaps_only(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.block(BLOCK + 1, Ranges())
    await rows.block(0, Ranges.of((5, 7)), series=Series("kraken", "BTCUSD", "1d"))
    eth = Series("bitfinex", "ETHUSD", "1h")
    await rows.know(eth)
    found = {entry.series: entry.until_ms for entry in await reports.answered()}
    assert found == {BTC: BTC.frame.open_ms(FIRST + 1440), eth: None, Series("kraken", "BTCUSD", "1d"): 7 * 86_400_000}


async def test_totals_come_from_the_ledger(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), confirmed=minutes((0, 40)))
    await rows.gap("late", minutes((1440, 1442)))
    totals = await reports.totals()
    assert (totals.stored, totals.open_gaps) == (1400, 1)


async def test_no_query_counts_candles(rows: Rows) -> None:
    """Figures come without the candle table; what is said of a series besides reads single rows of it, by its index."""
    await rows.block(BLOCK, Ranges.of(DAY))
    for number in range(FIRST, FIRST + 50):
        await rows.candle(number)
    await rows.connection.execute("ANALYZE")
    await rows.connection.execute("SET enable_seqscan = off")
    read = {}
    for name in ("report_series", "report_series_last"):
        explain = "EXPLAIN (ANALYZE, FORMAT JSON) " + sql(name)
        plan = json.loads(await rows.connection.fetchval(explain, *([part] for part in BTC)))
        read[name] = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") == "candles"]
    assert [len(nodes) for nodes in read.values()] == [0, 2]
    assert all("Index" in node["Node Type"] and node["Actual Rows"] <= 1 for node in read["report_series_last"])


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


async def test_runs_newest_first_and_paged(rows: Rows, reports: Reports) -> None:
    job, other = await rows.job(), await rows.job("gap_repair", symbol=None, timeframe=None)
    ids = [await rows.run(job, ago=timedelta(hours=3 - at), inserted=at) for at in range(3)]
    failed = await rows.run(other, ago=timedelta(minutes=1), status="failed")
    found = await reports.runs(job)
    assert [run.id for run in found] == ids[::-1]
    assert found[0].inserted == 2
    assert [run.id for run in await reports.runs(job, limit=2, cursor=ids[2])] == [ids[1], ids[0]]
    assert [run.id for run in await reports.runs(limit=2)] == [failed, ids[2]]
    assert (await reports.runs(other))[0].status is RunStatus.FAILED
    assert (await reports.runs(other))[0].error == "because"
    assert await reports.job_exists(job)
    assert not await reports.job_exists(10**6)


async def test_the_day_counts_by_status(rows: Rows, reports: Reports) -> None:
    job, other = await rows.job(), await rows.job("gap_repair", symbol=None, timeframe=None)
    await rows.run(job, ago=timedelta(days=2), inserted=1000)
    await rows.run(job, ago=timedelta(hours=2), inserted=7)
    await rows.run(job, ago=timedelta(hours=1), status="failed", inserted=3)
    running = await rows.run(other, ago=timedelta(minutes=1), status="running")
    day = await reports.runs_24h()
    assert (day.total, day.success, day.failed, day.running, day.candles) == (3, 1, 1, 1, 10)
    assert day.last_run is not None
    assert day.last_run.id == running
    assert day.last_success_ms is not None
    assert (await reports.runs_24h("kraken")).total == 0


async def test_a_series_shows_the_runs_of_its_own_jobs(rows: Rows, reports: Reports) -> None:
    own, wildcard = await rows.job(), await rows.job(symbol=None, timeframe=None)
    mine = await rows.run(own, ago=timedelta(hours=1))
    await rows.run(own, ago=timedelta(minutes=30), status="failed")
    await rows.run(wildcard, ago=timedelta(minutes=1))
    (figures,) = await reports.series_figures(*BTC)
    assert figures.last_run is not None
    assert figures.last_run.status is RunStatus.FAILED
    success = (await reports.runs(own))[1]
    assert success.id == mine
    assert figures.last_success_ms == success.completed_ms


async def test_jobs_with_their_last_run(rows: Rows, reports: Reports) -> None:
    job = await rows.job()
    order = await rows.job("backfill", origin="order")
    old = await rows.job("backfill", origin="order")
    await rows.connection.execute(
        "UPDATE market_data_jobs SET created_at = now() - interval '8 days' WHERE id = $1", old
    )
    await rows.connection.execute("UPDATE market_data_jobs SET paused_until = 'infinity' WHERE id = $1", job)
    await rows.run(job, ago=timedelta(hours=1))
    run = await rows.run(job, ago=timedelta(minutes=1), status="running")
    found = await reports.jobs()
    assert [figures.id for figures in found] == [job, order]
    assert found[0].last_run is not None
    assert found[0].last_run.id == run
    assert (found[0].running, found[0].paused, found[0].paused_until_ms) == (True, True, None)
    assert (found[1].last_run, found[1].running, found[1].paused) == (None, False, False)
    assert [figures.id for figures in await reports.jobs(cursor=job)] == [order]
    assert [figures.id for figures in await reports.jobs(at_work=True)] == [job]
    assert await reports.jobs("kraken") == ()


async def test_gaps_are_filtered_paged_and_counted(rows: Rows, reports: Reports) -> None:
    first = await rows.gap("failed", minutes((0, 3), (5, 6)))
    second = await rows.gap("late", minutes((10, 12)))
    other = await rows.gap("late", Ranges.of((4, 5)), series=Series("kraken", "ETHUSD", "1d"))
    closed = await rows.gap("lost", minutes((20, 21)), repaired="stored")
    await rows.gap("lost", minutes((30, 31)), repaired="not_wanted")
    page = await reports.gaps(limit=2)
    assert [gap.id for gap in page.gaps] == [first, second]
    assert page.total == 3
    assert page.gaps[0].start_ms == ms_of(START)
    assert page.gaps[0].end_ms == ms_of(START + timedelta(minutes=6))
    assert (page.gaps[0].missing, page.gaps[0].cause) == (4, Cause.FAILED)
    assert [gap.id for gap in (await reports.gaps(limit=2, cursor=second)).gaps] == [other]
    late = await reports.gaps("bitfinex", "BTCUSD", "1m", Cause.LATE)
    assert ([gap.id for gap in late.gaps], late.total) == ([second], 1)
    assert closed in [gap.id for gap in (await reports.gaps(closed=True)).gaps]
    summary = await reports.gaps_summary("bitfinex")
    assert (summary.open_gaps, summary.repaired_24h, summary.oldest_open_ms) == (2, 1, ms_of(START))
    assert (await reports.gaps_summary()).open_gaps == 3


async def test_coverage_in_buckets(rows: Rows, reports: Reports) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), once=minutes((600, 610)), confirmed=minutes((0, 5)))
    await rows.block(BLOCK + 1, minutes((1440, 1500)))
    await rows.gap("suspect", minutes((600, 610)))
    await rows.gap("not_asked", minutes((1600, 1620)))
    end_ms = ms_of(START + timedelta(days=2))
    whole = await reports.coverage_buckets(BTC, ms_of(START), end_ms, 2)
    assert [(b.stored, b.empty, b.gap, b.unknown) for b in whole] == [(1425, 5, 10, 0), (60, 0, 20, 1360)]
    assert (whole[0].start_ms, whole[1].end_ms) == (ms_of(START), end_ms)


@pytest.mark.parametrize("buckets", [1, 3, 7, 100, 2000, 10_000])
async def test_buckets_of_any_size_add_up(rows: Rows, reports: Reports, buckets: int) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), once=minutes((600, 610)), confirmed=minutes((0, 5), (700, 900)))
    await rows.block(BLOCK + 1, minutes((1440, 1500)), confirmed=minutes((1450, 1460)))
    await rows.gap("suspect", minutes((600, 610)))
    await rows.gap("failed", minutes((1500, 1507)))
    found = await reports.coverage_buckets(BTC, ms_of(START), ms_of(START + timedelta(days=2)), buckets)
    assert len(found) == min(buckets, 2880)
    assert sum(b.stored for b in found) == 1440 - 10 - 205 + 50
    assert sum(b.empty for b in found) == 215
    assert sum(b.gap for b in found) == 17
    assert sum(b.unknown for b in found) == 2880 - 1500 - 7
    assert all(before.end_ms == after.start_ms for before, after in pairwise(found))


async def test_buckets_of_an_unknown_series_are_unknown(reports: Reports) -> None:
    (bucket,) = await reports.coverage_buckets(BTC, ms_of(START), ms_of(START + timedelta(minutes=9)), 1)
    assert (bucket.unknown, bucket.stored) == (9, 0)
    assert await reports.coverage_buckets(BTC, ms_of(START), ms_of(START), 5) == ()


async def test_leases(rows: Rows, reports: Reports) -> None:
    await rows.connection.execute(
        "INSERT INTO exchange_leases (exchange, holder, kind, epoch, expires_at, blocked_until) VALUES"
        " ('bitfinex', 'here:1', 'daemon', 3, now() + interval '10 s', now() + interval '1 h'),"
        " ('kraken', 'there:2', 'command', 1, now() - interval '10 s', now() - interval '1 h')"
    )
    ours, theirs = await reports.leases()
    assert (ours.exchange, ours.holder, ours.kind, ours.epoch, ours.alive) == ("bitfinex", "here:1", "daemon", 3, True)
    assert ours.blocked_until_ms is not None
    assert (theirs.alive, theirs.blocked_until_ms) == (False, None)


@pytest.mark.parametrize(
    ("start", "end", "count", "sizes"),
    [(0, 10, 3, [3, 3, 4]), (0, 2, 5, [1, 1]), (5, 5, 3, []), (7, 3, 3, []), (0, 4, 0, [])],
)
def test_stretches_are_even_and_never_empty(start: int, end: int, count: int, sizes: list[int]) -> None:
    assert [high - low for low, high in stretches(start, end, count)] == sizes
