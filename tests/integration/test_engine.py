"""The engine, whole, against the rehearsal exchange and a real database: what the ledger promises, kept end to end."""

import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal

import asyncpg
import pytest
import stamina

from marketd.clock import ScaledClock, at
from marketd.errors import DiskFull, LeaseLost
from marketd.model import Answer, Ask, JobType, RunStatus, Series
from marketd.ranges import Ranges
from marketd.rehearsal import faults as fault
from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market, Overlay, Window, recorded, synthetic
from tests.harness import Bench, bench
from tests.wire import Wire

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_700_006_400_000  # 2023-11-15T00:00Z
PAGE = 10_000

BTC = Series("bitfinex", "BTCUSD", "1m")
ETH = Series("bitfinex", "ETHUSD", "1m")


def days(count: float, *, symbols: tuple[str, ...] = ("BTCUSD", "ETHUSD"), silent: float = 0.2):  # type: ignore[no-untyped-def]
    """A made-up market of ``count`` days, and a clock that stands at its end."""
    end = START + int(count * DAY)
    return synthetic(7, symbols, START, end + 10 * DAY, silent), ScaledClock(end + 10_000)


async def truth(b: Bench, series: Series, start_ms: int, end_ms: int) -> int:
    return await b.count(
        "SELECT count(*) FROM candles WHERE exchange=$1 AND symbol=$2 AND timeframe=$3 "
        "AND open_time >= to_timestamp($4 / 1000.0) AND open_time < to_timestamp($5 / 1000.0)",
        *series, float(start_ms), float(end_ms),
    )  # fmt: skip


async def delete(b: Bench, series: Series, start_ms: int, end_ms: int) -> None:
    async with b.database.session() as connection:
        await connection.execute(
            "DELETE FROM candles WHERE exchange=$1 AND symbol=$2 AND timeframe=$3 "
            "AND open_time >= to_timestamp($4 / 1000.0) AND open_time < to_timestamp($5 / 1000.0)",
            *series, float(start_ms), float(end_ms),
        )  # fmt: skip


async def clean(b: Bench) -> None:
    assert await b.violations() == {}


async def unknown(b: Bench, series: Series) -> int:
    """Intervals between the outer edges of the coverage that are neither answered nor owed."""
    return await b.count(
        "SELECT marketd_size(int4multirange(int4range(lower(a), upper(a))) - a - g) FROM "
        "(SELECT range_agg(answered) AS a FROM candle_coverage WHERE exchange=$1 AND symbol=$2 AND timeframe=$3) AS x, "
        "(SELECT coalesce(range_agg(missing), '{}') AS g FROM candle_gaps "
        " WHERE exchange=$1 AND symbol=$2 AND timeframe=$3 AND repaired_at IS NULL) AS y",
        *series,
    )


