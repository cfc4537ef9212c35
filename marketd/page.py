"""The page check: from rows to an answer.

Owns the decision what an answer covers and which of its rows may be stored. Refuses whole pages that contradict
themselves (BadReply); drops single rows that are misaligned or implausible. Knows nothing of the database.
"""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from operator import gt, lt

from marketd.errors import BadReply
from marketd.exchanges.facts import Exchange, NoTrade, Paging
from marketd.model import Answer, Ask, Drop, Rows
from marketd.ranges import NOTHING, Ranges
from marketd.timeframe import Timeframe

log = logging.getLogger(__name__)

_LEAST = 1e-20
_MOST = 1e20
_FIGURES = bytes.maketrans(b"0123456789.", b"0" * 11)
_LONG = b"0" * 16  # floats tell apart whatever has no more than 15 digits
_ROUND = 100  # what exchanges choose as the size of a page is a multiple of it
_REACH_MARGIN = 2  # intervals that may end between the exchange's look and ours
_DROPPED_SHARE = 0.01  # a page with more dropped rows than this is refused as a whole


class Conflicting(BadReply):
    """Two different candles of one interval: neither can be believed."""


class TooManyDropped(BadReply):
    """So much of the page is unusable that asking in halves would not help: the series' run fails."""


def check(ask: Ask, rows: Rows, exchange: Exchange, *, at_ms: int, latest_ms: int | None = None) -> Answer:
    """What ``rows``, received at the exchange's time ``at_ms``, say about ``ask``.

    Where clocks differ ``at_ms`` is the earlier one, by which no candle is closed too soon; by ``latest_ms``, the later
    one, nothing counts as served for too long.

    Raises BadReply when two candles of one interval differ, when more than 1 % of the rows are unusable, or when rows
    were sent and none lies in the ask.
    """
    frame, recent = ask.series.frame, exchange.paging is Paging.RECENT
    if exchange.off_grid:
        rows = _on_grid(rows, frame)
    numbers, aligned = _numbers(rows.open_ms, frame)
    # A candle is closed once the grace of the exchange's cache has passed; an open one ends what the answer speaks for.
    end = min(ask.end, frame.closed_end(at_ms - int(exchange.grace_s * 1000)), *(numbers[at] for at in rows.unfinished))
    served_from = _served_from(ask, numbers, exchange, frame.closed_end(at_ms if latest_ms is None else latest_ms))
    order = _ordered(numbers)
    low, high, past = (bisect_left(order.numbers, bound) for bound in (ask.start, end, ask.end))
    outside = len(numbers) - (past - low)
    if numbers and low == past and not recent and _heedless(ask, numbers, exchange):
        raise BadReply(f"{len(numbers)} candles came and none lies in the range asked for")
    inside = order.positions[low:high]
    plausible = _plausible(rows, exchange.columns)
    unusable = [at for at in inside if not (aligned[at] and plausible[at])]
    _refuse_too_many_dropped(len(unusable), len(inside))
    stored = _unique(inside, unusable, order, rows)
    good = Ranges.from_numbers([numbers[at] for at in stored])
    bad = Ranges.from_numbers([numbers[at] for at in unusable])
    misaligned = sum(1 for at in unusable if not aligned[at])
    return Answer(
        ask=ask,
        covered=_covered(ask, end, good | bad, numbers, exchange) - _unserved(ask, served_from, good | bad),
        rows=good,
        dropped=bad - good,
        csv=b"".join(rows.lines[at] + b"\n" for at in stored),
        columns=exchange.columns,
        at_ms=at_ms,
        fetched=len(numbers),
        drops={
            Drop.OUTSIDE: outside,
            Drop.OPEN: past - max(low, high),
            Drop.MISALIGNED: misaligned,
            Drop.IMPLAUSIBLE: len(unusable) - misaligned,
            Drop.REPEATED: len(inside) - len(unusable) - len(stored),
        },
        served_from=served_from,
        always=_always(exchange, (rows.volume[at] for at in stored)),
    )


