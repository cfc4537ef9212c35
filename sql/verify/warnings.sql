-- What is not wrong, but should be known.

-- name: w02_foreign_rows
-- params:
-- Candles that others wrote outside of what marketd has asked for: left alone.
SELECT p.exchange, p.symbol, p.timeframe, marketd_open_time(p.timeframe, lower(r)) AS start_time,
       marketd_open_time(p.timeframe, upper(r)) AS end_time, 'candles outside coverage, written by others' AS problem
FROM candle_presence p
LEFT JOIN candle_coverage c USING (exchange, symbol, timeframe, block)
LEFT JOIN market_series s ON s.exchange = p.exchange AND s.symbol = p.symbol AND s.timeframe = p.timeframe
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(g.missing), '{}') AS missing FROM candle_gaps g
    WHERE g.exchange = p.exchange AND g.symbol = p.symbol AND g.timeframe = p.timeframe AND g.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest(p.present - coalesce(c.answered + c.empty_once + c.empty_confirmed, '{}') - owed.missing) AS r
WHERE s.derived_from IS NULL

-- name: w05_rows_in_empties
-- params:
-- A candle row in an interval that is called empty or owed: settled by the next audit or answer.
SELECT p.exchange, p.symbol, p.timeframe, marketd_open_time(p.timeframe, lower(r)) AS start_time,
       marketd_open_time(p.timeframe, upper(r)) AS end_time, 'a candle in an interval called empty or owed' AS problem
FROM candle_presence p
JOIN candle_coverage c USING (exchange, symbol, timeframe, block)
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(g.missing), '{}') AS missing FROM candle_gaps g
    WHERE g.exchange = p.exchange AND g.symbol = p.symbol AND g.timeframe = p.timeframe AND g.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest(p.present * (c.empty_once + c.empty_confirmed + owed.missing)) AS r