def file_rows(path: Path) -> Iterator[tuple[object, ...]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            opened, *numbers = line.strip().split(",")
            yield (int(opened), *map(Decimal, numbers))


@pytest.mark.timeout(300)
async def test_recorded_years_are_stored_value_for_value(database: str, recorded_data: Path) -> None:
    files = sorted((recorded_data / "bitfinex").glob("*-1m-*.csv.gz"))
    assert files
    for path in files:
        symbol, rows = path.name.split("-")[0], list(file_rows(path))
        first_ms, last_ms = rows[0][0], rows[-1][0]
        assert isinstance(first_ms, int)
        assert isinstance(last_ms, int)
        clock = ScaledClock(last_ms + MINUTE + 30_000)
        async with bench(database, recorded(recorded_data), clock) as b:
            for timeframe in ("1m", "1h", "1d"):
                series = Series("bitfinex", symbol, timeframe)
                outcome = await b.backfill(series)
                assert outcome.status is RunStatus.SUCCESS, outcome.error
                stored = await b.candles(series)
                if timeframe == "1m":
                    assert stored == rows
                asked = b.server.stats.kinds["candles"] + b.server.stats.kinds["first"]
                assert asked <= -(-len(stored) // PAGE) + 2
                assert await unknown(b, series) == 0
                assert {gap["cause"] for gap in await b.gaps(series) if gap["repaired_at"] is None} <= {"suspect"}
                b.server.stats.reset(clock.now_ms())
            again = [await b.backfill(Series("bitfinex", symbol, name)) for name in ("1h", "1d")]
            assert [(outcome.tally.requests, outcome.tally.inserted) for outcome in again] == [(0, 0), (0, 0)]
            await clean(b)
            # A day later the suspect silences are confirmed by a second answer, and are not suspect again.
            clock.jump(90_000)
            for timeframe in ("1m", "1h", "1d"):
                await b.repair(Series("bitfinex", symbol, timeframe))
            suspects = await b.fetch("SELECT * FROM candle_gaps WHERE cause = 'suspect' AND symbol = $1", symbol)
            assert {gap["resolution"] for gap in suspects} <= {"empty"}
            clock.jump(700_000)
            for timeframe in ("1m", "1h", "1d"):
                await b.repair(Series("bitfinex", symbol, timeframe))
            assert await b.value("SELECT count(*) FROM candle_gaps WHERE symbol = $1", symbol) == len(suspects)
            await clean(b)


async def test_a_deleted_stretch_and_scattered_holes_are_found_and_repaired(database: str) -> None:
    market, clock = days(25)
    async with bench(database, market, clock) as b:
        await b.backfill(BTC)
        before = await b.candles(BTC)
        opens = [row[0] for row in before]
        holes = [
            (opens[90 + 120 * n], length) for n in range(200) for length in ([1] * 7 + [10] * 3)[n % 10 : n % 10 + 1]
        ]
        for at_ms, length in holes:
            index = opens.index(at_ms)
            await delete(b, BTC, at_ms, opens[min(index + length, len(opens) - 1)])
        await delete(b, BTC, opens[-1440], opens[-10])
        missing = len(before) - len(await b.candles(BTC))
        assert missing > 1500
        b.server.stats.reset(clock.now_ms())
        outcome = await b.repair(BTC, by_hand=True)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert await b.candles(BTC) == before
        assert outcome.tally.inserted == missing
        assert b.server.stats.kinds["candles"] == -(-len(before) // PAGE)
        gaps = await b.gaps(BTC)
        assert {(gap["cause"], gap["resolution"]) for gap in gaps} == {("lost", "stored")}
        assert len(gaps) == 201
        await clean(b)


@pytest.mark.parametrize(
    "damage",
    [
        "TRUNCATE candles",
        "DELETE FROM candles WHERE open_time >= $1",  # the table alone, as it was in yesterday's backup
        "UPDATE candles SET open_time = open_time - interval '400 days', close_time = close_time - interval '400 days'",
    ],
)
async def test_what_an_operator_has_done_to_the_table_is_found_and_made_good(database: str, damage: str) -> None:
    """fault_68: by the audit of an ordinary repair, without an order."""
    market, clock = days(3)
    async with bench(database, market, clock) as b:
        await b.backfill(BTC)
        before = await b.candles(BTC)
        yesterday = [at(clock.now_ms() - DAY)] if "$1" in damage else []
        async with b.database.session() as connection:
            await connection.execute(damage, *yesterday)
        assert "i01_accounted" in await b.violations()
        outcome = await b.repair(BTC)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert set(before) <= set(await b.candles(BTC))
        assert {(gap["cause"], gap["resolution"]) for gap in await b.gaps(BTC)} == {("lost", "stored")}
        await clean(b)


async def test_a_page_limit_lowered_in_silence_loses_nothing(database: str) -> None:
    """fault_39."""
    market, clock = days(8)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC)
        whole = await b.candles(BTC)
    async with bench(database, market, clock, faults=faults) as b:
        faults.add(fault.PageLimit(rows=1000))
        outcome = await b.backfill(ETH)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert await unknown(b, ETH) == 0
        assert len(await b.candles(ETH)) > 5000
        faults.clear()
        assert (await b.backfill(ETH, refetch=True)).tally.inserted == 0
        assert len(whole) > 5000
        await clean(b)


@pytest.mark.parametrize("ignored", ["start", "end", "sort"])
async def test_an_exchange_that_does_not_heed_its_bounds_proves_nothing_wrong(
    database: str, ignored: Literal["start", "end", "sort"]
) -> None:
    market, clock = days(8)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults, page=1000) as b:
        faults.add(fault.Ignores(parameters=(ignored,), asks=("candles",)))
        await b.backfill(BTC)
        faults.clear()
        await _no_stored_truth_is_called_empty(b, BTC)
        await clean(b)


async def test_nothing_is_proven_by_empty_answers_where_candles_are_known(database: str) -> None:
    """fault_38."""
    market, clock = days(2)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC)
        confirmed = await b.value("SELECT sum(marketd_size(empty_confirmed)) FROM candle_coverage")
        faults.add(fault.Nothing(asks=("candles",)))
        clock.jump(2 * 3600)
        await b.repair(BTC)
        outcome = await b.continuous(BTC)
        assert outcome.status is not RunStatus.FAILED
        assert await b.value("SELECT sum(marketd_size(empty_confirmed)) FROM candle_coverage") == confirmed
        faults.clear()
        await _no_stored_truth_is_called_empty(b, BTC)
        await clean(b)


