"""The oracle: each way to damage the tables is found by the promise it breaks, and what they can refuse they refuse."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from marketd import metrics
from marketd.clock import at as moment
from marketd.clock import ms_of
from marketd.model import Series
from marketd.ranges import Ranges
from marketd.store.oracle import INVARIANTS, LEDGER, PROMISES, STATE, Oracle, Piece
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.timeframe import TIMEFRAMES
from marketd.verification import Sampling, Verdict, Which, hold
from tests.integration.ledger_rows import BLOCK, BTC, DAY, FIRST, START, Rows, minutes

ETH, XRP = Series("bitfinex", "ETHUSD", "1m"), Series("bitfinex", "XRPUSD", "1m")
WEEK = Series("bitfinex", "BTCUSD", "1w")
MONTH = Series("bitfinex", "BTCUSD", "1M")
SECRET = "postgresql://marketd:S3cr3t@db/marketd is away"


CANDLES = """
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT marketd_open_time(timeframe, n), marketd_open_time(timeframe, n + 1), exchange, symbol, timeframe, 1, 1, 1, 1, 0
FROM candle_coverage, unnest(answered - empty_once - empty_confirmed) AS r, generate_series(lower(r), upper(r) - 1) AS n
"""
"""Every candle that the ledger calls stored."""


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Rows]:
    """A database in which all is well: two days of minutes with holes, weeks, months, gaps of all kinds, runs."""
    connection = await asyncpg.connect(database)
    try:
        here = Rows(connection)
        await well(here)
        yield here
    finally:
        await connection.close()


async def well(here: Rows) -> None:
    late = START + timedelta(days=3)
    for series in (BTC, ETH):
        await here.know(series, first=START)
        await here.block(BLOCK, Ranges.of(DAY), once=minutes((5, 9)), confirmed=minutes((20, 30)), series=series)
        answered = minutes((1440, 1500), (1510, 2000))
        await here.block(BLOCK + 1, answered, once=minutes((1504, 1506), (1990, 2000)), series=series)
        await here.gap("failed", minutes((1500, 1510)), series=series)
    for series, span in ((WEEK, (2800, 2806)), (MONTH, (640, 647))):
        await here.know(series)
        await here.block(span[0] // 1440, Ranges.of(span), series=series)
    await here.connection.execute(CANDLES)
    await here.connection.execute("UPDATE candle_coverage SET answered_at = $1", late)
    await here.gap("suspect", minutes((1990, 2000)))
    await here.gap("lost", minutes((100, 200), (25, 28)), repaired="mixed")
    await here.gap("not_asked", minutes((5000, 9000)), repaired="not_wanted")
    job = await here.job(start=START)
    await here.run(job, ago=timedelta(hours=3), inserted=10)
    await here.run(job, ago=timedelta(hours=2), status="failed")
    await here.run(job, ago=timedelta(minutes=1), status="running")
    await here.connection.execute(
        "INSERT INTO exchange_leases VALUES ('bitfinex', 'host', 'daemon', 4, now() + interval '1 minute');"
        "UPDATE market_data_job_runs SET last_open_time = '2024-01-01 12:00+00' WHERE status = 'success';"
        "UPDATE market_data_job_runs SET epoch = 4 WHERE status = 'running'"
    )


async def found(database: str, which: Which | None = None) -> set[str]:
    async with Database(database, size=1) as opened:
        verdict = await hold(Oracle(opened), 0, which=which or Which())
    return {finding.query.name for finding in verdict.findings}


CANDLE = "exchange = 'bitfinex' AND symbol = 'BTCUSD' AND timeframe = '1m' AND open_time = '2024-01-01 10:00+00'"
FIRST_DAY = f"symbol = 'BTCUSD' AND timeframe = '1m' AND block = {BLOCK}"
NEXT_DAY = f"symbol = 'BTCUSD' AND timeframe = '1m' AND block = {BLOCK + 1}"

SECOND_RUN = (
    "INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, status, epoch)"
    " SELECT job_id, now(), now(), 'running', 4 FROM market_data_job_runs LIMIT 1"
)
SECOND_FIRING = (
    "INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status)"
    " SELECT job_id, scheduled_for, started_at, completed_at, 'success' FROM market_data_job_runs"
    " WHERE status = 'success'"
)
SECOND_GAP = (
    "INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at, cause)"
    " SELECT exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at, cause FROM candle_gaps"
    " WHERE cause = 'failed'"
)
LATE_GAP = (
    "INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at, cause)"
    " SELECT 'bitfinex', 'BTCUSD', '1m', now(), now() + interval '2 hours', owed, owed, now(), 'late'"
    " FROM marketd_number('1m', now()) AS n, LATERAL int4multirange(int4range(n, n + 120)) AS owed"
)
ENDED_BEFORE = (
    "UPDATE market_data_job_runs SET completed_at = started_at - interval '1 minute' WHERE status = 'success'"
)


def at(*spans: tuple[int, int]) -> str:
    """Minutes, counted from the first one of the first day, as SQL."""
    return "'{" + ",".join(f"[{FIRST + start},{FIRST + end})" for start, end in spans) + "}'::int4multirange"


def candle(opens: str, closes: str, symbol: str = "BTCUSD", timeframe: str = "1m") -> str:
    """A row that others write."""
    times = f"'{opens}+00', '{closes}+00'"
    return f"INSERT INTO candles VALUES ({times}, 'bitfinex', '{symbol}', '{timeframe}', 1, 1, 1, 1, 0)"


def without(table: str, *rules: str) -> str:
    """Take rules away that would refuse the damage."""
    return f"ALTER TABLE {table} " + ", ".join(f"DROP CONSTRAINT {rule}" for rule in rules) + "; "


def run_without(rule: str) -> str:
    return without("market_data_job_runs", f"market_data_job_runs_{rule}")


def ledger(day: str, change: str) -> str:
    """A change of a ledger row that its rules would refuse."""
    rules = ("candle_coverage_within", "candle_coverage_counted", "candle_coverage_check1", "candle_coverage_check")
    return without("candle_coverage", *rules) + f"UPDATE candle_coverage SET {change} WHERE {day}"


DAMAGE = {
    # What an operator's slip does.
    "a candle": ("i01_accounted", f"DELETE FROM candles WHERE {CANDLE}"),
    "the oldest candle": ("i01_accounted", f"DELETE FROM candles WHERE open_time = '{START}' AND symbol = 'ETHUSD'"),
    "the newest candle": ("i01_accounted", "DELETE FROM candles WHERE open_time = '2024-01-02 09:09+00'"),
    "a series": ("i01_accounted", "DELETE FROM candles WHERE symbol = 'ETHUSD'"),
    "all candles": ("i01_accounted", "TRUNCATE candles"),
    "a month": ("i01_accounted", "DELETE FROM candles WHERE timeframe = '1M' AND open_time = '2023-08-01 00:00+00'"),
    "a week": ("i01_accounted", "DELETE FROM candles WHERE timeframe = '1w' AND open_time < '2023-09-05 00:00+00'"),
    "a candle that is somewhere else": (
        "i01_accounted w05_rows_in_empties",
        f"UPDATE candles SET open_time = '2024-01-01 00:05+00', close_time = '2024-01-01 00:06+00' WHERE {CANDLE}",
    ),
    "a candle of others, later": ("w02_foreign_rows", candle("2024-03-01 00:00", "2024-03-01 00:01")),
    "a candle of others, earlier": ("w02_foreign_rows", candle("2019-03-01 00:00", "2019-03-01 00:01")),
    "a series of others": ("w02_foreign_rows", candle("2024-03-01 00:00", "2024-03-01 01:00", "XRPUSD", "1h")),
    "a candle in an empty interval": ("w05_rows_in_empties", candle("2024-01-01 00:05", "2024-01-01 00:06")),
    "a candle in an open gap": ("w05_rows_in_empties", candle("2024-01-02 01:00", "2024-01-02 01:01")),
    "a rule that is gone": ("w00_refused", without("candles", "candles_sane")),
    "a rule that is not validated": (
        "w00_refused",
        without("candles", "candles_sane")
        + "ALTER TABLE candles ADD CONSTRAINT candles_sane CHECK (low > 0) NOT VALID",
    ),
    "a job that was narrowed": (
        "w17_wanted", "UPDATE market_data_jobs SET job_type = 'backfill', start_time = '2024-01-02 02:00+00'"
    ),
    "a process that is gone": ("w12_abandoned", "UPDATE exchange_leases SET expires_at = now() - interval '1 minute'"),
    # What a mistake in the program would do.
    "empties that are called stored": (
        "i01_accounted", ledger(FIRST_DAY, "empty_confirmed = '{}', stored = stored + 10")
    ),
    "a repaired gap that is unknown": (
        "i03_repaired w02_foreign_rows",
        ledger(FIRST_DAY, f"answered = answered - {at((150, 160))}, stored = stored - 10"),
    ),
    "a repaired gap that was empty once": (
        "i03_repaired",
        ledger(
            FIRST_DAY,
            f"empty_once = empty_once + {at((25, 26))}, empty_confirmed = empty_confirmed - {at((25, 26))}",
        ),
    ),
    "a repaired gap without ledger": (
        "i03_repaired", "UPDATE candle_gaps SET symbol = 'XRPUSD' WHERE resolution = 'mixed'"
    ),
    "empties of nobody": (
        "i06_empties_within", ledger(NEXT_DAY, f"empty_once = empty_once + {at((2500, 2510))}")
    ),
    "empties confirmed of nobody": ("i06_empties_within", ledger(NEXT_DAY, f"empty_confirmed = {at((2500, 2510))}")),
    "an interval that was open": (
        "i07_closed", f"UPDATE candle_coverage SET answered_at = '2024-01-01 12:00+00' WHERE {FIRST_DAY}"
    ),
    "a candle off the grid": (
        "i08_aligned",
        without("candles", "candles_aligned")
        + f"UPDATE candles SET open_time = open_time + interval '1 second' WHERE {CANDLE}",
    ),
    "a candle that closes late": (
        "i08_aligned",
        without("candles", "candles_aligned")
        + f"UPDATE candles SET close_time = close_time + interval '1 minute' WHERE {CANDLE}",
    ),
    "a timeframe that is none": (
        "i08_aligned",
        without("candles", "candles_aligned") + candle("2024-03-01 00:00", "2024-03-01 00:07", timeframe="7m"),
    ),
    "a price that is none": (
        "i09_sane", without("candles", "candles_sane") + f"UPDATE candles SET close = 'NaN' WHERE {CANDLE}"
    ),
    "a low above the high": (
        "i09_sane", without("candles", "candles_sane") + f"UPDATE candles SET low = 2 WHERE {CANDLE}"
    ),
    "a wrong count": ("i10_counted", ledger(FIRST_DAY, "stored = stored + 1")),
    "two runs at once": ("i11_one_run", "DROP INDEX market_data_job_runs_running; " + SECOND_RUN),
    "an orphan": ("i12_orphans", "UPDATE exchange_leases SET epoch = 5"),
    "an orphan without a lease": ("i12_orphans", "DELETE FROM exchange_leases"),
    "a firing twice": ("i13_fired_once", run_without("once") + SECOND_FIRING),
    "a bad end without a word": (
        "i14_run_shape", run_without("check2") + "UPDATE market_data_job_runs SET error_message = NULL"
    ),
    "an end before the beginning": ("i14_run_shape", run_without("check1") + ENDED_BEFORE),
    "an interval owed twice": ("i15_disjoint", without("candle_gaps", "candle_gaps_disjoint") + SECOND_GAP),
    "a run of which nothing is known": (
        "i16_covered",
        "UPDATE market_data_job_runs SET last_open_time = '2024-01-02 12:00+00' WHERE status = 'success'",
    ),
    "a gap that has not closed": ("i17_owed_closed", LATE_GAP),
    "a password with a run": (
        "i18_no_secret", f"UPDATE market_data_job_runs SET error_message = '{SECRET}' WHERE status = 'failed'"
    ),
    "a password with a gap": (
        "i18_no_secret_gaps", f"UPDATE candle_gaps SET last_error = '{SECRET}' WHERE cause = 'failed'"
    ),
    "a password with a job": ("i18_no_secret_jobs", f"UPDATE market_data_jobs SET last_error = '{SECRET}'"),
    "wrong figures": ("i19_figures", "UPDATE series_figures SET stored = stored + 1"),
    "figures of another series": ("i19_figures", "UPDATE series_figures SET symbol = 'XRP' WHERE symbol = 'ETHUSD'"),
    "figures that are not kept": (
        "i19_figures",
        "ALTER TABLE candle_coverage DISABLE TRIGGER USER; UPDATE candle_coverage SET"
        f" answered = answered + {at((2000, 2001))}, empty_once = empty_once + {at((2000, 2001))} WHERE {NEXT_DAY}",
    ),
    "wrong figures of runs": ("i20_run_figures", "UPDATE run_figures SET candles = candles + 1"),
    "figures of no runs": (
        "i20_run_figures", "INSERT INTO run_figures VALUES ('bitfinex', '2020-01-01 00:00+00', 1, 0, 0, 0, 0, 7)"
    ),
    "an interval owed and answered": (
        "i21_owed_not_answered", ledger(NEXT_DAY, f"answered = answered + {at((1504, 1506))}")
    ),
    "a suspect one that is believed": (
        "i21_owed_not_answered",
        ledger(NEXT_DAY, f"empty_once = empty_once - {at((1990, 1995))}, empty_confirmed = {at((1990, 1995))}"),
    ),
}  # fmt: skip
RULES_GONE = ("DROP", "DISABLE TRIGGER")


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_found_by_the_promise_it_breaks(database: str, rows: Rows, damage: str) -> None:
    named, statements = DAMAGE[damage]
    await rows.connection.execute(statements)
    noted = {"w00_refused"} if any(word in statements for word in RULES_GONE) else set()
    assert await found(database) == set(named.split()) | noted


async def test_nothing_is_found_where_all_is_well(database: str, rows: Rows) -> None:
    assert await found(database) == set()


def test_every_promise_is_broken_by_some_damage() -> None:
    assert {name for named, _ in DAMAGE.values() for name in named.split()} == set(PROMISES)


def test_the_metrics_know_every_promise() -> None:
    assert metrics.INVARIANTS == INVARIANTS


REFUSED = {
    "off the grid": f"UPDATE candles SET open_time = open_time + interval '1 second' WHERE {CANDLE}",
    "closes late": f"UPDATE candles SET close_time = close_time + interval '1 minute' WHERE {CANDLE}",
    "a week from Tuesday": (
        "UPDATE candles SET open_time = open_time + interval '24 hours', close_time = close_time + interval '24 hours'"
        " WHERE timeframe = '1w'"
    ),
    "a month of thirty days": (
        "UPDATE candles SET close_time = open_time + interval '720 hours' WHERE timeframe = '1M'"
    ),
    "no timeframe": f"UPDATE candles SET timeframe = '7m' WHERE {CANDLE}",
    "not a number": f"UPDATE candles SET close = 'NaN' WHERE {CANDLE}",
    "infinite": f"UPDATE candles SET high = 'Infinity' WHERE {CANDLE}",
    "negative volume": f"UPDATE candles SET volume = -1 WHERE {CANDLE}",
    "there already": candle("2024-01-01 10:00", "2024-01-01 10:01"),
    "a wrong count": f"UPDATE candle_coverage SET stored = stored + 1 WHERE {FIRST_DAY}",
    "empties of another block": (
        f"UPDATE candle_coverage SET empty_once = empty_once + {at((5000, 5001))} WHERE {FIRST_DAY}"
    ),
    "empty once and confirmed": (
        f"UPDATE candle_coverage SET empty_once = empty_once + empty_confirmed WHERE {FIRST_DAY}"
    ),
    "confirmed, not answered": f"UPDATE candle_coverage SET empty_confirmed = {at((2500, 2510))} WHERE {NEXT_DAY}",
    "unsettled, not answered": f"UPDATE candle_coverage SET unsettled = {at((2500, 2510))} WHERE {NEXT_DAY}",
    "answered in another block": (
        f"UPDATE candle_coverage SET answered = answered + {at((5000, 5001))} WHERE {FIRST_DAY}"
    ),
    "owed twice": SECOND_GAP,
    "missing, never owed": f"UPDATE candle_gaps SET missing = missing + {at((3000, 3001))} WHERE cause = 'failed'",
    "closed without proof": "UPDATE candle_gaps SET repaired_at = now(), resolution = 'stored' WHERE cause = 'failed'",
    "closed without a word": "UPDATE candle_gaps SET repaired_at = now(), missing = '{}' WHERE cause = 'failed'",
    "open, nothing missing": "UPDATE candle_gaps SET missing = '{}' WHERE cause = 'failed'",
    "two runs at once": SECOND_RUN,
    "a firing twice": SECOND_FIRING,
    "a bad end without a word": "UPDATE market_data_job_runs SET error_message = NULL",
    "an end before the beginning": ENDED_BEFORE,
    "running and ended": "UPDATE market_data_job_runs SET completed_at = now() WHERE status = 'running'",
    "a run of no job": SECOND_RUN.replace("SELECT job_id", "SELECT job_id + 999"),
    "runs of no job": "DELETE FROM market_data_jobs",
}  # fmt: skip


@pytest.mark.parametrize("change", REFUSED)
async def test_the_tables_refuse_what_they_can(rows: Rows, change: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await rows.connection.execute(REFUSED[change])


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
async def test_the_grid_of_the_tables_is_that_of_the_program(rows: Rows, timeframe: str) -> None:
    frame = TIMEFRAMES[timeframe]
    for number in (0, 1, frame.number(ms_of(START)), frame.number(ms_of(START)) + 7):
        opens, closes = moment(frame.open_ms(number)), moment(frame.open_ms(number + 1))
        for late in (timedelta(0), timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)):
            aligned = await rows.connection.fetchval(
                "SELECT marketd_aligned($1, $2, $3)", timeframe, opens + late, closes + late
            )
            assert aligned is (
                frame.aligned(ms_of(opens + late))
                and frame.number(ms_of(closes + late)) == frame.number(ms_of(opens + late)) + 1
                and frame.aligned(ms_of(closes + late))
            )


async def test_a_series_alone_is_looked_at(database: str, rows: Rows) -> None:
    await rows.connection.execute(f"DELETE FROM candles WHERE {CANDLE}")
    assert await found(database, Which(symbol="ETHUSD")) == set()
    assert await found(database, Which(symbol="BTCUSD", timeframe="1m")) == {"i01_accounted"}


async def test_a_sample_begins_with_the_state_and_is_the_same_for_a_seed(database: str, rows: Rows) -> None:
    await rows.connection.execute("UPDATE exchange_leases SET epoch = 5")
    async with Database(database, size=1) as opened:
        oracle = Oracle(opened)

        async def sampled(seed: int, seconds: float) -> tuple[list[Piece], Verdict]:
            seen: list[Piece] = []
            verdict = await hold(
                oracle, 0, sampling=Sampling(seed, seconds), seen=lambda piece, done, known: seen.append(piece)
            )
            return seen, verdict

        nothing, short = await sampled(1, 0)
        assert [piece.kind for piece in nothing] == [STATE]
        assert (short.pieces, [finding.query.name for finding in short.violations]) == (1, ["i12_orphans"])
        one, whole = await sampled(1, 60)
        again, _ = await sampled(1, 60)
        other, _ = await sampled(2, 60)
        assert whole.summary.share == 1
        assert one == again != other
        assert sorted(map(repr, one)) == sorted(map(repr, other)) == sorted(map(repr, await oracle.pieces()))


async def test_pieces_leave_nothing_out(database: str, rows: Rows) -> None:
    """However the ledger lies: each stretch begins where the one before ends, and outside of all there is one too."""
    for number in (-70, 3, 40, 41, 5000):
        await rows.block(number, Ranges(), series=XRP)
    async with Database(database, size=1) as opened:
        pieces = await Oracle(opened).pieces()
    stretches = [piece.where for piece in pieces if piece.kind == LEDGER and piece.series == XRP]
    assert [where["first"] for where in stretches][1:] == [where["last"] for where in stretches][:-1]
    assert [where["start"] for where in stretches][1:] == [where["until"] for where in stretches][:-1]
    assert len(stretches) == 4
    for when in ("1969-01-01 00:00", "1970-02-01 00:00", "2040-01-01 00:00"):
        await rows.connection.execute(candle(when, when.replace("00:00", "00:01"), "XRPUSD"))
    async with Database(database, size=1) as opened:
        (finding,) = (await hold(Oracle(opened), 0)).findings
    assert (finding.query.name, finding.total) == ("w02_foreign_rows", 3)


async def test_what_was_found_is_kept_until_all_is_looked_at_again(database: str, rows: Rows) -> None:
    async with Database(database, size=1) as opened:
        oracle, reports = Oracle(opened), Reports(opened)
        assert await reports.last_verification() is None
        await rows.connection.execute(f"DELETE FROM candles WHERE {CANDLE}")
        await oracle.record((await hold(oracle, 1_000)).summary)
        await rows.connection.execute("UPDATE exchange_leases SET epoch = 5")
        await oracle.record((await hold(oracle, 1_000_000, sampling=Sampling(1, 0))).summary)
        last = await reports.last_verification()
        assert last is not None
        assert (last.kind, last.violations) == ("sample", {"i01_accounted": 1, "i12_orphans": 1})
        await rows.connection.execute("UPDATE exchange_leases SET epoch = 4; " + CANDLES + " ON CONFLICT DO NOTHING")
        await oracle.record((await hold(oracle, 2_000_000)).summary)
        last = await reports.last_verification()
        assert last is not None
        assert (last.kind, last.share, last.violations) == ("full", 1, {})
