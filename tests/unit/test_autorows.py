"""Which backfill rows marketd makes by itself."""

from typing import Any

from marketd.autorows import NOT_NEEDED, AutoRows, auto_rows
from marketd.model import Job, JobType

FRAMES = ("1m", "1h")


def job(number: int, symbol: str | None = "BTCUSD", timeframe: str | None = "1m", **more: Any) -> Job:
    return Job(number, "bitfinex", symbol, timeframe, more.pop("job_type", JobType.CONTINUOUS), None, **more)


def row(number: int, symbol: str | None, timeframe: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "exchange": "bitfinex", "symbol": symbol, "timeframe": timeframe, "origin": "sql",
        "enabled": True, "status": None, "caused_by": None, **more,
    }  # fmt: skip


def auto(number: int, cause: int, **more: Any) -> dict[str, Any]:
    return row(number, "BTCUSD", "1m", origin="auto", caused_by=cause, **more)


def test_a_series_without_a_backfill_row_gets_one_by_the_oldest_row_that_tracks_it() -> None:
    jobs = [job(7), job(3, job_type=JobType.GAP_REPAIR), job(9, "ETHUSD")]
    assert auto_rows(jobs, [], FRAMES) == AutoRows(create=(3, 9))


def test_a_written_row_says_that_it_has_been_thought_of_enabled_or_not() -> None:
    for written in (
        row(1, "BTCUSD", "1m"),
        row(1, "BTCUSD", "1m", enabled=False),
        row(1, "BTCUSD", None),
        row(1, None, "1m"),
        row(1, None, None),
    ):
        assert not auto_rows([job(7)], [written], FRAMES)
    for other in (
        row(1, "ETHUSD", "1m"),
        row(1, "BTCUSD", "1h"),
        row(1, "BTCUSD", "1m") | {"exchange": "elsewhere"},
    ):
        assert auto_rows([job(7)], [other], FRAMES).create == (7,)


def test_a_symbol_in_all_timeframes_needs_one_as_long_as_one_of_them_has_none() -> None:
    one, both = [row(1, "BTCUSD", "1m")], [row(1, "BTCUSD", "1m"), row(2, "BTCUSD", "1h")]
    assert auto_rows([job(7, timeframe=None)], one, FRAMES).create == (7,)
    assert not auto_rows([job(7, timeframe=None)], both, FRAMES)


def test_rows_that_track_nothing_cause_nothing() -> None:
    assert not auto_rows([job(7, None), job(8, origin="auto"), job(9, job_type=JobType.BACKFILL)], [], FRAMES)


def test_it_is_disabled_with_its_cause_and_comes_back_with_it() -> None:
    assert not auto_rows([job(7)], [auto(20, 7)], FRAMES)
    assert auto_rows([], [auto(20, 7)], FRAMES) == AutoRows(disable=(20,))
    assert auto_rows([job(7)], [auto(20, 7, enabled=False, status=NOT_NEEDED)], FRAMES) == AutoRows(enable=(20,))
    assert not auto_rows([], [auto(20, 7, enabled=False, status=NOT_NEEDED)], FRAMES)


def test_one_that_a_person_has_disabled_stays_so() -> None:
    assert not auto_rows([job(7)], [auto(20, 7, enabled=False, status="success")], FRAMES)


def test_it_gives_way_to_a_row_that_somebody_writes_later() -> None:
    assert auto_rows([job(7)], [auto(20, 7), row(21, "BTCUSD", None)], FRAMES) == AutoRows(disable=(20,))
