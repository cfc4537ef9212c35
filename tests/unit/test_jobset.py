"""The jobs of this moment: who works on what, and what is wrong with the rest."""

from datetime import UTC, datetime

import pytest

from marketd.jobset import JobSet, job_set
from marketd.model import JobType, Series

FRAMES = ("1m", "1h")
DERIVE = {"bitfinex": {"1w": "1d"}}
SETTLE_S = 120.0


def row(id: int, **columns: object) -> dict[str, object]:
    """A row of the job table: continuous for BTCUSD 1m every five minutes, unless ``columns`` say otherwise."""
    return {
        "id": id, "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "continuous",
        "schedule": "*/5 * * * *", "enabled": True, "start_time": None, "end_time": None, "origin": "sql",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC), **columns,
    }  # fmt: skip


def made(*rows: dict[str, object]) -> JobSet:
    return job_set(rows, FRAMES, DERIVE, {"bitfinex": 24.0}, SETTLE_S)


def series(symbol: str, timeframe: str) -> Series:
    return Series("bitfinex", symbol, timeframe)


def test_no_rows_are_no_jobs() -> None:
    jobs = made()
    assert (jobs.jobs, jobs.work, jobs.tracked, jobs.refused, jobs.scheduled()) == ({}, {}, frozenset(), {}, [])


def test_a_row_works_on_the_series_it_names() -> None:
    jobs = made(row(1), row(2, symbol="ETHUSD", timeframe=None))
    assert jobs.work == {1: (series("BTCUSD", "1m"),), 2: (series("ETHUSD", "1h"), series("ETHUSD", "1m"))}
    assert jobs.tracked == {series("BTCUSD", "1m"), series("ETHUSD", "1h"), series("ETHUSD", "1m")}


def test_a_row_for_all_works_on_what_no_explicit_row_does() -> None:
    jobs = made(row(1), row(2, symbol="ETHUSD", job_type="backfill"), row(3, symbol=None, timeframe=None))
    assert jobs.work[3] == (series("ETHUSD", "1m"),)
    assert jobs.worker(series("BTCUSD", "1m"), JobType.CONTINUOUS) == jobs.jobs[1]
    assert jobs.worker(series("ETHUSD", "1m"), JobType.CONTINUOUS) == jobs.jobs[3]
    assert jobs.worker(series("ETHUSD", "1m"), JobType.GAP_REPAIR) is None


def test_a_row_for_all_alone_works_on_nothing() -> None:
    assert made(row(1, symbol=None, timeframe=None)).work == {1: ()}


def test_a_derived_series_tracks_its_parent() -> None:
    assert made(row(1, timeframe="1w")).tracked == {series("BTCUSD", "1w"), series("BTCUSD", "1d")}


def test_of_two_rows_for_the_same_the_older_one_works_and_the_other_is_told_why() -> None:
    """fault_57."""
    jobs = made(row(7), row(3), row(5, job_type="backfill"))
    assert set(jobs.jobs) == {3, 5}
    assert jobs.refused == {7: "job 3 does the same for the same series"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("exchange", "nowhere"), ("symbol", "tBTCUSD"), ("timeframe", "7m"), ("schedule", "every day"), ("job_type", "x")],
)
def test_a_row_that_cannot_be_understood_is_refused_alone(column: str, value: str) -> None:
    jobs = made(row(1, **{column: value}), row(2))
    assert set(jobs.jobs) == {2}
    assert set(jobs.refused) == {1}
    assert column in jobs.refused[1]
    assert value in jobs.refused[1]


def test_a_refused_row_does_not_take_the_place_of_a_good_one() -> None:
    jobs = made(row(1, schedule="every day"), row(2))
    assert jobs.work == {2: (series("BTCUSD", "1m"),)}


def test_a_row_without_a_schedule_is_never_fired_by_the_clock() -> None:
    jobs = made(row(1), row(2, job_type="backfill", schedule=None))
    assert jobs.scheduled() == [(1, "*/5 * * * *")]
    assert [job.id for job in jobs.of_type("bitfinex", JobType.BACKFILL)] == [2]
    assert jobs.of_type("nowhere", JobType.BACKFILL) == []


class TestObjectives:
    def test_are_interval_and_longest_step_and_settle(self) -> None:
        jobs = made(row(1), row(2, timeframe="1h", schedule="0 2 * * *"))
        assert jobs.objectives == {series("BTCUSD", "1m"): 60 + 300 + 120, series("BTCUSD", "1h"): 3600 + 86_400 + 120}

    def test_are_the_jobs_own_word(self) -> None:
        assert made(row(1, freshness_s=90.0)).objectives == {series("BTCUSD", "1m"): 90}

    def test_exist_for_series_of_a_continuous_job_only(self) -> None:
        assert made(row(1, job_type="gap_repair"), row(2, symbol="ETHUSD", schedule=None)).objectives == {}


def test_tells_what_the_budget_has_to_carry() -> None:
    (need,) = made(row(1), row(2, symbol="ETHUSD", schedule="* * * * *")).feasibility
    assert (need.exchange, need.series, need.budget_per_minute, need.feasible) == ("bitfinex", 2, 24.0, True)
    assert need.needed_per_minute == pytest.approx(1.2)
