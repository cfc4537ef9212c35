-- What the rows of candles that are there, or not, say against the ledger of a stretch of a series; see verify_difference.

-- name: i01_accounted
-- params: exchange text, symbol text, timeframe text, missing text
-- An answered interval that is not empty has a candle row: what is called stored is there.
SELECT $1::text AS exchange, $2::text AS symbol, $3::text AS timeframe, marketd_open_time($3::text, lower(r)) AS start_time,
       marketd_open_time($3::text, upper(r)) AS end_time, 'the ledger says stored, the candle row is missing' AS problem
FROM unnest($4::text::int4multirange) AS r

-- name: w02_foreign_rows
-- params: exchange text, symbol text, timeframe text, first integer, last integer, surplus text
-- Candles that others wrote outside of what marketd has asked for: left alone.
SELECT $1::text AS exchange, $2::text AS symbol, $3::text AS timeframe, marketd_open_time($3::text, lower(r)) AS start_time,
       marketd_open_time($3::text, upper(r)) AS end_time, 'candles outside coverage, written by others' AS problem
FROM (
    SELECT coalesce(range_agg(answered + empty_once + empty_confirmed), '{}') AS known FROM candle_coverage
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block >= $4::integer AND block < $5::integer
) AS recorded
CROSS JOIN (
    SELECT coalesce(range_agg(missing), '{}') AS missing FROM candle_gaps
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest($6::text::int4multirange - known - missing) AS r
WHERE NOT EXISTS (
    SELECT FROM market_series
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND derived_from IS NOT NULL
)

-- name: w05_rows_in_empties
-- params: exchange text, symbol text, timeframe text, first integer, last integer, surplus text
-- A candle row in an interval that is called empty or owed: settled by the next audit or answer.
SELECT $1::text AS exchange, $2::text AS symbol, $3::text AS timeframe, marketd_open_time($3::text, lower(r)) AS start_time,
       marketd_open_time($3::text, upper(r)) AS end_time, 'a candle in an interval called empty or owed' AS problem
FROM (
    SELECT coalesce(range_agg(empty_once + empty_confirmed), '{}') AS empties FROM candle_coverage
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block >= $4::integer AND block < $5::integer
) AS recorded
CROSS JOIN (
    SELECT coalesce(range_agg(missing), '{}') AS missing FROM candle_gaps
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest($6::text::int4multirange * (empties + missing)) AS r