def _served_from(ask: Ask, sent: Sequence[int], exchange: Exchange, closed_end: int) -> int | None:
    """Where in the ask begins what the exchange still serves; None where that is not within it.

    Recent pages tell it by their oldest row. Elsewhere it is known, with a little room for the time between both ends.
    """
    if exchange.paging is Paging.RECENT:
        oldest = min(sent, default=ask.start)
    elif exchange.reach is not None:
        oldest = closed_end - exchange.reach + _REACH_MARGIN
    else:
        return None
    return min(oldest, ask.end) if oldest > ask.start else None


def _unserved(ask: Ask, served_from: int | None, seen: Ranges) -> Ranges:
    """What an empty answer would not speak for; a candle that came was served, whatever is known of the reach."""
    return NOTHING if served_from is None else Ranges.of((ask.start, served_from)) - seen


def _always(exchange: Exchange, volumes: Iterable[float]) -> bool:
    """Whether a missing candle is a fault: a candle without trades shows that the exchange sends those."""
    if exchange.no_trade is NoTrade.UNPROVEN:
        return any(volume == 0 for volume in volumes)
    return exchange.no_trade is NoTrade.FLAT


def _on_grid(rows: Rows, frame: Timeframe) -> Rows:
    """Candles that open between two intervals, taken for the one they open in; of several the one traded most."""
    opens = [frame.open_ms(number) for number in _numbers(rows.open_ms, frame)[0]]
    if opens == rows.open_ms:
        return rows
    aligned = {ms for ms, own in zip(opens, rows.open_ms, strict=True) if ms == own}
    best: dict[int, int] = {}
    for at, (ms, own) in enumerate(zip(opens, rows.open_ms, strict=True)):
        if ms != own and ms not in aligned and (ms not in best or rows.volume[at] > rows.volume[best[ms]]):
            best[ms] = at
    kept = [at for at, own in enumerate(rows.open_ms) if opens[at] == own or best.get(opens[at]) == at]
    log.info("candles off the grid", extra={"fields": {"moved": len(best), "left_out": len(opens) - len(kept)}})
    return Rows(
        open_ms=[opens[at] for at in kept],
        open=[rows.open[at] for at in kept],
        high=[rows.high[at] for at in kept],
        low=[rows.low[at] for at in kept],
        close=[rows.close[at] for at in kept],
        volume=[rows.volume[at] for at in kept],
        lines=[b"%d,%b" % (opens[at], rows.lines[at].partition(b",")[2]) for at in kept],
        unfinished=tuple(place for place, at in enumerate(kept) if at in rows.unfinished),
    )


@dataclass(frozen=True, slots=True)
class _Order:
    """Where the rows stand when they ascend, and their numbers then; ``strict`` where none comes twice."""

    positions: Sequence[int]
    numbers: Sequence[int]
    strict: bool


def _ordered(numbers: Sequence[int]) -> _Order:
    """Exchanges send candles in order, one way or the other: then nothing has to be sorted."""
    count = len(numbers)
    if all(map(lt, numbers, islice(numbers, 1, None))):
        return _Order(range(count), numbers, strict=True)
    if all(map(gt, numbers, islice(numbers, 1, None))):
        return _Order(range(count - 1, -1, -1), numbers[::-1], strict=True)
    positions = sorted(range(count), key=numbers.__getitem__)
    return _Order(positions, [numbers[at] for at in positions], strict=False)