async def _no_stored_truth_is_called_empty(b: Bench, series: Series) -> None:
    """Ask everything again, honestly: no interval that was called empty has a candle."""
    called_empty = await b.value("SELECT coalesce(range_agg(empty_once + empty_confirmed), '{}') FROM candle_coverage")
    await b.backfill(series, refetch=True)
    opens = await b.value(
        "SELECT range_agg(int4range(marketd_number(timeframe, open_time), marketd_number(timeframe, open_time) + 1)) "
        "FROM candles WHERE symbol = $1 AND timeframe = $2", series.symbol, series.timeframe,
    )  # fmt: skip
    wrong = {n for r in called_empty for n in range(r.lower, r.upper)} & {
        n for r in opens for n in range(r.lower, r.upper)
    }
    assert wrong == set()


@pytest.mark.parametrize("host_error_s", [-300, 300])
async def test_the_open_candle_is_never_stored(database: str, host_error_s: int) -> None:
    """fault_51, fault_44: The exchange's clock is right; the host's is five minutes wrong."""
    market, right = days(1)
    wrong = ScaledClock(right.now_ms() + host_error_s * 1000)
    async with bench(database, market, right) as b:
        b.runner.clock = wrong
        b.runner.fetcher.clock = wrong
        for _ in range(3):
            await b.continuous(BTC)
            right.jump(47)
            wrong.jump(47)
        newest = await b.value("SELECT max(close_time) FROM candles")
        assert newest.timestamp() * 1000 <= right.now_ms()
        await clean(b)
        # Asked again much later, nothing that was stored has to be revised.
        right.jump(600)
        wrong.jump(600)
        await b.backfill(BTC, refetch=True)
        assert await b.value("SELECT count(*) FROM candle_revisions") == 0


async def test_a_range_lost_and_restored_a_day_later_is_found_by_itself(database: str) -> None:
    """fault_48."""
    market, clock = days(3)
    faults = Faults(clock)
    lost = (START + DAY, START + DAY + 3 * HOUR)
    faults.add(fault.Lost(start_ms=lost[0], end_ms=lost[1], restored_at_ms=clock.now_ms() + DAY))
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC)
        assert await truth(b, BTC, *lost) == 0
        for _ in range(30):
            clock.jump(3600)
            await b.repair(BTC)
            await b.continuous(BTC)
        assert await truth(b, BTC, *lost) > 100
        await _no_stored_truth_is_called_empty(b, BTC)
        await clean(b)


async def test_empties_are_confirmed_by_a_second_answer_only(database: str) -> None:
    """fault_38."""
    market, clock = days(1)
    async with bench(database, market, clock) as b:
        await b.backfill(BTC)
        assert await b.value("SELECT sum(marketd_size(empty_confirmed)) FROM candle_coverage") == 0
        clock.jump(10)
        await b.backfill(BTC, refetch=True)
        assert await b.value("SELECT sum(marketd_size(empty_confirmed)) FROM candle_coverage") == 0
        clock.jump(3700)
        await b.repair(BTC)
        assert await b.value("SELECT sum(marketd_size(empty_once)) FROM candle_coverage") == 0
        assert await b.value("SELECT sum(marketd_size(empty_confirmed)) FROM candle_coverage") > 100
        await clean(b)


