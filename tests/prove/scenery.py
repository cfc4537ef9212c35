"""Where the runs take place: a small market, its truth, one PostgreSQL, and the databases that points begin from.

Owns what is the same for every point. The truth lies in each database, in a schema of its own, so that one statement
holds the candles against it.
"""

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg

from marketd.clock import at
from marketd.embedded import EmbeddedPostgres, wheel_bin_dir
from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Paging
from marketd.model import Series
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.market import Market, Window
from marketd.rehearsal.sources import Chunk, Synthetic
from marketd.store import migrations
from tests.conftest import CARELESS, open_folder

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_700_006_400_000  # 2023-11-15 00:00 UTC
NAME = os.environ.get("MARKETD_PROVE_EXCHANGE", "bitfinex")
"""Whose wire format is spoken."""

NOW = START + (10 if EXCHANGES[NAME].paging is Paging.RECENT else 12) * HOUR + 25_000  # within reach to the end
END = NOW + 36 * HOUR
SILENCE = (START + 5 * HOUR, START + 6 * HOUR + 20 * MINUTE)
DIALECT = spoken(NAME)
SYMBOLS = DIALECT.symbols[:2]
NATIVE = tuple(Series(NAME, symbol, "1m") for symbol in SYMBOLS)
BUILT = tuple(Series(NAME, symbol, "5m") for symbol in SYMBOLS)
SERIES = NATIVE + BUILT
PAGE = 200

_SETTINGS = CARELESS | {"jit": "off", "autovacuum": "off"}  # every database lives for a second

_TRUTH = """
CREATE SCHEMA truth;
CREATE TABLE truth.candles (
    symbol text COLLATE "C", timeframe text COLLATE "C", open_time timestamptz, number integer,
    open numeric, high numeric, low numeric, close numeric, volume numeric, PRIMARY KEY (symbol, timeframe, open_time)
);
CREATE TABLE truth.taken (run_id bigint, candles_fetched bigint);
"""


class Quiet:
    """A random market in which nothing at all is traded for a while."""

    def __init__(self, source: Synthetic, silence: tuple[int, int]) -> None:
        self._source = source
        self._silence = silence

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._source.symbols

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        return self._source.bounds_ms(symbol)

    def day(self, symbol: str, day: int) -> Chunk:
        whole = self._source.day(symbol, day)
        before, after = whole.between(0, self._silence[0] - 1), whole.between(self._silence[1], 2**62)
        return Chunk(before.opens + after.opens, [*before.rows, *after.rows])


def _market() -> Market:
    quiet = Market(Quiet(Synthetic(7, SYMBOLS, START, END, 0.2), SILENCE))
    return quiet.filled() if DIALECT.flat else quiet


@dataclass
class Scenery:
    """A server, and templates by name; ``market`` is what the exchange serves."""

    server: str
    folder: Path
    versions: list[str] = field(default_factory=list)
    """The digest of each version of the schema, of none at all first."""

    market: Market = field(default_factory=_market)

    def dsn(self, database: str) -> str:
        return self.server.replace("///marketd?", f"///{database}?")

    async def execute(self, statement: str, database: str = "marketd") -> None:
        connection = await asyncpg.connect(self.dsn(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def empty(self, name: str, versions: int) -> None:
        """A database at an older schema version, without truth."""
        await self.execute(f"CREATE DATABASE {name}")
        connection = await asyncpg.connect(self.dsn(name))
        try:
            await migrations.apply(connection, migrations.load()[:versions])
        finally:
            await connection.close()

    async def migrated(self, name: str) -> None:
        """A database with the current schema and the truth."""
        await self.empty(name, len(migrations.load()))
        connection = await asyncpg.connect(self.dsn(name))
        try:
            await connection.execute(_TRUTH)
            await connection.copy_records_to_table("candles", schema_name="truth", records=self.truth)
        finally:
            await connection.close()

    async def copied(self, name: str, template: str) -> None:
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")

    async def dropped(self, name: str) -> None:
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @cached_property
    def truth(self) -> Sequence[tuple[Any, ...]]:
        return [row for series in SERIES for row in self._truth_of(series)]

    def _truth_of(self, series: Series) -> Sequence[tuple[Any, ...]]:
        rows = self.market.page(series.symbol, series.timeframe, Window(START, END - 1, 10**9, False), END)
        parsed = [json.loads(row, parse_float=Decimal) for row in rows]
        return [
            (series.symbol, series.timeframe, at(ms), series.frame.number(ms), *map(Decimal, (o, h, low, c, volume)))
            for ms, o, c, h, low, volume in parsed
        ]


@asynccontextmanager
async def scenery() -> AsyncIterator[Scenery]:
    with open_folder() as folder:
        async with EmbeddedPostgres(folder / "pg", bin_dir=wheel_bin_dir(), settings=_SETTINGS) as postgres:
            yield Scenery(postgres.dsn, folder)
