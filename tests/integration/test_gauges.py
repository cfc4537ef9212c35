"""What metrics know from a real database: rows are put in as the daemon would leave them."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg

from marketd.clock import ms_of
from marketd.gauges import Gauges
from marketd.jobset import JobSet
from marketd.metrics import Metrics
from marketd.model import JobType, Series
from marketd.pulse import Pulse
from marketd.ranges import Ranges
from marketd.standing import Standing
from marketd.store.reports import Reports
from marketd.store.session import Database
from tests.integration.ledger_rows import BLOCK, BTC, DAY, START, Rows, minutes
from tests.roles import login

NOW_MS = ms_of(START + timedelta(days=1))
ETH, LTC, XRP = (Series("bitfinex", symbol, "1m") for symbol in ("ETHUSD", "LTCUSD", "XRPUSD"))
OBJECTIVES = {BTC: 60.0, LTC: 60.0, XRP: 60.0}
AWAY = "postgresql://nobody@127.0.0.1:9/none"


class Round:
    """A clock that stands still, and says when a round has ended."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self.ended = asyncio.Event()

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, delay_s: float) -> None:
        self.ended.set()
        await asyncio.Event().wait()


def standing(clock: Round) -> Standing:
    made = Standing(clock, NOW_MS, {"bitfinex": 24.0}, Pulse(lambda: 0.0), 60.0)
    made.job_set = JobSet(tracked=frozenset({BTC, ETH, LTC, XRP}), objectives=OBJECTIVES)
    return made


def metrics_of(known: Standing) -> Metrics:
    metrics = Metrics()
    metrics.know(["bitfinex"], {series: OBJECTIVES.get(series) for series in known.job_set.tracked})
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"marketd_{name}", {"exchange": "bitfinex", **labels})