async def test_continuous_keeps_up_with_one_request_a_cycle(database: str) -> None:
    market, clock = days(1)
    async with bench(database, market, clock) as b:
        await b.continuous(BTC)
        for _ in range(20):
            clock.jump(300)
            outcome = await b.continuous(BTC)
            assert outcome.tally.requests == 1
            assert outcome.status is RunStatus.SUCCESS
        assert await unknown(b, BTC) == 0
        assert await b.gaps(BTC) == []
        await clean(b)


async def test_after_a_long_pause_the_newest_page_comes_first_and_the_rest_is_owed(database: str) -> None:
    """fault_54."""
    market, clock = days(1, silent=0.1)
    async with bench(database, market, clock, page=1000) as b:
        await b.continuous(BTC)
        clock.jump(5 * 86_400)
        outcome = await b.continuous(BTC, page_allowance=2)
        assert outcome.tally.requests == 2
        (gap,) = await b.gaps(BTC)
        assert gap["cause"] == "not_asked"
        assert await unknown(b, BTC) == 0
        await clean(b)
        await b.repair(BTC)
        clock.jump(180)
        await b.repair(BTC)
        (gap,) = await b.gaps(BTC)
        assert gap["resolution"] == "mixed"
        await clean(b)


async def follow(b: Bench, symbol: str | None, timeframe: str | None, *, enabled: bool = True) -> None:
    async with b.database.session() as connection:
        await connection.execute(
            "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule, enabled) "
            "VALUES ('bitfinex', $1, $2, 'continuous', '*/5 * * * *', $3)",
            symbol, timeframe, enabled,
        )  # fmt: skip


@pytest.mark.parametrize("followed", [("BTCUSD", "1m"), ("BTCUSD", None), (None, None), ("BTCUSD", "4h")])
async def test_what_a_backfill_skips_of_a_followed_series_is_owed(
    database: str, followed: tuple[str | None, str | None]
) -> None:
    """The next continuous run begins where coverage ends: nobody else would ask for what lies below."""
    market, clock = days(1, silent=0.1)
    async with bench(database, market, clock, page=1000, derived={"4h": "1m"}) as b:
        await follow(b, *followed)
        if followed[1] == "4h":
            await b.backfill(BTC._replace(timeframe="4h"))
        await b.continuous(BTC)
        clock.jump(3 * 86_400)
        outcome = await b.backfill(BTC, start_ms=clock.now_ms() - 30 * MINUTE)
        (gap,) = [gap for gap in await b.gaps(BTC) if gap["cause"] == "not_asked"]
        assert outcome.tally.gaps_opened == 1
        owed = await b.count("SELECT marketd_size($1)", gap["owed"])
        assert owed == 3 * 1440 - 29  # in the last half hour so many begin and close
        assert await unknown(b, BTC) == 0
        await clean(b)


@pytest.mark.parametrize("other", [None, "ETHUSD"])
async def test_what_a_backfill_skips_of_a_series_that_nobody_follows_is_not_owed(
    database: str, other: str | None
) -> None:
    market, clock = days(1, silent=0.1)
    async with bench(database, market, clock, page=1000) as b:
        await follow(b, "BTCUSD", "1m", enabled=False)
        if other is not None:
            await follow(b, other, "1m")
        await b.continuous(BTC)
        clock.jump(3 * 86_400)
        await b.backfill(BTC, start_ms=clock.now_ms() - 30 * MINUTE)
        assert await b.gaps(BTC) == []
        assert await unknown(b, BTC) > 4000


async def test_revised_candles_are_noticed_and_both_values_kept(database: str) -> None:
    """fault_48."""
    market, clock = days(1)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC)
        at_ms = (await b.candles(BTC))[100][0]
        faults.add(fault.Revised(start_ms=at_ms, end_ms=at_ms + MINUTE, values=("5", "6", "7", "4", "1")))
        outcome = await b.backfill(BTC, refetch=True)
        assert (outcome.tally.inserted, outcome.tally.updated) == (0, 1)
        (revision,) = await b.fetch("SELECT * FROM candle_revisions")
        assert (revision["kind"], revision["new_high"]) == ("revised", 7)
        assert revision["old_high"] != 7
        await clean(b)


