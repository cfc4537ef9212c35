"""The truth that the rehearsal exchange serves.

Owns candles of every timeframe: one-minute rows of a source, seen through an overlay (what the exchange has lost or
revised so far), and everything longer aggregated from them exactly. Refuses to know requests, faults or a clock: the
caller says what time it is.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from marketd.rehearsal.rows import MINUTE_MS, aggregated, more_volume, row_bytes, unfinished
from marketd.rehearsal.sources import DAY_MS, Chunk, Filled, Recorded, Source, Synthetic, chunk
from marketd.timeframe import TIMEFRAMES, Timeframe

_PARENT = {
    "3m": "1m", "5m": "1m", "15m": "5m", "30m": "15m", "1h": "30m", "2h": "1h", "3h": "1h", "4h": "1h", "6h": "1h",
    "8h": "1h", "12h": "1h", "1d": "1h",
}  # fmt: skip
_DAY = TIMEFRAMES["1d"]
_KEPT_ROWS = 150_000  # a timeframe; about 20 MB


@dataclass(frozen=True, slots=True)
class Change:
    """Candles that open in ``[start_ms, end_ms)`` have other values: open, close, high, low, volume as texts.

    Without ``values`` the candles that exist get one unit of volume more; with them every minute gets these values,
    also where nothing was traded before.
    """

    start_ms: int
    end_ms: int
    values: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """What differs from the source at one moment: ``hidden`` half-open spans in ms, and changes."""

    hidden: tuple[tuple[int, int], ...] = ()
    changes: tuple[Change, ...] = ()

    def within(self, start_ms: int, end_ms: int) -> "Overlay":
        """The part that touches ``[start_ms, end_ms)``; most days it is empty, and equal parts share a cache entry."""
        if not self.hidden and not self.changes:
            return self
        return Overlay(
            tuple(span for span in self.hidden if span[0] < end_ms and span[1] > start_ms),
            tuple(change for change in self.changes if change.start_ms < end_ms and change.end_ms > start_ms),
        )


UNTOUCHED = Overlay()


@dataclass(frozen=True, slots=True)
class Window:
    """Which page is wanted: bounds are included, None is open; ``limit`` rows are taken from the newest or oldest."""

    start_ms: int | None = None
    end_ms: int | None = None
    limit: int = 100
    newest_first: bool = True


class Market:
    """Candles of a source in every timeframe; what was aggregated is kept, within a bounded number of rows."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._kept = {name: _Kept(_KEPT_ROWS) for name in ("1m", *_PARENT)}

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.source.symbols

    def filled(self) -> "Market":
        """The same market with a candle for every minute since the first trade."""
        return self if isinstance(self.source, Filled) else Market(Filled(self.source))

    def page(
        self, symbol: str, timeframe: str, window: Window, now_ms: int, overlay: Overlay = UNTOUCHED
    ) -> list[bytes]:
        """Rows in the order asked for; only those that have opened by ``now_ms``, the current ones unfinished."""
        rows: list[bytes] = []
        for part in self._parts(symbol, TIMEFRAMES[timeframe], window, now_ms, overlay):
            rows.extend(reversed(part.rows) if window.newest_first else part.rows)
            if len(rows) >= window.limit:
                break
        return rows[: window.limit]

    def _parts(self, symbol: str, frame: Timeframe, window: Window, now_ms: int, overlay: Overlay) -> Iterator[Chunk]:
        """Blocks (a day, or one candle of a longer timeframe) in the order asked for."""
        first_ms, last_ms = self._bounds_ms(symbol, overlay)
        start_ms = 0 if window.start_ms is None else window.start_ms
        end_ms = now_ms if window.end_ms is None else min(window.end_ms, now_ms)
        outer = frame if _longer_than_a_day(frame) else _DAY
        numbers = range(outer.number(max(start_ms, first_ms)), outer.number(min(end_ms, last_ms - 1)) + 1)
        for number in reversed(numbers) if window.newest_first else numbers:
            yield self._block(symbol, frame, number, now_ms, overlay).between(start_ms, end_ms)

    def _bounds_ms(self, symbol: str, overlay: Overlay) -> tuple[int, int]:
        first_ms, last_ms = self.source.bounds_ms(symbol)
        added = [change for change in overlay.changes if change.values is not None]
        return (
            min([first_ms, *(change.start_ms for change in added)]),
            max([last_ms, *(change.end_ms for change in added)]),
        )

    def _block(self, symbol: str, frame: Timeframe, number: int, now_ms: int, overlay: Overlay) -> Chunk:
        if not _longer_than_a_day(frame):
            return self._day(symbol, frame, number, now_ms, overlay)
        open_ms, close_ms = frame.open_ms(number), frame.open_ms(number + 1)
        rows: list[bytes] = []
        for day in range(_DAY.number(open_ms), _DAY.number(min(close_ms - 1, now_ms)) + 1):
            rows.extend(self._day(symbol, _DAY, day, now_ms, overlay).rows)
        return chunk([open_ms], [aggregated(open_ms, rows)]) if rows else chunk()

    def _day(self, symbol: str, frame: Timeframe, day: int, now_ms: int, overlay: Overlay) -> Chunk:
        local = overlay.within(day * DAY_MS, (day + 1) * DAY_MS)
        if (day + 1) * DAY_MS <= now_ms:
            return self._closed_day(symbol, frame.name, day, local)
        minutes = _until(self._closed_day(symbol, "1m", day, local), now_ms)
        return minutes if frame.name == "1m" else _grouped(minutes, frame)

    def _closed_day(self, symbol: str, name: str, day: int, local: Overlay) -> Chunk:
        key = symbol, day, local
        kept = self._kept[name].get(key)
        if kept is not None:
            return kept
        if name == "1m":
            made = _seen_through(local, self.source.day(symbol, day), day)
        else:
            made = _grouped(self._closed_day(symbol, _PARENT[name], day, local), TIMEFRAMES[name])
        self._kept[name].put(key, made)
        return made


