"""``make bench``: what candles cost, beside the physical limit and two straw men, as ratios of one run.

A: backfill of a year of one dense market. B: the same from an exchange that takes 20 ms to answer. C: repair of 200
holes in a dense year. C2: 20 holes in a month with 5000 minutes that had no trades. D: work A from an exchange that
takes 30 requests a minute. The result of the last run that was kept is in ``bench/results.json``.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import asyncpg

from bench import holes, straw
from bench.figures import Figure, Kept, missed, shape, table
from bench.market import DENSE, LONG, THIN, Exchange, Place, exchange, recorded_place
from bench.server import fresh_database, postgres
from bench.work import Cost, Work, measured, weight

ROUNDS = 5
KEPT = Path(__file__).with_name("results.json")
_LATENCY = {"kind": "latency", "delay_s": 0.02}
_LIMIT = {"kind": "rate_limit", "per_minute": 30, "block_s": 60.0}
_PER_MINUTE = 28
_C_LENGTHS = (*[1] * 140, *[10] * 50, *[1440] * 10)
_C2_LENGTHS = (*[1] * 10, *[10] * 10)
_CONSUMER_BYTES = 204


def tell(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Round:
    """A and what is held against it, each on a table of its own; the rates are rows a second."""

    first: Cost
    again: Cost
    behind: Cost
    mixed: Cost
    copy: float
    executemany: float
    row_by_row: float
    bytes_each: float


async def _round(dsn: str, at: Exchange) -> Round:
    await at.behave()
    async with fresh_database(dsn, "round") as fresh:
        async with _connected(fresh) as connection:
            empty = (await weight(connection)).size
            first = await measured(Work(fresh), at)
            bytes_each = ((await weight(connection)).size - empty) / first.rows
        copy = await straw.plain_copy(fresh)
        many, one_by_one = await straw.executemany(fresh, 5), await straw.row_by_row(fresh, 1)
        await at.behave()
        again = await measured(Work(fresh, refetch=True), at)
        await _as_another_program_left_it(fresh)
        await at.behave()
        mixed = await measured(Work(fresh), at)
    await at.behave(_LATENCY)
    async with fresh_database(dsn, "round") as fresh:
        behind = await measured(Work(fresh), at)
    return Round(first, again, behind, mixed, copy, many, one_by_one, bytes_each)


def _speed(rounds: Sequence[Round]) -> list[Figure]:
    def each(value: Callable[[Round], float]) -> tuple[float, ...]:
        return tuple(map(value, rounds))

    return [
        Figure("plain COPY, rows/s", each(lambda one: one.copy)),
        Figure("A: of plain COPY", each(lambda one: one.first.rate / one.copy), at_least=0.55),
        Figure("A, a tenth is there: of plain COPY", each(lambda one: one.mixed.rate / one.copy), at_least=0.42),
        Figure("A: asks beyond the least", each(lambda one: _beyond_the_least(one.first)), at_most=1),
        Figure("A: own CPU, of the wall", each(lambda one: one.first.cpu_s / one.first.seconds), at_most=0.25),
        Figure("A: peak memory, MB", each(lambda one: one.first.peak_mb), at_most=120),
        Figure("A: WAL, bytes a row", each(lambda one: one.first.wal_bytes / one.first.rows)),
        Figure("A: on disk, of the consumer's layout", each(lambda one: one.bytes_each / _CONSUMER_BYTES), at_most=0.8),
        Figure("B: seconds, of A", each(lambda one: one.behind.seconds / one.first.seconds), at_most=1.15),
        Figure("A again: rate, of A", each(lambda one: one.again.rate / one.first.rate), at_least=1.5),
        Figure("A again: WAL, bytes a row", each(lambda one: one.again.wal_bytes / one.again.rows), at_most=10),
        Figure("A again: growth, bytes a row", each(lambda one: one.again.grown / one.again.rows), at_most=1),
        Figure("a straw man, executemany: of plain COPY", each(lambda one: one.executemany / one.copy)),
        Figure("a straw man, one INSERT a row: of plain COPY", each(lambda one: one.row_by_row / one.copy)),
    ]


def _beyond_the_least(cost: Cost) -> int:
    return cost.asks - -(-cost.rows // holes.PAGE)


async def _as_another_program_left_it(dsn: str) -> None:
    """Every tenth candle, and nothing that says how it came."""
    async with _connected(dsn) as connection:
        await connection.execute("TRUNCATE candle_coverage, candle_gaps, market_data_job_runs, market_series CASCADE")
        await connection.execute("DELETE FROM candles WHERE extract(epoch FROM open_time)::bigint / 60 % 10 <> 0")
        await connection.execute("VACUUM FULL candles")
        await connection.execute("CHECKPOINT")


async def _memory(dsn: str, peaks: Sequence[float]) -> Figure:
    async with exchange(LONG) as at, fresh_database(dsn, "long") as fresh:
        cost = await measured(Work(fresh), at)
    return Figure("A of ten times the rows: peak memory, of A", (cost.peak_mb / median(peaks),), at_most=1.1)


async def _repaired(dsn: str, at: Exchange) -> list[Figure]:
    """C: a year with 200 holes, and what the repair made of them."""
    await at.behave()
    async with fresh_database(dsn, "holed") as fresh, _connected(fresh) as connection:
        await measured(Work(fresh), at)
        before, content = await holes.opens_ms(connection), await _content(connection)
        punched = await holes.punch(connection, _C_LENGTHS, 1)
        await at.behave()
        cost = await measured(Work(fresh, "gap_repair"), at)
        closed = await holes.whole(connection, punched, before)
        falsely = await connection.fetchval("SELECT count(*) FROM candle_gaps WHERE emptied > 0 OR repaired_at IS NULL")
        same = content == await _content(connection)
    return [
        Figure("C: asks, of the least", (cost.asks / punched.least,), at_most=1.1),
        Figure("C: holes made whole, of 200", (closed,), at_least=200),
        Figure("C: gaps closed without their candles, or open", (falsely,), at_most=0),
        Figure("C: the table is what it was", (float(same),), at_least=1),
        Figure("C: seconds", (cost.seconds,)),
    ]


async def _content(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    return str(await connection.fetchval("SELECT md5(string_agg(c::text, '' ORDER BY open_time)) FROM candles c"))


async def _repaired_thin(dsn: str, place: Place) -> list[Figure]:
    """C2: a month in which most absent minutes are nobody's fault."""
    name = "C2, recorded" if place.data else "C2"
    async with exchange(place) as at, fresh_database(dsn, "thin") as fresh, _connected(fresh) as connection:
        await measured(Work(fresh, start_ms=place.start_ms), at)
        before = await holes.opens_ms(connection)
        punched = await holes.punch(connection, _C2_LENGTHS, 1)
        await measured(Work(fresh, "gap_repair", by_hand=False), at)
        closed = await holes.whole(connection, punched, before)
        await at.behave()
        await measured(Work(fresh, "gap_repair", by_hand=False), at)
        second = await measured(Work(fresh, start_ms=place.start_ms), at)
    return [
        Figure(f"{name}: minutes without a candle", (place.days * 1440 - len(before),)),
        Figure(f"{name}: holes made whole, of 20", (closed,), at_least=20),
        Figure(f"{name}: asks of a second repair and backfill", (second.asks,), at_most=0),
    ]


