"""Months that an archive is asked for."""

from datetime import UTC, datetime

import pytest

from marketd import months
from marketd.clock import ms_of
from marketd.exchanges import binancefiles
from marketd.ranges import NOTHING, Ranges
from marketd.timeframe import TIMEFRAMES, Timeframe

MINUTE = TIMEFRAMES["1m"]


def number(*day: int, frame: Timeframe = MINUTE) -> int:
    return frame.number(ms_of(datetime(*day, tzinfo=UTC)))  # type: ignore[misc,arg-type]


def chosen(remaining: Ranges, frame: Timeframe = MINUTE, now: tuple[int, ...] = (2025, 6, 15)) -> list[str]:
    now_ms = ms_of(datetime(*now, tzinfo=UTC))  # type: ignore[misc,arg-type]
    found = months.worthwhile(remaining, frame, page=998, now_ms=now_ms, ready_ms=binancefiles.ready_ms)
    return [str(month) for month in found]


def test_whole_months_within_what_is_left() -> None:
    remaining = Ranges.of((number(2024, 11, 2), number(2025, 1, 31)), (number(2025, 2, 1), number(2025, 3, 2)))
    assert chosen(remaining) == ["2024-12", "2025-02"]
    assert chosen(Ranges.of((number(2024, 12, 1), number(2025, 1, 1)))) == ["2024-12"]
    assert chosen(Ranges.of((number(2024, 12, 1) + 1, number(2025, 1, 1)))) == []
    assert chosen(NOTHING) == []


def test_the_span_is_that_of_the_calendar() -> None:
    remaining = Ranges.of((number(2024, 2, 1), number(2024, 3, 1)))
    (month,) = months.worthwhile(remaining, MINUTE, page=998, now_ms=2**41, ready_ms=binancefiles.ready_ms)
    assert month.span == (number(2024, 2, 1), number(2024, 3, 1))
    assert month.span[1] - month.span[0] == 29 * 1440


@pytest.mark.parametrize(
    ("timeframe", "worth"), [("1m", True), ("5m", True), ("15m", True), ("30m", False), ("1d", False)]
)
def test_two_files_must_be_fewer_than_the_requests(timeframe: str, worth: bool) -> None:
    frame = TIMEFRAMES[timeframe]
    remaining = Ranges.of((number(2023, 1, 1, frame=frame), number(2024, 1, 1, frame=frame)))
    assert len(chosen(remaining, frame)) == 12 * worth


def test_a_file_is_there_after_the_first_monday() -> None:
    remaining = Ranges.of((number(2024, 12, 1), number(2025, 2, 1)))
    assert chosen(remaining, now=(2025, 2, 3, 23)) == ["2024-12"]
    assert chosen(remaining, now=(2025, 2, 4)) == ["2024-12", "2025-01"]
    september = Ranges.of((number(2025, 8, 1), number(2025, 9, 1)))  # 2025-09-01 is a Monday itself
    assert (chosen(september, now=(2025, 9, 1, 23)), chosen(september, now=(2025, 9, 2))) == ([], ["2025-08"])
