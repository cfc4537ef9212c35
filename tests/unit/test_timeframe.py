"""Interval numbers and the instants they stand for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.clock import at, ms_of
from marketd.errors import UsageError
from marketd.timeframe import TIMEFRAMES, Timeframe, timeframe

FRAMES = st.sampled_from(list(TIMEFRAMES.values()))
INSTANTS = st.integers(ms_of(datetime(2009, 1, 1, tzinfo=UTC)), ms_of(datetime(2037, 12, 31, tzinfo=UTC)))


def opened(frame: str, moment: datetime) -> datetime:
    """When the interval around ``moment`` opened."""
    chosen = timeframe(frame)
    return at(chosen.open_ms(chosen.number(ms_of(moment))))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("1m", datetime(2024, 2, 29, 13, 47, tzinfo=UTC)),
        ("15m", datetime(2024, 2, 29, 13, 45, tzinfo=UTC)),
        ("4h", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("1d", datetime(2024, 2, 29, tzinfo=UTC)),
        ("1w", datetime(2024, 2, 26, tzinfo=UTC)),  # a Monday
        ("2w", datetime(2024, 2, 19, tzinfo=UTC)),
        ("1M", datetime(2024, 2, 1, tzinfo=UTC)),
    ],
)
def test_intervals_open_where_exchanges_say(frame: str, expected: datetime) -> None:
    """fault_55."""
    assert opened(frame, datetime(2024, 2, 29, 13, 47, 12, tzinfo=UTC)) == expected


def test_two_weeks_count_from_the_first_monday_of_1970() -> None:
    assert at(TIMEFRAMES["2w"].open_ms(0)) == datetime(1970, 1, 5, tzinfo=UTC)
    assert opened("2w", datetime(1970, 1, 19, tzinfo=UTC)) == datetime(1970, 1, 19, tzinfo=UTC)
    assert opened("2w", datetime(1970, 1, 18, 23, tzinfo=UTC)) == datetime(1970, 1, 5, tzinfo=UTC)


def test_months_follow_the_calendar_over_the_year() -> None:
    """fault_55."""
    month = TIMEFRAMES["1M"]
    assert month.open_ms(month.number(ms_of(datetime(2023, 12, 31, 23, 59, tzinfo=UTC))) + 1) == ms_of(
        datetime(2024, 1, 1, tzinfo=UTC)
    )
    assert month.typical_s == 30 * 86_400


@pytest.mark.parametrize("frame", [frame for frame in TIMEFRAMES.values() if frame.name != "1M"])
def test_an_interval_is_as_long_as_its_name_says(frame: Timeframe) -> None:
    unit_s = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}[frame.name[-1]]
    assert frame.step_s == frame.typical_s == int(frame.name[:-1]) * unit_s
    assert frame.open_ms(8) - frame.open_ms(7) == frame.step_s * 1_000


def test_an_interval_is_closed_at_the_instant_the_next_one_opens() -> None:
    minute = TIMEFRAMES["1m"]
    assert minute.closed_end(minute.open_ms(7)) == 7
    assert minute.closed_end(minute.open_ms(7) - 1) == 6


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"unknown timeframe '7m'; known are 1m 3m .* 1M"):
        timeframe("7m")


@given(FRAMES, INSTANTS)
def test_an_instant_lies_in_its_interval(frame: Timeframe, ms: int) -> None:
    number = frame.number(ms)
    assert frame.open_ms(number) <= ms < frame.open_ms(number + 1)
    assert frame.aligned(frame.open_ms(number))
    assert frame.aligned(ms) == (frame.open_ms(number) == ms)


@given(FRAMES, INSTANTS)
def test_the_ceiling_is_the_first_interval_not_begun(frame: Timeframe, ms: int) -> None:
    number = frame.ceiling(ms)
    assert frame.open_ms(number) >= ms > frame.open_ms(number - 1)
