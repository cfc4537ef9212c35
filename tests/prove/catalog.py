"""What a schema version looks like in the catalog of PostgreSQL.

Owns the digest by which a half-made schema is told from a whole one, and the rows that an old database holds.
"""

from collections.abc import Sequence

import asyncpg

ROWS = 60

_DIGEST = """
SELECT md5(coalesce(string_agg(line, chr(10) ORDER BY line), '')) FROM (
    SELECT format('relation %s %s %s', relname, relkind, relacl) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('column %s %s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull) FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND attnum > 0
    UNION ALL
    SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT format('function %s %s', oid::regprocedure, md5(prosrc)) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')
    UNION ALL
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT format('policy %s %s', polname, polrelid::regclass) FROM pg_policy
) AS lines (line)
"""

OLD_ROWS = f"""
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type) VALUES ('bitfinex', 'BTCUSD', '1m', 'backfill');
INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status, candles_inserted)
SELECT id, '2024-01-01 00:00Z', '2024-01-01 00:00Z', '2024-01-01 00:01Z', 'success', {ROWS} FROM market_data_jobs;
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT opens, opens + interval '1 minute', 'bitfinex', 'BTCUSD', '1m', 1, 1, 1, 1, 1
FROM generate_series(timestamptz '2024-01-01 00:00Z', timestamptz '2024-01-01 00:59Z', interval '1 minute') AS opens;
INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, stored, answered_at)
SELECT 'bitfinex', 'BTCUSD', '1m', n / 1440, int4multirange(int4range(n, n + {ROWS})), {ROWS}, '2024-01-01 02:00Z'
FROM (SELECT (extract(epoch FROM timestamptz '2024-01-01 00:00Z') / 60)::integer AS n) AS first;
"""


async def digest(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    return str(await connection.fetchval(_DIGEST))


async def torn(connection: "asyncpg.Connection[asyncpg.Record]", whole: Sequence[str]) -> list[str]:
    """A schema that is none of the ``whole`` ones."""
    found = await digest(connection)
    if found in whole:
        return []
    versions = None
    if await connection.fetchval("SELECT to_regclass('marketd_schema')"):
        versions = await connection.fetchval("SELECT max(version) FROM marketd_schema")
    return [f"schema: half made, said to be at version {versions}"]
