-- A database of years, as it would be after some use; see stock.py.

-- name: stock_candles
-- params: symbol text, first integer, blocks integer
-- The candles of so many blocks of minutes: what the hash of a number says is empty has none.
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT to_timestamp(n * 60.0), to_timestamp(n * 60.0 + 60), 'bitfinex', $1::text, '1m', 40000.5 + n % 97, 40100.25 + n % 97, 39990 + n % 97,
       40050.1 + n % 97, n % 1009 / 1000.0
FROM generate_series($2::integer * 1440, ($2::integer + $3::integer) * 1440 - 1) AS n
WHERE abs(hashint4(n)::bigint) % 5 <> 0

-- name: stock_ledger
-- params: symbol text, first integer, blocks integer
-- The older half of the blocks has been looked at a second time.
INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, empty_once, empty_confirmed, stored, answered_at, look_at)
SELECT 'bitfinex', $1::text, '1m', b, whole, CASE WHEN b >= $2::integer + $3::integer / 2 THEN empties ELSE '{}' END,
       CASE WHEN b >= $2::integer + $3::integer / 2 THEN '{}' ELSE empties END, 1440 - marketd_size(empties), now(),
       now() + b * interval '1 minute'
FROM generate_series($2::integer, $2::integer + $3::integer - 1) AS b
CROSS JOIN LATERAL (SELECT int4multirange(int4range(b * 1440, (b + 1) * 1440)) AS whole) w
CROSS JOIN LATERAL (
    SELECT range_agg(int4range(n, n + 1)) AS empties FROM generate_series(b * 1440, (b + 1) * 1440 - 1) AS n
    WHERE abs(hashint4(n)::bigint) % 5 = 0
) e

-- name: stock_series
-- params: symbol text, first integer
INSERT INTO market_series (exchange, symbol, timeframe, first_open_time, first_asked_at)
VALUES ('bitfinex', $1::text, '1m', to_timestamp($2::integer * 86400.0), now())

-- name: stock_jobs
-- params:
-- Three jobs for each of twelve series, others that are disabled, and orders by hand, most of them of long ago.
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule, origin, owner, enabled, created_at)
SELECT 'bitfinex', CASE WHEN n <= 36 THEN 'BENCH' || n % 12 ELSE 'OTHER' || n END, '1m',
       (ARRAY['continuous', 'backfill', 'gap_repair'])[1 + n / 12 % 3], CASE WHEN n <= 100 THEN '* * * * *' END,
       CASE WHEN n <= 100 THEN 'file' ELSE 'order' END, 'bench', n <= 36, now() - (2000 - n) * interval '1 hour'
FROM generate_series(1, 2000) AS n

-- name: stock_runs
-- params:
-- One every five seconds, most of them of twelve jobs.
INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status, requests, candles_fetched, candles_inserted)
SELECT j.id, t, t + interval '1 second', t + interval '2 seconds', 'success', 1, 10, 10
FROM generate_series(1, 100000) AS n
CROSS JOIN LATERAL (SELECT date_trunc('second', now()) - n * interval '5 seconds' AS t) w
JOIN market_data_jobs j ON j.id = (SELECT min(id) FROM market_data_jobs) + CASE WHEN n % 20 = 0 THEN n % 2000 ELSE n % 12 END

-- name: stock_closed_gaps
-- params: symbol text, first integer, most integer
-- Of three intervals each, closed one by one in the course of a year.
INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at, cause, resolution, repaired_at)
SELECT 'bitfinex', $1::text, '1m', to_timestamp(n * 60.0), to_timestamp(n * 60.0 + 180), int4multirange(int4range(n, n + 3)), '{}', now(),
       'failed', 'stored', now() - k * interval '1 year' / $3::integer
FROM generate_series(1, $3::integer) AS k
CROSS JOIN LATERAL (SELECT $2::integer * 1440 + k * 10 AS n) w

-- name: stock_open_gaps
-- params: symbol text, first integer, most integer
-- One a block, of three intervals; their candles are gone.
WITH opened AS (
    INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, detected_at, cause, next_attempt_at)
    SELECT 'bitfinex', $1::text, '1m', to_timestamp(n * 60.0), to_timestamp(n * 60.0 + 180), owed, owed, now(), 'failed', now() + interval '1 day'
    FROM generate_series(0, $3::integer - 1) AS k
    CROSS JOIN LATERAL (SELECT ($2::integer + k) * 1440 + 700 AS n) w
    CROSS JOIN LATERAL (SELECT int4multirange(int4range(n, n + 3)) AS owed) o
    RETURNING owed
), gone AS (
    DELETE FROM candles USING opened
    WHERE exchange = 'bitfinex' AND symbol = $1::text AND timeframe = '1m'
      AND open_time >= to_timestamp(lower(owed) * 60.0) AND open_time < to_timestamp(upper(owed) * 60.0)
)
UPDATE candle_coverage SET answered = answered - owed, empty_once = empty_once - owed, empty_confirmed = empty_confirmed - owed,
    stored = marketd_size(answered - owed - empty_once - empty_confirmed)
FROM opened
WHERE exchange = 'bitfinex' AND symbol = $1::text AND timeframe = '1m' AND block = lower(owed) / 1440
