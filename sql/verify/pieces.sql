-- What there is to look at, in pieces that are read in some tens of milliseconds, each in a transaction of its own. The pieces of a kind leave
-- nothing out: the first one begins before everything, the last one has no end.

-- name: verify_series
-- params:
-- Every series that has candles, a ledger, figures or open gaps. Both large tables are walked from series to series by their index.
WITH RECURSIVE stored AS (
    (SELECT exchange, symbol, timeframe FROM candles ORDER BY exchange, symbol, timeframe LIMIT 1)
    UNION ALL
    SELECT n.* FROM stored s CROSS JOIN LATERAL (
        SELECT c.exchange, c.symbol, c.timeframe FROM candles c
        WHERE (c.exchange, c.symbol, c.timeframe) > (s.exchange, s.symbol, s.timeframe)
        ORDER BY c.exchange, c.symbol, c.timeframe LIMIT 1
    ) n
), recorded AS (
    (SELECT exchange, symbol, timeframe FROM candle_coverage ORDER BY exchange, symbol, timeframe LIMIT 1)
    UNION ALL
    SELECT n.* FROM recorded s CROSS JOIN LATERAL (
        SELECT c.exchange, c.symbol, c.timeframe FROM candle_coverage c
        WHERE (c.exchange, c.symbol, c.timeframe) > (s.exchange, s.symbol, s.timeframe)
        ORDER BY c.exchange, c.symbol, c.timeframe LIMIT 1
    ) n
)
SELECT * FROM stored UNION SELECT * FROM recorded
UNION SELECT exchange, symbol, timeframe FROM series_figures
UNION SELECT exchange, symbol, timeframe FROM candle_gaps WHERE repaired_at IS NULL
ORDER BY exchange, symbol, timeframe

-- name: verify_ledger
-- params: exchanges text[], symbols text[], timeframes text[]
-- Stretches of these series, cut where ledger rows begin, about a month of minutes each: blocks [first, last), and the same in times.
WITH starts AS (
    SELECT exchange, symbol, timeframe, min(block) AS first FROM candle_coverage GROUP BY exchange, symbol, timeframe, block / 32
)
SELECT exchange, symbol, timeframe, first, last,
       CASE WHEN first = -1491308 THEN '-infinity' ELSE marketd_open_time(timeframe, first * 1440) END AS start,
       CASE WHEN last = 1491308 THEN 'infinity' ELSE marketd_open_time(timeframe, last * 1440) END AS until
FROM (
    SELECT p.exchange, p.symbol, p.timeframe, CASE WHEN lag(s.first) OVER w IS NULL THEN -1491308 ELSE s.first END AS first,
           coalesce(lead(s.first) OVER w, 1491308) AS last
    FROM unnest($1::text[], $2::text[], $3::text[]) AS p (exchange, symbol, timeframe)
    LEFT JOIN starts s ON s.exchange = p.exchange AND s.symbol = p.symbol AND s.timeframe = p.timeframe
    WINDOW w AS (PARTITION BY p.exchange, p.symbol, p.timeframe ORDER BY s.first)
) AS stretches
ORDER BY exchange, symbol, timeframe, first

-- name: verify_gaps
-- params:
-- Numbers of gaps, [first_id, last_id).
SELECT first_id, first_id + 2000 AS last_id
FROM (SELECT min(id) AS oldest, max(id) AS newest FROM candle_gaps) AS known
CROSS JOIN LATERAL generate_series(oldest, newest, 2000) AS first_id

-- name: verify_runs
-- params:
-- Numbers of runs, [first_id, last_id).
SELECT first_id, first_id + 10000 AS last_id
FROM (SELECT min(id) AS oldest, max(id) AS newest FROM market_data_job_runs) AS known
CROSS JOIN LATERAL generate_series(oldest, newest, 10000) AS first_id

-- name: verify_hours
-- params:
-- Days of runs, [start, until), cut where run figures begin.
SELECT coalesce(lag(day) OVER w, '-infinity') AS start, day AS until
FROM (SELECT DISTINCT date_trunc('day', hour, 'UTC') + interval '24 hours' AS day FROM run_figures UNION SELECT 'infinity') AS days
WINDOW w AS (ORDER BY day)

-- name: verify_difference
-- params: exchange text, symbol text, timeframe text, first integer, last integer, start timestamptz, until timestamptz
-- The intervals that the ledger calls stored and that have no row, and those that have a row and are not called so. Rows are read once, in the
-- order of the primary key and from its index alone: where two that follow each other are not one step apart, the intervals between have none.
WITH there AS (
    SELECT open_time, lag(open_time) OVER (ORDER BY open_time) AS before
    FROM candles
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time >= $6::timestamptz AND open_time < $7::timestamptz
      AND marketd_step_s($3::text) IS NOT NULL
), present AS (
    SELECT CASE WHEN count(*) = 0 THEN '{}'
                ELSE int4multirange(int4range(marketd_number($3::text, min(open_time)), marketd_number($3::text, max(open_time)) + 1))
                     - coalesce(range_agg(int4range(marketd_number($3::text, before) + 1, marketd_number($3::text, open_time)))
                                FILTER (WHERE open_time - before > make_interval(secs => marketd_step_s($3::text))), '{}') END AS present
    FROM there
), recorded AS (
    SELECT coalesce(range_agg(answered - empty_once - empty_confirmed), '{}') AS stored
    FROM candle_coverage
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block >= $4::integer AND block < $5::integer
)
SELECT (stored - present)::text AS missing, (present - stored)::text AS surplus FROM recorded, present WHERE stored <> present
