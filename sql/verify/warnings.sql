-- What is not wrong, but should be known.

-- name: w02_foreign_rows
-- params:
-- Candles that others wrote outside of what marketd has asked for: left alone.
SELECT k.exchange, k.symbol, k.timeframe, min(k.open_time) AS start_time, max(k.close_time) AS end_time,
       format('%s candles outside coverage, written by others', count(*)) AS problem
FROM candles k
LEFT JOIN candle_coverage c ON c.exchange = k.exchange AND c.symbol = k.symbol AND c.timeframe = k.timeframe
    AND c.block = floor(marketd_number(k.timeframe, k.open_time) / 1440.0)::integer
LEFT JOIN market_series s ON s.exchange = k.exchange AND s.symbol = k.symbol AND s.timeframe = k.timeframe
WHERE s.derived_from IS NULL
  AND (c.block IS NULL OR NOT (c.answered + c.empty_once + c.empty_confirmed) @> marketd_number(k.timeframe, k.open_time))
  AND NOT EXISTS (SELECT FROM candle_gaps g WHERE g.exchange = k.exchange AND g.symbol = k.symbol AND g.timeframe = k.timeframe
                  AND g.repaired_at IS NULL AND g.missing @> marketd_number(k.timeframe, k.open_time))
GROUP BY k.exchange, k.symbol, k.timeframe

-- name: w05_rows_in_empties
-- params:
-- A candle row in an interval that is called empty or owed: settled by the next audit or answer.
SELECT k.exchange, k.symbol, k.timeframe, min(k.open_time) AS start_time, max(k.close_time) AS end_time,
       format('%s candles in intervals called empty or owed', count(*)) AS problem
FROM candle_coverage c
JOIN candles k ON k.exchange = c.exchange AND k.symbol = c.symbol AND k.timeframe = c.timeframe
    AND k.open_time >= marketd_open_time(c.timeframe, c.block * 1440) AND k.open_time < marketd_open_time(c.timeframe, (c.block + 1) * 1440)
WHERE (c.empty_once + c.empty_confirmed) @> marketd_number(k.timeframe, k.open_time)
   OR EXISTS (SELECT FROM candle_gaps g WHERE g.exchange = k.exchange AND g.symbol = k.symbol AND g.timeframe = k.timeframe
              AND g.repaired_at IS NULL AND g.missing @> marketd_number(k.timeframe, k.open_time))
GROUP BY k.exchange, k.symbol, k.timeframe
