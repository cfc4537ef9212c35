"""How figures and progress read."""

import pytest

from marketd import words
from marketd.cli.orders import Result, exit_code
from marketd.cli.progress import summed, told
from marketd.errors import BadReply, MarketdError, UnknownTimeframe, Unreachable
from marketd.meter import Meter
from marketd.model import RunStatus, Series, Tally

SERIES = Series("bitfinex", "BTCUSD", "1m")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_605, "1 h"),
        (3_661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("share", "said"), [(None, "-"), (1.0, "100 %"), (0.999999, "99.99 %"), (0.5, "50.00 %"), (0, "0.00 %")]
)
def test_a_share_is_never_rounded_up_to_all(share: float | None, said: str) -> None:
    assert words.percent(share) == said


@pytest.mark.parametrize(
    ("octets", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (25_000_000, "25 MB"), (4e15, "4000 TB")]
)
def test_a_size_has_a_unit(octets: float, said: str) -> None:
    assert words.size(octets) == said


def test_counts_and_moments() -> None:
    assert (words.count(1_234_567), words.count(None)) == ("1 234 567", "-")
    assert (words.plural(1, "gap"), words.plural(2, "gap")) == ("1 gap", "2 gaps")
    assert (words.moment(1_704_067_200_000), words.moment(None)) == ("2024-01-01 00:00", "-")


def test_a_meter_reads_share_rate_and_what_is_left() -> None:
    meter = Meter(SERIES, intervals=1000, requests=10, began_s=0)
    reading = meter.read(750, Tally(fetched=200), now_s=5)
    assert (reading.share, reading.rate, reading.left_s, reading.requests_left) == (0.25, 40, 15, 8)
    assert told(reading) == "40 candles/s, 15 s left, 8 requests at most"
    assert told(meter.read(0, Tally(fetched=900), now_s=9)) == "100 candles/s"


def test_a_meter_never_goes_back() -> None:
    meter = Meter(SERIES, intervals=100, requests=1, began_s=0)
    assert meter.read(40, Tally(), now_s=1).share == 0.6
    assert meter.read(80, Tally(), now_s=2).share == 0.6


def test_a_series_is_summed_up_without_what_did_not_happen() -> None:
    assert summed(Tally(requests=1)) == "1 request, 0 stored"
    assert summed(Tally(requests=2, inserted=1200, updated=1, empties=3, gaps_opened=1, gaps_closed=2)) == (
        "2 requests, 1 200 stored, 1 updated, 3 empty, 1 gap opened, 2 gaps closed"
    )


def _result(status: RunStatus, failure: MarketdError | None = None) -> Result:
    return Result(SERIES, status, Tally(), failure=failure)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([_result(RunStatus.SUCCESS)], 0),
        ([_result(RunStatus.FAILED, Unreachable("away"))], 69),
        ([_result(RunStatus.FAILED, UnknownTimeframe("7h"))], 2),
        ([_result(RunStatus.FAILED, BadReply("rubbish"))], 1),
        ([_result(RunStatus.PARTIAL, Unreachable("away"))], 1),
        ([_result(RunStatus.SUCCESS), _result(RunStatus.FAILED, Unreachable("away"))], 1),
        ([_result(RunStatus.FAILED, Unreachable("away")), _result(RunStatus.FAILED, BadReply("rubbish"))], 1),
        ([_result(RunStatus.INTERRUPTED)], 1),
        ([_result(RunStatus.SUCCESS), _result(RunStatus.SKIPPED)], 1),
    ],
)
def test_the_exit_code_of_an_order(results: list[Result], code: int) -> None:
    assert exit_code(results) == code
