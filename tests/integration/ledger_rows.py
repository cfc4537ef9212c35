"""Rows as the daemon would leave them, put in by SQL, for tests of what readers are shown."""

from datetime import UTC, datetime, timedelta

import asyncpg

from marketd.clock import at, ms_of
from marketd.model import Series
from marketd.ranges import Ranges
from marketd.store.codec import multirange

START = datetime(2024, 1, 1, tzinfo=UTC)
BTC = Series("bitfinex", "BTCUSD", "1m")
FIRST = BTC.frame.number(ms_of(START))
BLOCK = FIRST // 1440
DAY = (FIRST, FIRST + 1440)
NONE = Ranges()


def minutes(*spans: tuple[int, int]) -> Ranges:
    """Interval numbers of BTC, counted from the first one of the day."""
    return Ranges.of(*((FIRST + start, FIRST + end) for start, end in spans))


class Rows:
    """Puts rows into the database behind ``connection``."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def block(
        self,
        number: int,
        answered: Ranges,
        *,
        once: Ranges = NONE,
        confirmed: Ranges = NONE,
        series: Series = BTC,
        look_at: datetime | None = None,
    ) -> None:
        stored = (answered - once - confirmed).size
        await self.connection.execute(
            "INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, empty_once, empty_confirmed,"
            " stored, look_at) VALUES ($1, $2, $3, $4, $5::text::int4multirange, $6::text::int4multirange,"
            " $7::text::int4multirange, $8, $9)",
            *series, number, multirange(answered), multirange(once), multirange(confirmed), stored, look_at,
        )  # fmt: skip

    async def candle(self, number: int, series: Series = BTC) -> None:
        opens, closes = at(series.frame.open_ms(number)), at(series.frame.open_ms(number + 1))
        await self.connection.execute(
            "INSERT INTO candles VALUES ($1, $2, $3, $4, $5, 1, 1, 1, 1, 0)", opens, closes, *series
        )

    async def gap(self, cause: str, missing: Ranges, *, series: Series = BTC, repaired: str | None = None) -> int:
        opens, closes = series.frame.open_ms(missing.start), series.frame.open_ms(missing.end)
        found: int = await self.connection.fetchval(
            "INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at,"
            " cause, resolution, repaired_at) VALUES ($1, $2, $3, to_timestamp($4::float8), to_timestamp($5::float8),"
            " $6::text::int4multirange, CASE WHEN $8 IN ('stored', 'empty', 'mixed') THEN '{}'"
            " ELSE $6::text::int4multirange END, now(), $7, $8,"
            " CASE WHEN $8::text IS NOT NULL THEN now() END) RETURNING id",
            *series, opens / 1000, closes / 1000, multirange(missing), cause, repaired,
        )  # fmt: skip
        return found

    async def know(self, series: Series = BTC, *, first: datetime | None = None, parent: str | None = None) -> None:
        await self.connection.execute(
            "INSERT INTO market_series (exchange, symbol, timeframe, first_open_time, derived_from, known_since)"
            " VALUES ($1, $2, $3, $4, $5, '2023-01-01 00:00+00')",
            *series, first, parent,
        )  # fmt: skip

    async def job(
        self,
        job_type: str = "continuous",
        *,
        symbol: str | None = "BTCUSD",
        timeframe: str | None = "1m",
        start: datetime | None = None,
        end: datetime | None = None,
        origin: str = "file",
    ) -> int:
        found: int = await self.connection.fetchval(
            "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, start_time, end_time, origin)"
            " VALUES ('bitfinex', $1, $2, $3, $4, $5, $6) RETURNING id",
            symbol, timeframe, job_type, start, end, origin,
        )  # fmt: skip
        return found

    async def run(self, job: int, *, ago: timedelta, status: str = "success", inserted: int = 0) -> int:
        found: int = await self.connection.fetchval(
            "INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status,"
            " candles_inserted, error_message) VALUES ($1, now() - $2::interval, now() - $2::interval,"
            " CASE WHEN $3 <> 'running' THEN now() - $2::interval END, $3, $4,"
            " CASE WHEN $3 = 'failed' THEN 'because' END) RETURNING id",
            job, ago, status, inserted,
        )  # fmt: skip
        return found
