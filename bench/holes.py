"""Holes as an accident leaves them: candles that are gone from the table without a word to anybody."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import asyncpg

from bench.market import DAY_MS

MINUTE_MS = 60_000
PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Holes:
    """Half-open spans of ms, in order, and the fewest requests that can bring their candles back."""

    spans: Sequence[tuple[int, int]]
    least: int


async def opens_ms(connection: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
    """Open times of all candles, in order."""
    found = await connection.fetchval(
        "SELECT array_agg((extract(epoch FROM open_time) * 1000)::bigint ORDER BY open_time) FROM candles"
    )
    return list(found or [])


async def punch(connection: "asyncpg.Connection[asyncpg.Record]", lengths: Sequence[int], seed: int) -> Holes:
    """Take as many stretches of so many minutes away, each with a candle before, between and after them."""
    there = await opens_ms(connection)
    spans = _drawn(there, lengths, seed)
    await connection.execute(
        "DELETE FROM candles USING unnest($1::float8[], $2::float8[]) AS h (a, b) "
        "WHERE open_time >= to_timestamp(h.a) AND open_time < to_timestamp(h.b)",
        [start / 1000 for start, _ in spans], [end / 1000 for _, end in spans],
    )  # fmt: skip
    return Holes(spans, _least(there, spans))


async def whole(connection: "asyncpg.Connection[asyncpg.Record]", holes: Holes, before: Sequence[int]) -> int:
    """How many of the holes have all the candles that were there before."""
    there = set(await opens_ms(connection))
    return sum(
        there.issuperset(before[bisect_left(before, start) : bisect_left(before, end)]) for start, end in holes.spans
    )


def _drawn(there: Sequence[int], lengths: Sequence[int], seed: int) -> list[tuple[int, int]]:
    dice, spans = Random(seed), list[tuple[int, int]]()
    for length in sorted(lengths, reverse=True):
        while True:
            start = there[dice.randrange(1, len(there) - 1)]
            end = start + length * MINUTE_MS
            near = any(start <= other_end + MINUTE_MS and other <= end + MINUTE_MS for other, other_end in spans)
            if not near and end < there[-1] - DAY_MS:
                spans.append((start, end))
                break
    return sorted(spans)


def _least(there: Sequence[int], spans: Sequence[tuple[int, int]]) -> int:
    """Pages of 10 000 candles that cover all spans, each laid from the first candle that no page has."""
    asks = reached = 0
    for start, end in spans:
        first, last = bisect_left(there, start), bisect_left(there, end)
        first = max(first, reached)
        while first < last:
            asks, first = asks + 1, first + PAGE
            reached = first
    return asks
