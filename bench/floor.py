"""``python -m bench.floor``: the least that the parts cost which marketd is made of, one by one in a bare loop.

No checks, no ledger, no budget, no second connection: what a target below it asks for in vain. Small answers are those
of a continuous cycle, large ones the pages of a backfill.
"""

import argparse
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median

import aiohttp
import asyncpg
import msgspec
import uvloop

from bench.market import DENSE, Exchange, exchange
from bench.server import fresh_database, postgres
from bench.work import cpu_s

ROUNDS = 5
SMALL, LARGE = 6, 10_000
_TIMES = {SMALL: 200, LARGE: 10}
_MINUTE_MS = 60_000
_PAGE = """
CREATE TEMPORARY TABLE page (
    open_ms bigint, open numeric, close numeric, high numeric, low numeric, volume numeric
) ON COMMIT DELETE ROWS
"""
_INSERT = """
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT t, t + interval '1 minute', 'bitfinex', $1, '1m', open, high, low, close, volume
FROM (SELECT timestamptz 'epoch' + open_ms * interval '1 millisecond' AS t, * FROM page) AS page
"""

_COMPARE = """
SELECT count(*)
FROM (SELECT timestamptz 'epoch' + open_ms * interval '1 millisecond' AS t, * FROM page) AS p
LEFT JOIN candles c ON c.exchange = 'bitfinex' AND c.symbol = $1 AND c.timeframe = '1m' AND c.open_time = p.t
WHERE (c.open, c.high, c.low, c.close, c.volume) IS DISTINCT FROM (p.open, p.high, p.low, p.close, p.volume)
"""

Part = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds of one ``part``, on the wall and of this process's own."""

    part: str
    rows: int
    ms: float
    own_ms: float


@dataclass
class Bare:
    """A session of each kind, and the rows of the answer last read."""

    http: aiohttp.ClientSession
    connection: "asyncpg.Connection[asyncpg.Record]"
    url: str
    count: int
    body: bytes = b""
    _asks: int = 0
    _symbols: int = 0

    async def ask(self) -> None:
        """Another stretch with each ask: nothing comes out of a cache."""
        self._asks += 1
        end_ms = DENSE.end_ms - self._asks * _MINUTE_MS
        async with self.http.get(f"{self.url}?limit={self.count}&end={end_ms}") as answer:
            self.body = await answer.read()

    async def read(self) -> list[list[object]]:
        rows: list[list[object]] = msgspec.json.decode(self.body)
        assert len(rows) == self.count
        return rows

    async def store(self) -> None:
        """A page of a series of its own, as text, in one transaction."""
        self._symbols += 1
        async with self.connection.transaction():
            await self._copy()
            await self.connection.execute(_INSERT, f"S{self._symbols}")

    async def compare(self) -> None:
        """The page stored last once more, of which nothing has changed."""
        async with self.connection.transaction():
            await self._copy()
            assert await self.connection.fetchval(_COMPARE, f"S{self._symbols}") == 0

    async def _copy(self) -> None:
        lines = b"".join(
            b"%s\n" % line.replace(b",", b"\t") for line in self.body.strip(b"[]").split(b"],[")
        )  # the digits as they came
        await self.connection.copy_to_table("page", source=io.BytesIO(lines), format="text")


@asynccontextmanager
async def _bare(dsn: str, at: Exchange, count: int) -> AsyncIterator[Bare]:
    url = f"{at.base_url}/candles/trade:1m:tBTCUSD/hist"
    connection = await asyncpg.connect(dsn)
    try:
        async with aiohttp.ClientSession() as http:
            await connection.execute(_PAGE)
            yield Bare(http, connection, url, count)
    finally:
        await connection.close()


def _parts(bare: Bare) -> dict[str, Part]:
    return {"ask": bare.ask, "read": bare.read, "store": bare.store, "compare": bare.compare}


async def _timed(part: Part, times: int) -> tuple[float, float]:
    began, cpu = time.perf_counter(), cpu_s()
    for _ in range(times):
        await part()
    return 1000 * (time.perf_counter() - began) / times, 1000 * (cpu_s() - cpu) / times


async def measure() -> list[Result]:
    found = []
    async with postgres() as dsn, exchange(DENSE) as at:
        await at.behave()
        for count in (SMALL, LARGE):
            async with fresh_database(dsn, "bare") as fresh, _bare(fresh, at, count) as bare:
                for name, part in _parts(bare).items():
                    await part()
                    rounds = [await _timed(part, _TIMES[count]) for _ in range(ROUNDS)]
                    ms, own_ms = (median(values) for values in zip(*rounds, strict=True))
                    found.append(Result(name, count, ms, own_ms))
    return found


def _table(results: list[Result]) -> str:
    row = "{:<10}{:>10}{:>10}{:>10}"
    lines = [row.format("part", "rows", "ms", "own ms")]
    lines += [row.format(one.part, one.rows, f"{one.ms:.2f}", f"{one.own_ms:.2f}") for one in results]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = uvloop.run(measure())
    print(json.dumps([asdict(one) for one in results]) if given.json else _table(results))


if __name__ == "__main__":
    main()
