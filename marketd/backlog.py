"""What a backfill still owes to the history that its job wants, as far as the database tells.

Owns the stretch of a series that counts: from the job's start or the first candle to its end or to what was closed when
the job was made. Pure; asks the exchange nothing, so where nobody knows yet how history begins there is no stretch.
"""

from collections.abc import Mapping

from marketd import derive, planner
from marketd.exchanges.facts import Exchange
from marketd.model import Series
from marketd.ports import Facts

Window = tuple[Series, int, int]
"""A series that is asked for, and interval numbers ``[start, end)``."""


def window(
    series: Series, start_ms: int | None, end_ms: int, known: Mapping[Series, Facts], exchange: Exchange,
    derived: Mapping[str, str],
) -> Window | None:  # fmt: skip
    """What has to be answered for the history of ``series`` within ``[start_ms, end_ms)``; None where nobody knows.

    ``derived`` are the timeframes that are built from others; a ``start_ms`` of None is the first candle.
    """
    links = linked(series, derived, exchange, known)
    root = series._replace(timeframe=[series.timeframe, *derive.parents_of(series.timeframe, links)][-1])
    facts = known.get(root)
    if facts is None or (facts.first is None and facts.answered_start is None):
        return None
    frame = root.frame
    start = facts.answered_start if start_ms is None else frame.ceiling(start_ms)
    wanted = planner.wanted(
        start=facts.first if start_ms is None and facts.first is not None else start,
        end=None, first=facts.first, closed_end=frame.closed_end(end_ms), retired=facts.retired,
    )  # fmt: skip
    return (root, wanted.start, wanted.end) if wanted else (root, 0, 0)


def linked(
    series: Series, derived: Mapping[str, str], exchange: Exchange, known: Mapping[Series, Facts]
) -> dict[str, str]:
    """Which timeframe each is built from: configured, always derived, or found to be refused by the exchange."""
    links = dict(derived)
    timeframe = series.timeframe
    while timeframe in exchange.fallback and timeframe not in links:
        facts = known.get(series._replace(timeframe=timeframe))
        if facts is None or facts.derived_from is None:
            break
        links[timeframe] = timeframe = facts.derived_from
    return links