def _numbers(open_ms: Sequence[int], frame: Timeframe) -> tuple[list[int], list[bool]]:
    if frame.step_s:
        step, anchor = frame.step_s * 1000, frame.anchor_s * 1000
        return [(ms - anchor) // step for ms in open_ms], [(ms - anchor) % step == 0 for ms in open_ms]
    numbers = [_month_number(ms, frame) for ms in open_ms]
    return numbers, [frame.open_ms(number) == ms for number, ms in zip(numbers, open_ms, strict=True)]


def _month_number(ms: int, frame: Timeframe) -> int:
    try:
        return frame.number(ms)
    except (ValueError, OverflowError, OSError) as error:
        raise BadReply(f"open time {ms} is not a date") from error


def _plausible(rows: Rows, columns: Sequence[str]) -> list[bool]:
    """Positive finite prices in order, volume finite and not negative; NaN fails every comparison."""
    plausible = [
        _LEAST <= low <= opened <= high <= _MOST and low <= close <= high and (volume == 0 or _LEAST <= volume <= _MOST)
        for opened, high, low, close, volume in zip(
            rows.open, rows.high, rows.low, rows.close, rows.volume, strict=True
        )
    ]
    if _LONG not in b",".join(rows.lines).translate(_FIGURES):
        return plausible
    return [sane and _in_order(line, columns) for sane, line in zip(plausible, rows.lines, strict=True)]


def _in_order(line: bytes, columns: Sequence[str]) -> bool:
    """The same by all digits: the database compares those, and would refuse the whole page for the last one."""
    if _LONG not in line.translate(_FIGURES):
        return True
    prices = {name: Decimal(text) for name, text in zip(columns, line.decode().split(","), strict=True)}
    return (
        prices["low"] <= min(prices["open"], prices["close"]) <= max(prices["open"], prices["close"]) <= prices["high"]
    )


def _unique(inside: Sequence[int], unusable: Sequence[int], order: _Order, rows: Rows) -> Sequence[int]:
    """Positions of what is stored, one row an interval: equal repeats are one, different ones refuse the page."""
    dropped = frozenset(unusable)
    usable = [at for at in inside if at not in dropped] if dropped else inside
    if order.strict:
        return usable
    stored: list[int] = []
    for at in usable:
        if not stored or rows.open_ms[at] != rows.open_ms[stored[-1]]:
            stored.append(at)
        elif rows.lines[at] != rows.lines[stored[-1]]:
            raise Conflicting(f"two different candles open at {rows.open_ms[at]}")
    return stored


def _refuse_too_many_dropped(dropped: int, received: int) -> None:
    if dropped > max(1, received * _DROPPED_SHARE):
        raise TooManyDropped(f"{dropped} of {received} candles are misaligned or implausible")


def _covered(ask: Ask, end: int, seen: Ranges, sent: Sequence[int], exchange: Exchange) -> Ranges:
    """The range that the answer speaks for (design: what an answer covers).

    Empty: the whole ask. Else from the uncut edge to the outermost row on the cut side, which is the whole ask where
    an anchor stands at that edge. From the first to the last row only, where the order contradicts the sort asked
    for, or where rows outside the ask show that its bounds were not heeded. The whole of a counted ask, unless its
    bounds were not heeded, a candle is lacking that is known to be there, or just as many came as a smaller page may
    hold. Recent pages never end before their time, and are never empty.
    """
    whole = Ranges.of((ask.start, end))
    if exchange.paging is Paging.RECENT:
        return whole if sent else NOTHING
    if not sent:
        return whole
    strays = _heedless(ask, sent, exchange)
    if ask.counted and not strays:
        cut = len(sent) < whole.size and (len(sent) in exchange.page_limits or len(sent) % _ROUND == 0)
        return seen.hull if (ask.known & whole) - seen or cut else whole
    if not seen:
        return NOTHING
    if strays or _contradicts(sent, newest_first=ask.newest_first):
        return seen.hull
    return Ranges.of((seen.start, end) if ask.newest_first else (ask.start, seen.end))


def _heedless(ask: Ask, sent: Sequence[int], exchange: Exchange) -> bool:
    """Whether rows outside the ask show that its bounds were not heeded; some exchanges begin a little early."""
    early = exchange.page_limits[0] if exchange.strays else 0
    return min(sent) < ask.start - early or max(sent) >= ask.end


def _contradicts(sent: Sequence[int], *, newest_first: bool) -> bool:
    return any(map(lt if newest_first else gt, sent, islice(sent, 1, None)))
