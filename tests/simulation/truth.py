"""What the exchange would have said, and when.

Owns the model that the simulation is judged by: every minute the market ever had, what was lost, restored, revised or
published late at which time. Knows neither the ledger nor the page check, nor the rehearsal exchange's own arithmetic.
Times are the exchange's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from marketd.ranges import Ranges
from marketd.rehearsal.sources import DAY_MS, Chunk, Source, Synthetic
from tests.conformance.direct import line_of

MINUTE_MS = 60_000
DAY = 1440


@dataclass
class Lives:
    """A source of several markets, each with a life of its own: ``[listed, delisted)`` in ms."""

    markets: Mapping[str, Synthetic]
    lives: dict[str, tuple[int, int]]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.markets)

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        return self.lives[symbol]

    def day(self, symbol: str, day: int) -> Chunk:
        start_ms, end_ms = self.lives[symbol]
        return self.markets[symbol].day(symbol, day).between(start_ms, end_ms - 1)


@dataclass
class Hidden:
    """Intervals ``[start, end)`` that the exchange does not show from ``from_ms`` until ``until_ms``."""

    symbols: tuple[str, ...]
    start: int
    end: int
    from_ms: int
    until_ms: int


@dataclass(frozen=True)
class Revision:
    """From ``from_ms`` on the candles in ``[start, end)`` have one unit of volume more."""

    symbols: tuple[str, ...]
    start: int
    end: int
    from_ms: int


@dataclass
class Delay:
    """Of all candles the ``share`` is published ``delay_ms`` after the close, from ``from_ms`` until ``until_ms``."""

    share: float
    delay_ms: int
    from_ms: int
    until_ms: int


@dataclass(frozen=True)
class Said:
    """One answer: it spoke for ``scanned``, and told of the candles ``rows``, at the exchange's time ``at_ms``."""

    at_ms: int
    scanned: Ranges
    rows: Ranges


@dataclass
class Truth:
    source: Source
    columns: tuple[str, ...] = ("open_ms", "open", "close", "high", "low", "volume")
    """In this order its candles are to be stored."""

    hidden: list[Hidden] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    late: list[Delay] = field(default_factory=list)
    _days: dict[tuple[str, int], dict[int, bytes]] = field(default_factory=dict)
    _marked: dict[tuple[str, int], tuple[list[Hidden], list[Revision]]] = field(default_factory=dict)
    _known: tuple[int, int] = (0, 0)

    def line(self, symbol: str, number: int, at_ms: int) -> bytes | None:
        """The closed candle as the exchange shows it at ``at_ms``, None where it shows none."""
        found = self._day(symbol, number // DAY).get(number)
        if found is None:
            return None
        hidden, revisions = self._about(symbol, number // DAY)
        if any(item.start <= number < item.end and item.from_ms <= at_ms < item.until_ms for item in hidden):
            return None
        units = sum(item.start <= number < item.end and item.from_ms <= at_ms for item in revisions)
        return line_of(_revised(found, units) if units else found, self.columns)

    def _about(self, symbol: str, day: int) -> tuple[list[Hidden], list[Revision]]:
        """What has ever been hidden or revised of a day; looked up once, until there is more of either."""
        known = len(self.hidden), len(self.revisions)
        if known != self._known:
            self._known, self._marked = known, {}
        if (symbol, day) not in self._marked:
            start, end = day * DAY, (day + 1) * DAY

            def concerns(item: Hidden | Revision) -> bool:
                return symbol in item.symbols and item.start < end and item.end > start

            self._marked[symbol, day] = [*filter(concerns, self.hidden)], [*filter(concerns, self.revisions)]
        return self._marked[symbol, day]

    def withheld(self, symbol: str, number: int, at_ms: int) -> bool:
        """True where the candle was not published yet at ``at_ms``, though it had closed."""
        return any(
            number * 7919 % 1000 < late.share * 1000 and (number + 1) * MINUTE_MS > at_ms - late.delay_ms
            for late in self.late
            if late.from_ms <= at_ms < late.until_ms
        )

    def first(self, symbol: str) -> int:
        """The first interval with a candle."""
        day = self.source.bounds_ms(symbol)[0] // DAY_MS
        return next(min(rows) for rows in (self._day(symbol, day + more) for more in range(10)) if rows)

    def forget(self, symbol: str, from_ms: int) -> None:
        """Nothing is traded any more from a time on."""
        day = from_ms // MINUTE_MS // DAY
        self._days = {key: rows for key, rows in self._days.items() if key[0] != symbol or key[1] < day}

    def numbers(self, symbol: str, span: Ranges, at_ms: int) -> list[int]:
        """The intervals of ``span`` that the exchange shows a candle of at ``at_ms``, ascending."""
        hidden = [item for item in self.hidden if symbol in item.symbols and item.from_ms <= at_ms < item.until_ms]
        found: list[int] = []
        for start, end in span:
            for day in range(start // DAY, (end - 1) // DAY + 1):
                there = self._day(symbol, day)
                found += [n for n in range(max(start, day * DAY), min(end, (day + 1) * DAY)) if n in there]
        return [n for n in found if not any(item.start <= n < item.end for item in hidden)] if hidden else found

    def _day(self, symbol: str, day: int) -> dict[int, bytes]:
        key = symbol, day
        if key not in self._days:
            chunk = self.source.day(symbol, day)
            self._days[key] = {open_ms // MINUTE_MS: row for open_ms, row in zip(chunk.opens, chunk.rows, strict=True)}
        return self._days[key]


def _revised(row: bytes, units: int) -> bytes:
    """``units`` of volume more, written as the exchange writes numbers."""
    head, _, volume = row.removesuffix(b"]").rpartition(b",")
    text = str((Decimal(volume.decode()) + units).normalize())
    if "E+" in text:
        text = format(Decimal(text), "f")
    return head + b"," + text.replace("E", "e").encode() + b"]"


def scan(numbers: Sequence[int], window: tuple[int, int], limit: int, *, newest_first: bool) -> tuple[Ranges, Ranges]:
    """What a page of ``limit`` candles of ``window`` speaks for, and its candles: from the side it is filled from to
    its last candle where it is full, else the whole window.
    """
    if len(numbers) < limit:
        return Ranges.of(window), Ranges.from_numbers(numbers)
    if newest_first:
        page = numbers[len(numbers) - limit :]
        return Ranges.of((page[0], window[1])), Ranges.from_numbers(page)
    page = numbers[:limit]
    return Ranges.of((window[0], page[-1] + 1)), Ranges.from_numbers(page)


def later(first_ms: int, days: float) -> int:
    return first_ms + int(days * DAY_MS)
