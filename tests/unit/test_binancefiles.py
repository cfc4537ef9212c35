"""The files of Binance's archive."""

import pytest

from marketd import months
from marketd.errors import BadReply
from marketd.exchanges import binancefiles

DECEMBER = (2024 - 1970) * 12 + 11
OPEN_MS = 1_735_689_600_000  # 2025-01-01
OLD = b"1735689540000,93576.00000000,93610.93000000,93537.50000000,93610.93000000,8.21827000,1735689599999,1,2,3,4,0\n"
NEW = b"1735689600000000,93576.00,93610.93,93537.50,93610.9300,8.2,1735689659999999,1,2,3,4,0\n"


def test_their_paths() -> None:
    files = binancefiles.files("BTCUSDT", "15m", DECEMBER)
    assert files.zipped == "/data/spot/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12.zip"
    assert files.checksum == files.zipped + ".CHECKSUM"
    assert files.csv == "BTCUSDT-15m-2024-12.csv"
    assert binancefiles.files("BTCUSDT", "1m", DECEMBER + 1).csv == "BTCUSDT-1m-2025-01.csv"
    assert str(months.Month(DECEMBER + 1, (0, 1))) == "2025-01"


def test_milliseconds_and_microseconds_are_the_same_times_and_digits_are_kept() -> None:
    rows = binancefiles.read_lines([OLD, NEW], "1m")
    assert rows.open_ms == [OPEN_MS - 60_000, OPEN_MS]
    assert rows.lines == [
        b"1735689540000,93576.00000000,93610.93000000,93537.50000000,93610.93000000,8.21827000",
        b"1735689600000,93576.00,93610.93,93537.50,93610.9300,8.2",
    ]
    assert (rows.open[1], rows.high[1], rows.low[1], rows.close[1]) == (93576.0, 93610.93, 93537.5, 93610.93)


@pytest.mark.parametrize(
    "headings", [b"open_time,open,high,low,close,volume,close_time\n", b"\xef\xbb\xbfopen_time\r\n"]
)
def test_a_line_of_headings_and_empty_ones_are_no_candles(headings: bytes) -> None:
    assert binancefiles.read_lines([headings, OLD, b"\n", NEW.replace(b"\n", b"\r\n"), b""], "1m").open_ms[1] == OPEN_MS
    assert binancefiles.read_lines([headings], "1m").open_ms == []
    assert binancefiles.read_lines([], "1m").open_ms == []


@pytest.mark.parametrize(
    "line",
    [
        OLD.replace(b"93576.00000000", b"NaN"),
        OLD.replace(b"93576.00000000", b""),
        OLD.replace(b"1735689540000,", b"17356895x0000,"),
        OLD.replace(b"1735689540000,", b"-1735689540000,"),
        OLD.replace(b"1735689599999", b"1_735689599999"),
        OLD.replace(b"1735689599999", b""),
        b"1" * 40 + OLD,
        b"1735689540000,1,1,1,1\n",
        b"\x00\xff\n",
    ],
)
def test_a_line_that_is_none_refuses_the_file(line: bytes) -> None:
    with pytest.raises(BadReply):
        binancefiles.read_lines([OLD, line], "1m")


@pytest.mark.parametrize("timeframe", ["3m", "5m", "1h", "1d"])
def test_candles_of_another_timeframe_are_refused(timeframe: str) -> None:
    with pytest.raises(BadReply, match=f"do not close as those of {timeframe} do"):
        binancefiles.read_lines([OLD, NEW], timeframe)
    with pytest.raises(BadReply, match="do not close"):
        binancefiles.read_lines([OLD.replace(b"1735689599999", b"1735693139999")], "1m")


def test_few_candles_off_the_grid_close_when_they_like() -> None:
    """As in December 2017 and February 2018."""
    odd = OLD.replace(b"1735689540000,", b"1735689541234,").replace(b"1735689599999", b"1735689598000")
    assert len(binancefiles.read_lines([OLD] * 150 + [odd], "1m").lines) == 151
