-- What is said of a series as a whole.

-- name: i19_figures
-- params: exchange text, symbol text, timeframe text
-- The figures that readers are shown are what the ledger adds up to.
SELECT $1::text AS exchange, $2::text AS symbol, $3::text AS timeframe,
       marketd_open_time($3::text, least(c.answered_start, f.answered_start)) AS start_time,
       marketd_open_time($3::text, greatest(c.answered_end, f.answered_end)) AS end_time,
       'its figures are not what the ledger adds up to: the owner of the tables may run SELECT marketd_count_figures()' AS problem
FROM (
    SELECT count(*) AS blocks, coalesce(sum(marketd_answered_size(block, answered)), 0) AS answered, coalesce(sum(stored), 0) AS stored,
           coalesce(sum(marketd_once_size(answered, empty_once)), 0) AS empty_once, min(lower(answered)) AS answered_start,
           max(upper(answered)) AS answered_end
    FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
) AS c
LEFT JOIN series_figures f ON f.exchange = $1::text AND f.symbol = $2::text AND f.timeframe = $3::text
WHERE (c.blocks, c.answered, c.stored, c.empty_once, c.answered_start, c.answered_end)
      IS DISTINCT FROM (coalesce(f.blocks, 0), coalesce(f.answered, 0), coalesce(f.stored, 0), coalesce(f.empty_once, 0), f.answered_start,
                        f.answered_end)

-- name: w17_wanted
-- params: exchange text, symbol text, timeframe text
-- Open gaps lie within the wanted history; those of a job that was narrowed are closed by its next run.
SELECT g.exchange, g.symbol, g.timeframe, g.gap_start AS start_time, marketd_open_time(g.timeframe, wanted.start) AS end_time,
       format('gap %s owes intervals from before the wanted history', g.id) AS problem
FROM (
    SELECT marketd_number($3::text, j.start_time - interval '1 microsecond') + 1 AS start FROM market_data_jobs j
    WHERE j.enabled AND j.job_type = 'backfill' AND j.origin <> 'order' AND j.exchange = $1::text
      AND (j.symbol IS NULL OR j.symbol = $2::text) AND (j.timeframe IS NULL OR j.timeframe = $3::text)
    ORDER BY j.symbol IS NULL, j.timeframe IS NULL, j.id LIMIT 1
) AS wanted
JOIN candle_gaps g ON g.exchange = $1::text AND g.symbol = $2::text AND g.timeframe = $3::text AND g.repaired_at IS NULL
WHERE lower(g.missing) < wanted.start
