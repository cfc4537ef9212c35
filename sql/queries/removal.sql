-- Taking away what was stored, by the role that may.

-- name: series_extent
-- params: exchange text, symbol text, timeframe text
-- What there is of a series. Candles are those that the ledger knows; others may have written more.
SELECT coalesce((SELECT stored FROM series_figures WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text), 0)::bigint AS candles,
       (SELECT open_time FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text ORDER BY open_time LIMIT 1) AS first,
       (SELECT open_time FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text ORDER BY open_time DESC LIMIT 1) AS last,
       (SELECT count(*) FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text) AS blocks,
       (SELECT count(*) FROM candle_gaps WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text) AS gaps,
       (SELECT count(*) FROM candle_revisions WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text) AS revisions,
       EXISTS (SELECT FROM market_series WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text) AS known

-- name: series_ties
-- params: exchange text, symbol text, timeframe text
-- Who would miss it: enabled jobs that name it, and series that are built from it.
SELECT 'job' AS kind, j.id::text AS name FROM market_data_jobs j
WHERE j.enabled AND j.origin <> 'order' AND j.exchange = $1::text AND j.symbol = $2::text AND (j.timeframe = $3::text OR j.timeframe IS NULL)
UNION ALL
SELECT 'series', s.timeframe FROM market_series s WHERE s.exchange = $1::text AND s.symbol = $2::text AND s.derived_from = $3::text
ORDER BY kind, name

-- name: drop_knowledge
-- params: exchange text, symbol text, timeframe text
-- The ledger first: what is left of the candles then is nobody's, and no promise speaks of it.
WITH coverage AS (
    DELETE FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
), gaps AS (
    DELETE FROM candle_gaps WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
), revisions AS (
    DELETE FROM candle_revisions WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
)
DELETE FROM market_series WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text

-- name: drop_candles
-- params: exchange text, symbol text, timeframe text, until timestamptz, most integer
-- The oldest so many; until when they go, all where that is NULL.
DELETE FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time < least($4::timestamptz, coalesce(
    (SELECT open_time FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
     ORDER BY open_time OFFSET $5::integer LIMIT 1), 'infinity'))

-- name: drop_figures
-- params: exchange text, symbol text, timeframe text
DELETE FROM series_figures WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text

-- name: note_pruned
-- params: kind text, until timestamptz
INSERT INTO marketd_pruned AS p VALUES ($1::text, $2::timestamptz)
ON CONFLICT (kind) DO UPDATE SET until = greatest(p.until, excluded.until)

-- name: keep_figures
-- params:
-- The figures of the hours outlive the runs that this transaction takes away.
SELECT set_config('marketd.pruning', 'on', true)

-- name: prunable
-- params: runs timestamptz, gaps timestamptz, revisions timestamptz
-- How many rows of each kind would go.
SELECT (SELECT count(*) FROM marketd_old_runs($1::timestamptz)) AS runs,
       (SELECT count(*) FROM candle_gaps WHERE repaired_at < $2::timestamptz AND cause <> 'suspect') AS gaps,
       (SELECT count(*) FROM candle_revisions WHERE new_answered_at < $3::timestamptz AND kind = 'revised') AS revisions

-- name: prune_runs
-- params: before timestamptz, most integer
DELETE FROM market_data_job_runs WHERE id IN (SELECT id FROM marketd_old_runs($1::timestamptz) AS id LIMIT $2::integer)

-- name: prune_orders
-- params: before timestamptz, most integer
-- Orders of which no run is left.
DELETE FROM market_data_jobs WHERE id IN (
    SELECT j.id FROM market_data_jobs j
    WHERE j.origin = 'order' AND NOT j.enabled AND j.updated_at < $1::timestamptz
      AND NOT EXISTS (SELECT FROM market_data_job_runs r WHERE r.job_id = j.id)
    LIMIT $2::integer)

-- name: prune_gaps
-- params: before timestamptz, most integer
-- Suspect gaps stay: what they have settled is not suspected again.
DELETE FROM candle_gaps WHERE id IN (
    SELECT id FROM candle_gaps WHERE repaired_at < $1::timestamptz AND cause <> 'suspect' LIMIT $2::integer)

-- name: prune_revisions
-- params: before timestamptz, most integer
-- What has vanished at the exchange stays noted, or it would be noted again at the next look.
DELETE FROM candle_revisions WHERE id IN (
    SELECT id FROM candle_revisions WHERE new_answered_at < $1::timestamptz AND kind = 'revised' LIMIT $2::integer)

-- name: retirable
-- params: exchange text, symbol text, timeframe text, block integer
-- How many candles lie in blocks before.
SELECT coalesce(sum(stored), 0)::bigint AS candles FROM candle_coverage
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block < $4::integer

-- name: retire_series
-- params: exchange text, symbol text, timeframe text, until timestamptz
UPDATE market_series SET retired_until = $4::timestamptz
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND (retired_until IS NULL OR retired_until < $4::timestamptz)

-- name: retire_knowledge
-- params: exchange text, symbol text, timeframe text, block integer, until timestamptz
WITH revisions AS (
    DELETE FROM candle_revisions WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time < $5::timestamptz
)
DELETE FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block < $4::integer

-- name: all_series
-- params: timeframe text
SELECT exchange, symbol, timeframe FROM market_series WHERE timeframe = $1::text ORDER BY exchange, symbol

-- name: drop_retired
-- params: timeframe text, before timestamptz
SELECT partition, candles FROM marketd_drop_retired($1::text, $2::timestamptz)
