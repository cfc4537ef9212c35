"""What an adapter is fed: replies as the exchange sends them, before anything is done to them.

Owns one ``Corpus`` for each adapter, made from recorded candles. Refuses an adapter without one: who adds an exchange
adds its corpus here.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Exchange
from marketd.model import Ask, Series
from marketd.timeframe import TIMEFRAMES, Timeframe

RECORDED = Path(__file__).parents[1] / "data" / "bitfinex" / "BTCUSD-1m-2013.csv.gz"
FIRST_MS = 1_370_217_600_000  # 2013-06-03
SIZES = (1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 12, 24, 120)
FRAMES = ("1m", "1h", "1d", "1w", "1M")
"""Of the last two some exchange asks natively, and months are reckoned apart."""


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


def bitfinex() -> Corpus:
    candles = recorded()
    pages = []
    for at, size in enumerate(SIZES * len(FRAMES) * 4):
        frame = TIMEFRAMES[FRAMES[at % len(FRAMES)]]
        pages.append(_bitfinex_page(candles[at * 7 : at * 7 + size], frame, newest_first=at % 2 == 1))
    others = (
        b"[]", b"[[]]", b'["error",10020,"symbol: invalid"]', b'["error",11010,"ratelimit: error"]',
        b'{"error":"ERR_RATE_LIMIT"}', b'{"code":503,"error":"temporarily_unavailable"}', b'[["BTCUSD","DOGE:USD"]]',
        b"<html><head><title>502 Bad Gateway</title></head></html>", b'["error",20060,"maintenance"]',
    )  # fmt: skip
    return Corpus(EXCHANGES["bitfinex"], pages, others, _bitfinex_said)


def _bitfinex_page(candles: Sequence[Sequence[str]], frame: Timeframe, *, newest_first: bool) -> Page:
    first = frame.number(FIRST_MS)
    start, end = first, first + len(candles) + 2
    rows = [f"[{frame.open_ms(first + 1 + at)},{','.join(candle[1:])}]" for at, candle in enumerate(candles)]
    if newest_first:
        rows.reverse()
    ask = Ask(Series("bitfinex", "BTCUSD", frame.name), start, end, newest_first=newest_first)
    grace_ms = int(EXCHANGES["bitfinex"].grace_s * 1000)
    return Page(ask, frame.open_ms(end - 1) + grace_ms + 1, f"[{','.join(rows)}]".encode())


def _bitfinex_said(body: bytes) -> frozenset[bytes]:
    rows = json.loads(body, parse_float=str, parse_int=str)
    return frozenset(",".join(row[:6]).encode() for row in rows if len(row) >= 6)


CORPORA: dict[str, Callable[[], Corpus]] = {"bitfinex": bitfinex}
