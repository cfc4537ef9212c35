"""Binance's archive of candles, a zipped CSV file a month.

Owns its paths, when a month appears, and the reading of its lines: times in microseconds since 2025, a line of headings
or none. Source: github.com/binance/binance-public-data.
"""

from collections.abc import Sequence

from marketd.errors import BadReply
from marketd.exchanges.facts import Archive, MonthFiles
from marketd.exchanges.layout import Layout
from marketd.model import Rows
from marketd.text import clean
from marketd.timeframe import TIMEFRAMES

_LAYOUT = Layout(time=0, open=1, high=2, low=3, close=4, volume=5)
_CLOSE = 6
_LONGEST_MS = 14  # digits: more are microseconds
_ODD_SHARE = 0.01  # candles off the grid close when they like
_DAY_MS = 86_400_000


def files(symbol: str, timeframe: str, month: int) -> MonthFiles:
    year, before = divmod(month, 12)
    name = f"{symbol}-{timeframe}-{1970 + year}-{before + 1:02}"
    path = f"/data/spot/monthly/klines/{symbol}/{timeframe}/{name}.zip"
    return MonthFiles(path, f"{path}.CHECKSUM", f"{name}.csv")


def ready_ms(month: int) -> int:
    """The day after the first Monday of the next month."""
    end_ms, weeks = TIMEFRAMES["1M"].open_ms(month + 1), TIMEFRAMES["1w"]
    return weeks.open_ms(weeks.ceiling(end_ms)) + _DAY_MS


def read_lines(lines: Sequence[bytes], timeframe: str) -> Rows:
    """``openTime,open,high,low,close,volume,closeTime,…`` in each; times in ms or microseconds."""
    found = [line.split(b",") for line in lines if line.strip()]
    if found and not found[0][0][:1].isdigit():
        del found[0]
    for fields in found:
        if len(fields) <= _CLOSE:
            raise BadReply("a line of the archive is too short")
        fields[0], fields[_CLOSE] = _ms(fields[0]), _ms(fields[_CLOSE])
    rows = _LAYOUT.rows(found)
    _refuse_others(rows.open_ms, [int(fields[_CLOSE]) for fields in found], timeframe)
    return rows


def _ms(text: bytes) -> bytes:
    if not text.isdigit():
        raise BadReply(f"not a time: {clean(text[:40].decode('utf-8', 'replace'), 40)!r}")
    return text[:-3] if len(text) > _LONGEST_MS else text


def _refuse_others(open_ms: Sequence[int], close_ms: Sequence[int], timeframe: str) -> None:
    """Candles of another timeframe, which may open on the same grid, do not close where those of this one do."""
    frame = TIMEFRAMES[timeframe]
    ends = (frame.open_ms(frame.number(ms) + 1) - 1 for ms in open_ms)
    odd = sum(end != close for end, close in zip(ends, close_ms, strict=True))
    if odd > len(open_ms) * _ODD_SHARE:
        raise BadReply(f"{odd} of {len(open_ms)} candles do not close as those of {timeframe} do")


ARCHIVE = Archive("https://data.binance.vision", files, ready_ms, read_lines)