async def test_a_known_candle_that_frames_a_page_is_compared_as_well(database: str) -> None:
    market, clock = days(1)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC, start_ms=START + DAY // 2)
        edge_ms, rows = (await b.candles(BTC))[0][0], await b.count("SELECT count(*) FROM candles")
        faults.add(fault.Revised(start_ms=edge_ms, end_ms=edge_ms + MINUTE, values=("5", "6", "7", "4", "1")))
        outcome = await b.backfill(BTC)
        assert outcome.tally.updated == 1
        assert await b.count("SELECT count(*) FROM candles") == rows + outcome.tally.inserted
        (revision,) = await b.fetch("SELECT * FROM candle_revisions")
        assert (revision["open_time"], revision["new_high"]) == (at(edge_ms), 7)
        await clean(b)


async def test_weeks_and_months_are_built_from_days_and_follow_them(database: str) -> None:
    market, clock = days(70, symbols=("BTCUSD",), silent=0.0)
    week, month, day = (replace_timeframe(BTC, name) for name in ("1w", "1M", "1d"))
    async with bench(database, market, clock) as b:
        await b.backfill(week)
        await b.backfill(month)
        weeks = await b.candles(week)
        assert len(weeks) == 10  # the first one holds the days since the market began
        assert {(row[0] // 1000 - 345_600) % 604_800 for row in weeks} == {0}
        stored = await b.candles(day)
        inside = [row for row in stored if weeks[1][0] <= row[0] < weeks[1][0] + 7 * DAY]
        opened, closed = inside[0][1], inside[-1][2]
        high, low, volume = max(row[3] for row in inside), min(row[4] for row in inside), sum(row[5] for row in inside)
        assert weeks[1][1:] == (opened, closed, high, low, volume)
        assert len(await b.candles(month)) == 2
        assert b.server.stats.series["BTCUSD 1W"] == 0
        await clean(b)


def replace_timeframe(series: Series, name: str) -> Series:
    return series._replace(timeframe=name)


async def test_four_hours_are_built_from_hours_where_the_exchange_refuses_them(database: str) -> None:
    market, clock = days(3, silent=0.0)
    faults = Faults(clock)
    faults.add(fault.TimeframeRefused(timeframes=("4h",)))
    async with bench(database, market, clock, faults=faults) as b:
        outcome = await b.backfill(replace_timeframe(BTC, "4h"))
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert len(await b.candles(replace_timeframe(BTC, "4h"))) == 18
        await clean(b)


async def test_an_unknown_symbol_fails_alone_and_is_named(database: str) -> None:
    """fault_49."""
    market, clock = days(1)
    async with bench(database, market, clock) as b:
        outcome = await b.backfill(Series("bitfinex", "BTCUSX", "1m"), BTC)
        assert outcome.status is RunStatus.PARTIAL
        assert "does not list BTCUSX; did you mean BTCUSD" in (outcome.error or "")
        assert len(await b.candles(BTC)) > 1000


async def test_a_poisoned_interval_becomes_a_failed_gap_and_the_rest_is_stored(database: str) -> None:
    market, clock = days(2, silent=0.0)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        at_ms = START + 20 * HOUR
        faults.add(fault.Malformed(how="conflict", candle_ms=at_ms))
        outcome = await b.backfill(BTC)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        (gap,) = await b.gaps(BTC)
        assert (gap["cause"], gap["gap_start"].timestamp() * 1000) == ("failed", at_ms)
        assert len(await b.candles(BTC)) == 2 * 1440 - 1
        faults.clear()
        clock.jump(400)
        await b.repair(BTC)
        (gap,) = await b.gaps(BTC)
        assert gap["resolution"] == "stored"
        await clean(b)


@pytest.mark.parametrize("trouble", [fault.ServerError(), fault.Maintenance(), fault.Reset()])
async def test_an_exchange_out_of_reach_makes_lag_not_gaps(database: str, trouble: fault.Fault) -> None:
    """fault_33."""
    market, clock = days(1)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.continuous(BTC)
        faults.add(trouble)
        with stamina.set_testing(True, attempts=2):
            outcome = await b.backfill(ETH)
        assert outcome.status is RunStatus.FAILED
        assert await b.gaps(BTC) == []
        await clean(b)


@pytest.mark.parametrize(("framing", "causes"), [("length", set()), ("chunked", set()), ("none", {"failed"})])
async def test_a_body_that_is_cut_off_proves_nothing(
    database: str, framing: Literal["length", "chunked", "none"], causes: set[str]
) -> None:
    """fault_36, fault_37: without a length it comes as a whole 200."""
    market, clock = days(1)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.continuous(BTC)
        faults.add(fault.Truncated(framing=framing, asks=("candles",)))
        with stamina.set_testing(True, attempts=2):
            await b.backfill(ETH, start_ms=START + HOUR, end_ms=START + HOUR + 4 * MINUTE)
        assert await b.candles(ETH) == []
        assert {gap["cause"] for gap in await b.gaps(ETH)} == causes
        assert (
            await b.count("SELECT count(*) FROM candle_coverage WHERE symbol = 'ETHUSD' AND NOT isempty(answered)") == 0
        )
        await clean(b)


async def test_a_reply_of_300_megabytes_ends_at_the_cap(database: str) -> None:
    """fault_46."""
    market, clock = days(1)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.continuous(BTC)
        faults.add(fault.Huge(asks=("candles",)))
        outcome = await b.backfill(ETH)
        assert outcome.status is RunStatus.FAILED
        assert "larger" in (outcome.error or "") or "MiB" in (outcome.error or "")
        await clean(b)


async def test_a_full_disk_is_said_and_leaves_nothing_half_written(database: str) -> None:
    """fault_23."""
    market, clock = days(8)
    async with bench(database, market, clock, page=1000) as b:
        async with b.database.session() as connection:
            await connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF (SELECT count(*) FROM candles) > 3000 THEN RAISE 'could not extend file' USING ERRCODE = '53100'; "
                "END IF; RETURN NULL; END $$; "
                "CREATE TRIGGER full_disk AFTER INSERT ON candles EXECUTE FUNCTION full_disk()"
            )
        with pytest.raises(DiskFull, match="no space left at the database server"):
            await b.backfill(BTC)
        stored = await b.value("SELECT count(*) FROM candles")
        assert 2000 < stored <= 3000
        assert await b.value("SELECT sum(stored) FROM candle_coverage") == stored
        assert await b.value("SELECT candles_inserted FROM market_data_job_runs") == stored
        assert {name for name in await b.violations() if name != "i12_orphans"} == set()


@pytest.mark.parametrize("before", range(1, 4))  # the first one registers the series: the run is cut off
async def test_a_page_whose_answer_to_commit_is_lost_is_recognised(database: str, before: int) -> None:
    """fault_17: whichever of its first pages it is, nothing is stored or counted twice."""
    market, clock = days(1)
    async with Wire(database).laid() as wire, bench(wire.dsn, market, clock, page=500) as b:
        order, account = await b.begun(JobType.BACKFILL, BTC)
        wire.lose_answer_to(b"COMMIT", before)
        outcome = await b.runner.run(order, account)
        await b.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally.requests)
        assert wire.lost == 1
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        stored = len(await b.candles(BTC))
        assert await b.value("SELECT sum(stored) FROM candle_coverage") == stored > 1000
        assert await b.value("SELECT candles_inserted FROM market_data_job_runs") == outcome.tally.inserted == stored
        await clean(b)


