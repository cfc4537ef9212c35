"""What an adapter is fed: replies as the exchange sends them, before anything is done to them.

Owns one ``Corpus`` for each adapter, made from recorded candles as the rehearsal exchange writes them down. Refuses an
adapter without a specification (``tests/conformance/spec.py``) or a dialect.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Exchange
from marketd.model import Ask, Series
from marketd.rehearsal.dialect import Candle
from marketd.rehearsal.dialects import spoken
from marketd.timeframe import TIMEFRAMES, Timeframe
from tests.conformance.direct import call_of
from tests.conformance.spec import SPECS

RECORDED = Path(__file__).parents[1] / "data" / "bitfinex" / "BTCUSD-1m-2013.csv.gz"
FIRST_MS = 1_370_217_600_000  # 2013-06-03
SIZES = (1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 12, 24, 120)
FRAMES = ("1m", "1h", "1d")


@dataclass(frozen=True)
class Page:
    """A reply to ``ask``, received at ``at_ms`` of the exchange's time, when all but its last interval had closed."""

    ask: Ask
    at_ms: int
    body: bytes


@dataclass(frozen=True)
class Corpus:
    """``said`` is an independent reading: the rows of a body as CSV lines in the exchange's digits."""

    exchange: Exchange
    pages: Sequence[Page]
    others: Sequence[bytes]
    said: Callable[[bytes], frozenset[bytes]]


def recorded() -> list[list[str]]:
    """Open time, open, close, high, low, volume of each recorded candle, as text."""
    return [line.split(",") for line in gzip.decompress(RECORDED.read_bytes()).decode().splitlines()]


def corpus(name: str) -> Corpus:
    """Recorded candles as the exchange would send them, and what its specification has besides."""
    exchange, spec, candles = EXCHANGES[name], SPECS[name], recorded()
    frames = [frame for frame in FRAMES if frame in exchange.timeframes]
    pages = []
    for at, size in enumerate(SIZES * len(frames) * 4):
        frame = TIMEFRAMES[frames[at % len(frames)]]
        pages.append(_page(exchange, candles[at * 7 : at * 7 + size], frame, newest_first=at % 2 == 1))
    others = (*spec.others, b"<html><head><title>502 Bad Gateway</title></head></html>")
    places = [("open_ms", "open", "high", "low", "close", "volume").index(column) for column in exchange.columns]

    def said(body: bytes) -> frozenset[bytes]:
        return frozenset(",".join(row[place] for place in places).encode() for row in spec.said(body))

    return Corpus(exchange, pages, others, said)


def _page(exchange: Exchange, candles: Sequence[Sequence[str]], frame: Timeframe, *, newest_first: bool) -> Page:
    first, symbol, dialect = frame.number(FIRST_MS), SPECS[exchange.name].symbol, spoken(exchange.name)
    start, end = first, first + len(candles) + 2
    newest_first = newest_first and not exchange.counted
    grace_ms = int(exchange.grace_s * 1000)
    at_ms = frame.open_ms(end - 1) + grace_ms + 1
    request = exchange.candles_request(
        symbol, frame.name, frame.open_ms(start), frame.open_ms(end), newest_first, exchange.page_limits[0]
    )
    asked = dialect.asked(call_of(request), at_ms)
    rows = [
        Candle(frame.open_ms(first + 1 + at), opened, high, low, close, volume)
        for at, (_, opened, close, high, low, volume) in enumerate(candles)
    ]
    series = Series(exchange.name, symbol, frame.name)
    ask = Ask(series, start, end, newest_first=newest_first, counted=exchange.counted)
    return Page(ask, at_ms, dialect.page(asked, rows[::-1] if newest_first else rows))


CORPORA: dict[str, Callable[[], Corpus]] = {name: partial(corpus, name) for name in NAMES}
