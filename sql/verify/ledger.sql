-- What the ledger of a stretch of a series says of itself, and of single candles what the tables would not refuse any more.

-- name: i06_empties_within
-- params: exchange text, symbol text, timeframe text, first integer, last integer
-- Empties lie within what was answered, or within an open gap that waits for its second answer.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, lower(r)) AS start_time,
       marketd_open_time(c.timeframe, upper(r)) AS end_time, 'empty, but neither answered nor owed' AS problem
FROM candle_coverage c
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(g.missing), '{}') AS missing FROM candle_gaps g
    WHERE g.exchange = c.exchange AND g.symbol = c.symbol AND g.timeframe = c.timeframe AND g.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest((c.empty_once + c.empty_confirmed) - c.answered - owed.missing) AS r
WHERE c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text AND c.block >= $4::integer AND c.block < $5::integer
  AND NOT (c.answered @> c.empty_once AND c.answered @> c.empty_confirmed)

-- name: i07_closed
-- params: exchange text, symbol text, timeframe text, first integer, last integer
-- Nothing is known of an interval that had not closed when the exchange answered for it.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, upper(c.answered) - 1) AS start_time,
       marketd_open_time(c.timeframe, upper(c.answered)) AS end_time,
       format('known before it closed: the exchange answered at %s', c.answered_at) AS problem
FROM candle_coverage c
WHERE c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text AND c.block >= $4::integer AND c.block < $5::integer
  AND marketd_open_time(c.timeframe, upper(c.answered)) > c.answered_at

-- name: i08_aligned
-- params: exchange text, symbol text, timeframe text, start timestamptz, until timestamptz
-- Every candle opens where an interval of its timeframe opens, and closes where the next one does.
SELECT k.exchange, k.symbol, k.timeframe, k.open_time AS start_time, k.close_time AS end_time, 'not aligned to its timeframe' AS problem
FROM candles k
WHERE NOT marketd_refuses('candles', 'candles_aligned')
  AND k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $3::text AND k.open_time >= $4::timestamptz AND k.open_time < $5::timestamptz
  AND NOT marketd_aligned(k.timeframe, k.open_time, k.close_time)

-- name: i09_sane
-- params: exchange text, symbol text, timeframe text, start timestamptz, until timestamptz
-- Prices positive and in order, volume not negative, all finite.
SELECT k.exchange, k.symbol, k.timeframe, k.open_time AS start_time, k.close_time AS end_time, 'prices or volume out of order' AS problem
FROM candles k
WHERE NOT marketd_refuses('candles', 'candles_sane')
  AND k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $3::text AND k.open_time >= $4::timestamptz AND k.open_time < $5::timestamptz
  AND NOT (k.low > 0 AND k.low <= least(k.open, k.close) AND k.high >= greatest(k.open, k.close) AND k.high < 'Infinity'
           AND k.volume >= 0 AND k.volume < 'Infinity')

-- name: i10_counted
-- params: exchange text, symbol text, timeframe text, first integer, last integer
-- The ledger's count of a block is the size of its sets.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, c.block * 1440) AS start_time,
       marketd_open_time(c.timeframe, (c.block + 1) * 1440) AS end_time, format('the ledger counts %s stored candles, its sets hold %s', c.stored,
       marketd_size(c.answered - c.empty_once - c.empty_confirmed)) AS problem
FROM candle_coverage c
WHERE NOT marketd_refuses('candle_coverage', 'candle_coverage_counted')
  AND c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text AND c.block >= $4::integer AND c.block < $5::integer
  AND c.stored <> marketd_size(c.answered - c.empty_once - c.empty_confirmed)