_Key = tuple[str, int, Overlay]


class _Kept:
    """The most recently used days of one timeframe, as many as fit in ``most_rows``."""

    def __init__(self, most_rows: int) -> None:
        self._most = most_rows
        self._rows = 0
        self._days: OrderedDict[_Key, Chunk] = OrderedDict()

    def get(self, key: _Key) -> Chunk | None:
        found = self._days.get(key)
        if found is not None:
            self._days.move_to_end(key)
        return found

    def put(self, key: _Key, made: Chunk) -> None:
        self._days[key] = made
        self._rows += 1 + len(made.rows)
        while self._rows > self._most:
            _, dropped = self._days.popitem(last=False)
            self._rows -= 1 + len(dropped.rows)


def recorded(directory: Path, exchange: str = "bitfinex") -> Market:
    """A market of the recorded candles below ``directory/exchange``; ConfigError when there are none."""
    return Market(Recorded(directory / exchange))


def synthetic(seed: int, symbols: Sequence[str], start_ms: int, end_ms: int, no_trade_share: float = 0.1) -> Market:
    """A random market over ``[start_ms, end_ms)`` in which ``no_trade_share`` of the minutes have no candle."""
    return Market(Synthetic(seed, symbols, start_ms, end_ms, no_trade_share))


def _longer_than_a_day(frame: Timeframe) -> bool:
    return not 0 < frame.step_s <= _DAY.step_s


def _grouped(minutes: Chunk, frame: Timeframe) -> Chunk:
    opens: list[int] = []
    rows: list[bytes] = []
    for number, group in groupby(zip(minutes.opens, minutes.rows, strict=True), lambda pair: frame.number(pair[0])):
        opens.append(frame.open_ms(number))
        rows.append(aggregated(opens[-1], [row for _, row in group]))
    return chunk(opens, rows)


def _until(minutes: Chunk, now_ms: int) -> Chunk:
    """What is visible at ``now_ms``: the minutes that have opened, the last one as far as it has come."""
    open_now = minutes.between(0, now_ms)
    if not open_now.rows or open_now.opens[-1] + MINUTE_MS <= now_ms:
        return open_now
    last_ms = open_now.opens[-1]
    return Chunk(open_now.opens, [*open_now.rows[:-1], unfinished(open_now.rows[-1], last_ms, now_ms)])


def _seen_through(local: Overlay, minutes: Chunk, day: int) -> Chunk:
    if not local.hidden and not local.changes:
        return minutes
    by_open = dict(zip(minutes.opens, minutes.rows, strict=True))
    for change in local.changes:
        for open_ms in _minutes_of(change, day):
            if change.values is not None:
                by_open[open_ms] = row_bytes(open_ms, change.values)
            elif open_ms in by_open:
                by_open[open_ms] = more_volume(by_open[open_ms], open_ms)
    opens = sorted(ms for ms in by_open if not any(start <= ms < end for start, end in local.hidden))
    return chunk(opens, [by_open[ms] for ms in opens])


def _minutes_of(change: Change, day: int) -> range:
    """Open times of the minutes of ``change`` that lie in ``day``."""
    start_ms = max(change.start_ms, day * DAY_MS)
    return range(start_ms + -start_ms % MINUTE_MS, min(change.end_ms, (day + 1) * DAY_MS), MINUTE_MS)