async def test_a_page_of_a_lease_that_was_lost_is_refused_whole(database: str) -> None:
    """fault_29."""
    market, clock = days(2)
    async with bench(database, market, clock) as b:
        order, account = await b.begun(JobType.BACKFILL, BTC)
        async with b.database.session() as connection:
            await connection.execute("UPDATE exchange_leases SET epoch = epoch + 1")
        with pytest.raises(LeaseLost):
            await b.runner.run(order, account)
        assert await b.value("SELECT count(*) FROM candles") == 0
        assert await b.value("SELECT count(*) FROM candle_coverage") == 0


async def test_a_run_whose_rows_were_deleted_under_it_does_its_work_and_ends(database: str) -> None:
    """fault_60."""
    market, clock = days(2)
    async with bench(database, market, clock) as b:
        order, account = await b.begun(JobType.BACKFILL, BTC)
        async with b.database.session() as connection:
            with pytest.raises(asyncpg.ForeignKeyViolationError):  # runs are history: a job that has any is kept
                await connection.execute("DELETE FROM market_data_jobs")
            await connection.execute("DELETE FROM market_data_job_runs")
            await connection.execute("DELETE FROM market_data_jobs")
        outcome = await b.runner.run(order, account)
        await b.runs.finish(account.run_id, outcome.status, outcome.error, outcome.tally.requests)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert await b.count("SELECT count(*) FROM market_data_job_runs") == 0
        assert len(await b.candles(BTC)) > 2000
        await clean(b)


