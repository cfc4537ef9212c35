"""Choosing series and times: what is accepted, and how the rest is refused."""

import pytest

from marketd.cli.options import Selection, checked_filter, selected
from marketd.cli.root import main
from marketd.config import Config, build
from marketd.errors import UsageError
from marketd.model import Series

START_MS = 1_704_067_200_000  # 2024-01-01


@pytest.fixture
def config() -> Config:
    return build('timeframes = ["1m", "1h"]', {}, None, lambda path: None, need_database=False)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--start", "2999-01-01", "2999-01-01 is in the future; the latest accepted is now"),
        ("--end", "2999-01-01T00:00:00Z", "is in the future"),
        ("--start", "2024-01-01T00:00", "has no offset; write 2024-01-01T00:00:00Z"),
        ("--start", "20240101", "has no offset"),
        ("--start", "yesterday", "'yesterday' is no time; write 2024-01-01 or"),
        ("--start", "2024-02-30", "'2024-02-30' is no time"),
        ("--end", "", "'' is no time"),
        ("--start", "1999-12-31", "is before 2000-01-01"),
    ],
)
@pytest.mark.parametrize("command", ["backfill", "plan"])
def test_a_time_that_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], command: str, option: str, value: str, said: str
) -> None:
    assert main([command, "--symbol", "BTCUSD", option, value]) == 2
    error = capsys.readouterr().err
    assert f"'{option}'" in error
    assert said in error


def test_an_option_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfill", "--symbol", "BTCUSD", "--start", "2024-01-01", "--start", "2024-01-02"]) == 2
    assert "--start is given 2 times" in capsys.readouterr().err


def test_left_out_timeframes_are_those_of_the_configuration(config: Config) -> None:
    chosen = selected(config, "bitfinex", ["BTCUSD"], [])
    assert chosen.series == (Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "BTCUSD", "1h"))


def test_series_that_are_built_come_after_those_that_are_asked_for(config: Config) -> None:
    chosen = selected(config, "bitfinex", ["BTCUSD", "ETHUSD"], ["1w", "1d"])
    assert [series.timeframe for series in chosen.series] == ["1d", "1d", "1w", "1w"]


@pytest.mark.parametrize(
    ("exchange", "symbols", "timeframes", "said"),
    [
        ("krakn", ["BTCUSD"], ["1h"], "unknown exchange 'krakn'; known are bitfinex"),
        ("bitfinex", ["btcusd"], ["1h"], "'btcusd' is not a Bitfinex pair: write BTCUSD"),
        ("bitfinex", ["BTCUSD"], ["7h"], "unknown timeframe '7h'; bitfinex offers 1m 5m"),
        ("bitfinex", ["BTCUSD", "BTCUSD"], ["1h"], "--symbol BTCUSD is given 2 times"),
        ("bitfinex", ["BTCUSD"], ["1h", "1h"], "--timeframe 1h is given 2 times"),
    ],
)
def test_names_that_cannot_be_are_refused(
    config: Config, exchange: str, symbols: list[str], timeframes: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        selected(config, exchange, symbols, timeframes)


def test_an_end_that_is_not_after_the_start_is_refused(config: Config) -> None:
    with pytest.raises(UsageError, match="--end 2024-01-01 is not later than --start 2024-01-01"):
        selected(config, "bitfinex", ["BTCUSD"], ["1h"], START_MS, START_MS)


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (("krakn", None, None), "unknown exchange"),
        (("bitfinex", "btcusd", None), "not a Bitfinex pair"),
        ((None, None, "7h"), "unknown timeframe"),
    ],
)
def test_a_filter_that_can_match_nothing_is_refused(
    config: Config, which: tuple[str | None, str | None, str | None], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        checked_filter(config, *which)


def test_a_selection_is_written_as_the_options_that_make_it_again(config: Config) -> None:
    chosen = Selection(
        "bitfinex",
        (Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "BTCUSD", "1h")),
        START_MS,
        START_MS + 3_600_000,
    )
    assert " ".join(chosen.words) == (
        "--exchange bitfinex --symbol BTCUSD --timeframe 1m --timeframe 1h "
        "--start 2024-01-01 --end 2024-01-01T01:00:00Z"
    )