async def one_round(gauges: Gauges, clock: Round) -> None:
    task = asyncio.get_running_loop().create_task(gauges.read())
    async with asyncio.timeout(20):
        await clock.ended.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_round_shows_every_series_in_its_state_and_the_totals(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        rows = Rows(connection)
        await rows.block(BLOCK, Ranges.of(DAY), once=minutes((10, 12)), confirmed=minutes((20, 25)))
        await rows.block(BLOCK, minutes((0, 100), (110, 200)), series=ETH)
        await rows.gap("failed", minutes((100, 110)), series=ETH)
        await rows.gap("failed", minutes((50, 60)), series=ETH, repaired="stored")
        await rows.block(BLOCK, minutes((0, 100)), series=LTC)
    finally:
        await connection.close()
    clock = Round()
    known = standing(clock)
    metrics = metrics_of(known)
    async with Database(database, size=2) as opened:
        await one_round(Gauges(metrics, known, Reports(opened), {}), clock)
        async with opened.session():
            assert (opened.use.used, opened.use.most) == (1, 2)
        assert (opened.use.used, opened.use.idle) == (0, 1)
    states = {state: value(metrics, "series", state=state) for state in ("complete", "incomplete", "late", "never")}
    assert states == {"complete": 1, "incomplete": 1, "late": 1, "never": 1}
    names = ("stored", "empty_once", "empty_confirmed", "unknown")
    assert [value(metrics, "intervals", state=name) for name in names] == [1433 + 190 + 100, 2, 5, 0]
    assert value(metrics, "completeness_ratio") == 1730 / 1740
    assert [value(metrics, name, cause="failed") for name in ("open_gaps", "missing_candles")] == [1, 10]
    assert [value(metrics, name, cause="lost") for name in ("open_gaps", "missing_candles")] == [0, 0]
    labels = {series: {"symbol": series.symbol, "timeframe": "1m"} for series in (BTC, ETH, LTC, XRP)}
    met = {series: value(metrics, "series_freshness_objective_met", **labels[series]) for series in labels}
    assert met == {BTC: 1, ETH: None, LTC: 0, XRP: 0}
    assert value(metrics, "series_open_gaps", **labels[ETH]) == 1
    assert value(metrics, "series_missing_candles", **labels[ETH], cause="failed") == 10
    assert value(metrics, "series_answered_until_timestamp_seconds", **labels[BTC]) == NOW_MS / 1000
    assert value(metrics, "series_answered_until_timestamp_seconds", **labels[XRP]) == 0


async def test_freshness_is_judged_while_the_database_is_away() -> None:
    clock = Round()
    known = standing(clock)
    metrics = metrics_of(known)
    metrics.answered_until(BTC, NOW_MS)
    labels = {"symbol": "BTCUSD", "timeframe": "1m"}
    metrics.database(True)
    async with Database(AWAY, size=1) as opened:
        gauges = Gauges(metrics, known, Reports(opened), {})
        await one_round(gauges, clock)
        assert metrics.registry.get_sample_value("marketd_database_up") == 0
        assert value(metrics, "series_freshness_objective_met", **labels) == 1
        clock.ms += 61_000
        clock.ended.clear()
        await one_round(gauges, clock)
        assert value(metrics, "series_freshness_objective_met", **labels) == 0


async def test_jobs_whose_last_run_went_wrong_are_counted_while_they_are_awake(database: str) -> None:
    """A success, a removal or a pause ends it; orders by hand say so themselves."""
    clock = Round()
    known = standing(clock)
    metrics = metrics_of(known)
    wrong = "UPDATE market_data_jobs SET status = $2, last_error = 'gone' WHERE symbol = $1"
    connection = await asyncpg.connect(database)
    try:
        for symbol, status in (
            ("AUSD", "failed"),
            ("BUSD", "partial"),
            ("CUSD", "success"),
            ("DUSD", "failed"),
            ("EUSD", "failed"),
        ):
            await Rows(connection).job(symbol=symbol)
            await connection.execute(wrong, symbol, status)
        await connection.execute("UPDATE market_data_jobs SET enabled = false WHERE symbol = 'DUSD'")
        await connection.execute(
            "UPDATE market_data_jobs SET paused_until = now() + interval '1 hour' WHERE symbol = 'EUSD'"
        )
        async with Database(database, size=1) as opened:
            gauges = Gauges(metrics, known, Reports(opened), {})
            await one_round(gauges, clock)
            assert metrics.registry.get_sample_value("marketd_database_up") == 1
            counted = [value(metrics, "jobs_failing", job_type=job_type) for job_type in JobType]
            assert dict(zip(JobType, counted, strict=True)) == {
                JobType.BACKFILL: 0, JobType.CONTINUOUS: 2, JobType.GAP_REPAIR: 0,
            }  # fmt: skip
            await connection.execute(
                "INSERT INTO exchange_pauses (exchange, paused_until) VALUES ('bitfinex', 'infinity')"
            )
            clock.ended.clear()
            await one_round(gauges, clock)
            assert value(metrics, "jobs_failing", job_type="continuous") == 0
    finally:
        await connection.close()


async def test_a_transaction_that_others_leave_open_grows_old(database: str) -> None:
    """fault_22: whoever's it is, and although the role of the daemon may not look into others' sessions."""
    operator = await asyncpg.connect(database)
    clock = Round()
    known = standing(clock)
    metrics = metrics_of(known)

    def age_s() -> float | None:
        return metrics.registry.get_sample_value("marketd_database_oldest_transaction_seconds")

    try:
        async with Database(await login(operator, database, "marketd_run"), size=1) as opened:
            gauges = Gauges(metrics, known, Reports(opened), {})
            ages = []
            for statement in ("SELECT 1", "BEGIN", "SELECT count(*) FROM candles", "COMMIT", "BEGIN"):
                await operator.execute(statement)
                clock.ended.clear()
                await one_round(gauges, clock)
                ages.append(age_s())
                clock.ms += 3_600_000
        assert ages == [0, 0, 3600, 0, 0], "the second one is another one"
        assert metrics.registry.get_sample_value("marketd_database_up") == 1
    finally:
        await operator.close()