async def test_rows_by_others_are_taken_for_stored_and_warned_about(database: str) -> None:
    market, clock = days(2, silent=0.3)
    async with bench(database, market, clock) as b:
        await b.backfill(BTC)
        empty = await b.value("SELECT lower(empty_once) FROM candle_coverage WHERE NOT isempty(empty_once) LIMIT 1")
        async with b.database.session() as connection:
            await connection.execute(
                "INSERT INTO candles VALUES (marketd_open_time('1m', $1), marketd_open_time('1m', $1 + 1), "
                "'bitfinex', 'BTCUSD', '1m', 1, 1, 1, 1, 1)",
                empty,
            )
        await b.repair(BTC, by_hand=True)
        assert await b.value("SELECT bool_or(empty_once @> $1::int) FROM candle_coverage", empty) is False
        await clean(b)


async def test_configured_timeframes_are_built_exactly_and_follow_repairs_and_revisions(database: str) -> None:
    market, clock = days(3)
    faults = Faults(clock)
    five = replace_timeframe(BTC, "5m")
    async with bench(database, market, clock, faults=faults, derived={"5m": "1m"}) as b:
        await b.backfill(five)
        clock.jump(3700)  # the second look confirms the silent minutes; only then is what holds them complete
        await b.repair(five)
        assert b.server.stats.series["BTCUSD 5m"] == 0
        built = await b.candles(five)
        assert built == _native(market, clock, built[-1][0])
        opened = built[100][0]
        await delete(b, BTC, opened, opened + 5 * MINUTE)
        await b.repair(five, by_hand=True)
        assert await b.candles(five) == built
        faults.add(fault.Revised(start_ms=opened, end_ms=opened + 5 * MINUTE, values=("5", "6", "7", "4", "1")))
        await b.backfill(BTC, refetch=True)
        assert (await b.candles(five))[100][3] == 7
        await clean(b)


def _native(market: Market, clock: ScaledClock, last_ms: int) -> list[tuple[object, ...]]:
    rows = market.page("BTCUSD", "5m", Window(START, last_ms, 10**6, False), clock.now_ms(), Overlay())
    return [
        (int(opened), *map(Decimal, numbers))
        for opened, *numbers in (row.decode().strip("[]").split(",") for row in rows)
    ]


async def test_the_second_reading_of_a_fresh_candle_is_compared(database: str) -> None:
    market, clock = days(1, silent=0.0)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.continuous(BTC)
        newest_ms = (await b.candles(BTC))[-1][0]
        faults.add(fault.Revised(start_ms=newest_ms, end_ms=newest_ms + MINUTE, values=("5", "6", "7", "4", "1")))
        clock.jump(130)
        assert (await b.continuous(BTC)).tally.updated == 1
        assert await b.count("SELECT count(*) FROM candle_revisions WHERE kind = 'revised'") == 1
        await clean(b)


@pytest.mark.parametrize("work", ["backfill", "look", "continuous"])
async def test_three_empty_answers_where_candles_are_known_are_enough(database: str, work: str) -> None:
    market, clock = days(4)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults, page=1000) as b:
        await b.backfill(BTC, start_ms=START + 2 * DAY)
        faults.add(fault.Nothing(asks=("candles",)))
        b.server.stats.reset(clock.now_ms())
        if work == "backfill":
            await b.backfill(BTC)
        elif work == "look":
            clock.jump(4000)
            await b.repair(BTC)
        else:
            clock.jump(300)
            await b.continuous(BTC)
        assert b.server.stats.kinds["candles"] <= 12
        if work != "look":
            (gap,) = await b.gaps(BTC)
            assert (gap["cause"], gap["attempts"]) == ("failed" if work == "backfill" else "not_asked", 1)
        await clean(b)