async def _limited(dsn: str, at: Exchange) -> list[Figure]:
    """D: an exchange that bans whoever asks too much."""
    await at.behave(_LIMIT)
    async with fresh_database(dsn, "limited") as fresh:
        cost = await measured(Work(fresh, per_minute=_PER_MINUTE), at)
    least = (cost.asks + cost.others - 1) * 60 / _PER_MINUTE
    return [
        Figure("D: seconds, of the least that 28 a minute allow", (cost.seconds / least,), at_most=1.1),
        Figure("D: refused for asking too much", (cost.refused,), at_most=0),
    ]


async def _recorded(dsn: str, place: Place, rounds: int) -> list[Figure]:
    """A of the recorded market."""
    rates, copies, asks = list[float](), list[float](), list[float]()
    async with exchange(place) as at:
        for number in range(rounds):
            tell(f"recorded, round {number + 1} of {rounds}")
            await at.behave()
            async with fresh_database(dsn, "recorded") as fresh:
                cost = await measured(Work(fresh), at)
                rates.append(cost.rate)
                copies.append(await straw.plain_copy(fresh))
                asks.append(_beyond_the_least(cost))
    ratios = tuple(rate / copy for rate, copy in zip(rates, copies, strict=True))
    return [
        Figure("A, recorded: of plain COPY", ratios, at_least=0.55),
        Figure("A, recorded: asks beyond the least", tuple(asks), at_most=1),
    ]


async def measure(count: int, *, debian: bool) -> list[Figure]:
    async with postgres(debian=debian) as dsn:
        async with exchange(DENSE) as at:
            rounds = []
            for number in range(count):
                tell(f"round {number + 1} of {count}")
                rounds.append(await _round(dsn, at))
            figures = _speed(rounds)
            tell("C: 200 holes")
            figures += await _repaired(dsn, at)
            tell("D: within a budget, a minute and a half")
            figures += await _limited(dsn, at)
        tell("C2: a month without many trades")
        figures += await _repaired_thin(dsn, THIN)
        tell("A of ten times the rows")
        figures.append(await _memory(dsn, [one.first.peak_mb for one in rounds]))
        if (place := recorded_place(275)) is not None:
            figures += await _recorded(dsn, place, count)
            month = recorded_place(31)
            assert month is not None
            tell("C2, recorded")
            figures += await _repaired_thin(dsn, month)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--debian", action="store_true", help="on the host's PostgreSQL instead of the wheel's")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--keep", action="store_true", help=f"make them what later runs compare with ({KEPT.name})")
    given = parser.parse_args()
    figures = asyncio.run(measure(given.rounds, debian=given.debian))
    server = "debian" if given.debian else "wheel"
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    print(table(figures, Kept.of(kept[server]) if server in kept else None))
    found = shape(figures)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    if given.keep:
        KEPT.write_text(json.dumps({**kept, server: found}, indent=2) + "\n")
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
