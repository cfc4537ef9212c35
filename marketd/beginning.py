"""When a series begins at its exchange.

Owns the search for the first candle where one request does not name it: candles of a day from the exchange's
beginning on, then finer ones within the day and the hour in which something was traded. Refuses to store what it finds.
"""

from collections.abc import Iterator, Sequence

from marketd.errors import BadReply, OutOfReach
from marketd.exchanges.facts import Exchange, Oldest, Search
from marketd.fetcher import Asking
from marketd.model import Series
from marketd.ranges import Span
from marketd.timeframe import TIMEFRAMES

_COARSE = ("1d", "1h")


async def first_candle(asking: Asking, series: Series) -> tuple[int | None, int]:
    """Interval of the oldest candle the exchange has (None: it has none), and the exchange's time.

    Where it serves old candles of longer timeframes only, it is the interval in which the oldest of those opens.
    """
    first = asking.fetcher.exchange.first
    if isinstance(first, Oldest):
        return await _named(asking, series, first)
    return await _searched(asking, series, first), asking.fetcher.now_ms()


async def _named(asking: Asking, series: Series, first: Oldest) -> tuple[int | None, int]:
    reply, at_ms = await asking.fetcher.send(first.request(series.symbol, series.timeframe), asking)
    first_ms = first.open_ms(reply.body)
    if first_ms is None:
        return None, at_ms
    if not 0 < first_ms <= at_ms:
        raise BadReply(f"{series}: the first candle is said to open at {first_ms}")
    return series.frame.number(first_ms), at_ms


async def _searched(asking: Asking, series: Series, search: Search) -> int | None:
    found: Span | None = None
    for timeframe in _steps(series.timeframe, asking.fetcher.exchange):
        within = found or (search.since_ms, asking.fetcher.now_ms())
        finer = await _first_traded(asking, series._replace(timeframe=timeframe), within, twice=search.twice)
        if finer is None:
            break
        found = finer
    return None if found is None else series.frame.number(found[0])


def _steps(timeframe: str, exchange: Exchange) -> Sequence[str]:
    """Timeframes to search in: from a day down to the one that is meant."""
    step_s = TIMEFRAMES[timeframe].typical_s
    coarser = (name for name in _COARSE if name in exchange.timeframes and TIMEFRAMES[name].typical_s > step_s)
    return [*coarser, timeframe]


async def _first_traded(asking: Asking, series: Series, within: Span, *, twice: bool) -> Span | None:
    """Opening and end in ms of the first interval in ``within`` that was traded in."""
    windows = list(_windows(asking, series, within))
    found = await _first_of(asking, series, windows)
    if found is None or not twice:
        return found
    return await _first_of(asking, series, [window for window in windows if window[1] <= found[0]]) or found


async def _first_of(asking: Asking, series: Series, windows: Sequence[Span]) -> Span | None:
    for window in windows:
        found = await _traded(asking, series, window)
        if found is not None:
            return found
    return None


def _windows(asking: Asking, series: Series, within: Span) -> Iterator[Span]:
    """``within`` in pages, without what is no longer served. The interval under way is among them: a market may be as
    young as that.
    """
    frame, page, served = series.frame, asking.fetcher.page, asking.fetcher.served(series)
    start = max(frame.number(within[0]), served.start)
    end = min(frame.ceiling(within[1]), frame.number(asking.fetcher.now_ms()) + 1)
    for number in range(start, end, page):
        yield frame.open_ms(number), frame.open_ms(min(number + page, end))


async def _traded(asking: Asking, series: Series, window: Span) -> Span | None:
    """The first interval of one page that was traded in. A candle without volume may stand before the first trade."""
    fetcher, frame = asking.fetcher, series.frame
    request = fetcher.exchange.candles_request(series.symbol, series.timeframe, *window, False, fetcher.page)
    try:
        reply, _ = await fetcher.send(request, asking)
    except OutOfReach:
        return None
    rows = fetcher.exchange.read_candles(reply.body)
    opens = [ms for ms, volume in zip(rows.open_ms, rows.volume, strict=True) if volume > 0]
    first_ms = min((ms for ms in opens if window[0] <= ms < window[1]), default=None)
    if first_ms is None:
        return None
    number = frame.number(first_ms)
    return frame.open_ms(number), frame.open_ms(number + 1)