async def test_time_that_went_backwards_is_learnt_anew(database: str) -> None:
    """fault_52."""
    market, clock = days(1)
    async with bench(database, market, clock) as b:
        await b.continuous(BTC)
        b.runner.fetcher.time.offset_ms = -DAY  # what one reply out of an old cache would teach
        clock.jump(300)
        outcome = await b.continuous(BTC)
        assert outcome.tally.inserted > 0


async def test_a_native_series_that_is_built_from_now_on_follows_its_parent(database: str) -> None:
    market, clock = days(2, silent=0.6)
    five = replace_timeframe(BTC, "5m")
    async with bench(database, market, clock) as b:
        await b.backfill(five)
        assert await b.count("SELECT count(*) FROM candle_coverage WHERE timeframe = '5m' AND look_at IS NOT NULL") > 0
    async with bench(database, market, clock, derived={"5m": "1m"}) as b:
        assert (await b.backfill(five)).status is RunStatus.SUCCESS
        clock.jump(4000)
        outcome = await b.repair(five)
        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert await b.count("SELECT count(*) FROM candle_coverage WHERE timeframe = '5m' AND look_at IS NOT NULL") == 0
        await clean(b)


async def test_only_the_holder_of_the_lease_records_firings_and_orphans_are_closed(database: str) -> None:
    market, clock = days(1)
    async with bench(database, market, clock) as b:
        job = await b.given(BTC, JobType.BACKFILL)
        first = await b.runs.begin("bitfinex", [(job, 1000)], b.lease.epoch)
        second = await b.runs.begin("bitfinex", [(job, 2000)], b.lease.epoch)
        assert list(second) == [job]
        assert second != first
        assert await b.value("SELECT status FROM market_data_job_runs WHERE id = $1", first[job]) == "interrupted"
        with pytest.raises(LeaseLost):
            await b.runs.begin("bitfinex", [(job, 3000)], b.lease.epoch - 1)


async def test_an_older_answer_does_not_overwrite_a_newer_one(database: str) -> None:
    market, clock = days(1, silent=0.0)
    faults = Faults(clock)
    async with bench(database, market, clock, faults=faults) as b:
        await b.backfill(BTC)
        account = b.accounts[-1]
        at_ms = (await b.candles(BTC))[100][0]
        number = BTC.frame.number(at_ms)
        ask = Ask(BTC, number, number + 1, False)
        values = {"old": b"5,6,7,4,1", "new": b"5,6,8,4,1"}
        columns = b.runner.fetcher.exchange.columns
        job = await b.given(BTC, JobType.BACKFILL)
        account.run_id = (await b.runs.begin("bitfinex", [(job, 5)], b.lease.epoch))[job]
        for name, answered_ms in (("new", clock.now_ms() + 1000), ("old", clock.now_ms() - 1000)):
            one = Ranges.of((number, number + 1))
            csv = str(at_ms).encode() + b"," + values[name] + b"\n"
            answer = Answer(ask, one, one, Ranges(), csv, columns, answered_ms, 1)
            await b.runner.pages.record(answer, account.writing(), owe=Ranges(), first=None)
        assert (await b.candles(BTC))[100][3] == 8


async def test_backfills_wait_for_room_and_fresh_candles_do_not(database: str) -> None:
    """fault_23: the page in hand is stored; what is left is done once there is room."""
    market, clock = synthetic(3, ("BTCUSD",), START, START + 40 * DAY, 0.2), ScaledClock(START + 20 * DAY)
    asked: list[int] = []

    def lack() -> DiskFull | None:
        asked.append(1)
        return DiskFull("12 MB are left") if 3 < len(asked) < 10**6 else None

    async with bench(database, market, clock, page=1000) as b:
        b.runner.lack = lack
        with pytest.raises(DiskFull, match="12 MB are left"):
            await b.backfill(BTC)
        assert len(asked) == 4
        assert await b.count("SELECT count(*) FROM candles") > 2000, "three pages were asked for and stored"
        assert (await b.continuous(BTC)).status is RunStatus.SUCCESS
        asked.extend([1] * 10**6)
        assert (await b.backfill(BTC)).status is RunStatus.SUCCESS
        assert await b.violations() == {}
