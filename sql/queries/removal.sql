-- Taking a series away, by the role that may.

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
-- params: exchange text, symbol text, timeframe text, most integer
DELETE FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time < coalesce(
    (SELECT open_time FROM candles WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
     ORDER BY open_time OFFSET $4::integer LIMIT 1), 'infinity')

-- name: drop_figures
-- params: exchange text, symbol text, timeframe text
DELETE FROM series_figures WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
