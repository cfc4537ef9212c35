-- The promises as SQL: each of these must return no row, after every committed transaction.
-- Every row names its series and what is wrong, in words an operator can act on.

-- name: i01_accounted
-- params:
-- An answered interval that is not empty has a candle row: what is called stored is there.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, lower(r)) AS start_time,
       marketd_open_time(c.timeframe, upper(r)) AS end_time, 'the ledger says stored, the candle row is missing' AS problem
FROM candle_coverage c
LEFT JOIN candle_presence p USING (exchange, symbol, timeframe, block)
CROSS JOIN LATERAL unnest(c.answered - c.empty_once - c.empty_confirmed - coalesce(p.present, '{}')) AS r

-- name: i03_repaired
-- params:
-- A gap closed as repaired holds: each of its intervals is stored or confirmed empty, or owed again by another gap.
SELECT g.exchange, g.symbol, g.timeframe, marketd_open_time(g.timeframe, lower(r)) AS start_time,
       marketd_open_time(g.timeframe, upper(r)) AS end_time, format('gap %s is closed as %s, but this is not proven', g.id, g.resolution) AS problem
FROM candle_gaps g
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(c.answered - c.empty_once), '{}') AS proven, coalesce(range_agg(c.empty_once), '{}') AS once
    FROM candle_coverage c
    WHERE c.exchange = g.exchange AND c.symbol = g.symbol AND c.timeframe = g.timeframe
      AND c.block BETWEEN lower(g.owed) / 1440 - 1 AND upper(g.owed) / 1440 + 1
) AS known
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(o.missing), '{}') AS missing FROM candle_gaps o
    WHERE o.exchange = g.exchange AND o.symbol = g.symbol AND o.timeframe = g.timeframe AND o.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest(g.owed - known.proven - owed.missing) AS r
WHERE g.repaired_at IS NOT NULL AND g.resolution <> 'not_wanted'

-- name: i06_empties_within
-- params:
-- Empties lie within what was answered, or within an open gap that waits for its second answer.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, lower(r)) AS start_time,
       marketd_open_time(c.timeframe, upper(r)) AS end_time, 'empty, but neither answered nor owed' AS problem
FROM candle_coverage c
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(g.missing), '{}') AS missing FROM candle_gaps g
    WHERE g.exchange = c.exchange AND g.symbol = c.symbol AND g.timeframe = c.timeframe AND g.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest((c.empty_once + c.empty_confirmed) - c.answered - owed.missing) AS r

-- name: i07_closed
-- params:
-- No candle is stored that was not closed when the exchange answered for it.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, upper(c.answered) - 1) AS start_time, p.newest_close AS end_time,
       format('stored before it closed: the exchange answered at %s', c.answered_at) AS problem
FROM candle_coverage c
JOIN candle_presence p USING (exchange, symbol, timeframe, block)
WHERE p.newest_close > c.answered_at AND c.answered @> (marketd_number(c.timeframe, p.newest_close) - 1)

-- name: i08_aligned
-- params:
-- Every candle opens where an interval of its timeframe opens, and closes where the next one does.
SELECT k.exchange, k.symbol, k.timeframe, k.open_time AS start_time, k.close_time AS end_time, 'not aligned to its timeframe' AS problem
FROM candles k
WHERE marketd_step_s(k.timeframe) IS NULL
   OR k.open_time <> marketd_open_time(k.timeframe, marketd_number(k.timeframe, k.open_time))
   OR k.close_time <> marketd_open_time(k.timeframe, marketd_number(k.timeframe, k.open_time) + 1)

-- name: i09_sane
-- params:
-- Prices positive and in order, volume not negative, all finite.
SELECT k.exchange, k.symbol, k.timeframe, k.open_time AS start_time, k.close_time AS end_time, 'prices or volume out of order' AS problem
FROM candles k
WHERE NOT (k.low > 0 AND k.low <= least(k.open, k.close) AND k.high >= greatest(k.open, k.close) AND k.high < 'Infinity'
           AND k.volume >= 0 AND k.volume < 'Infinity')

-- name: i10_counted
-- params:
-- The ledger's count of a block is the size of its sets.
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, c.block * 1440) AS start_time,
       marketd_open_time(c.timeframe, (c.block + 1) * 1440) AS end_time, format('the ledger counts %s stored candles, its sets hold %s', c.stored,
       marketd_size(c.answered - c.empty_once - c.empty_confirmed)) AS problem
FROM candle_coverage c
WHERE c.stored <> marketd_size(c.answered - c.empty_once - c.empty_confirmed)

-- name: i12_orphans
-- params:
-- No run is left running by a holder that has lost the exchange.
SELECT j.exchange, j.symbol, j.timeframe, r.started_at AS start_time, NULL::timestamptz AS end_time,
       format('run %s is marked running, but its process has lost the exchange', r.id) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
LEFT JOIN exchange_leases l ON l.exchange = j.exchange
WHERE r.status = 'running' AND (l.epoch IS NULL OR r.epoch < l.epoch)

-- name: i15_owed_not_answered
-- params:
-- What an open gap owes is not called answered, but for suspect gaps, whose intervals are answered empty once.
SELECT g.exchange, g.symbol, g.timeframe, marketd_open_time(g.timeframe, lower(r)) AS start_time,
       marketd_open_time(g.timeframe, upper(r)) AS end_time, format('gap %s (%s) disagrees with the ledger', g.id, g.cause) AS problem
FROM candle_gaps g
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(c.answered), '{}') AS answered, coalesce(range_agg(c.empty_once), '{}') AS once
    FROM candle_coverage c
    WHERE c.exchange = g.exchange AND c.symbol = g.symbol AND c.timeframe = g.timeframe
      AND c.block BETWEEN lower(g.missing) / 1440 - 1 AND upper(g.missing) / 1440 + 1
) AS known
CROSS JOIN LATERAL unnest(CASE WHEN g.cause = 'suspect' THEN g.missing - (known.answered * known.once) ELSE g.missing * known.answered END) AS r
WHERE g.repaired_at IS NULL

-- name: i18_no_secret
-- params:
-- No text written by the daemon carries a password or a key.
SELECT NULL::text AS exchange, NULL::text AS symbol, NULL::text AS timeframe, NULL::timestamptz AS start_time, NULL::timestamptz AS end_time,
       format('%s holds something that looks like a secret', s.place) AS problem
FROM (SELECT 'market_data_job_runs ' || id AS place, error_message AS words FROM market_data_job_runs
      UNION ALL SELECT 'market_data_jobs ' || id, last_error FROM market_data_jobs
      UNION ALL SELECT 'candle_gaps ' || id, last_error FROM candle_gaps) AS s
WHERE s.words ~* '(postgres(ql)?://[^ ]*:[^ *]+@|api[-_]?(key|secret)=|bearer )'

-- name: i19_figures
-- params:
-- The figures that readers are shown are what the ledger adds up to.
WITH counted AS (
    SELECT exchange, symbol, timeframe, count(*) AS blocks, sum(marketd_size(answered)) AS answered, sum(stored) AS stored,
           sum(marketd_size(empty_once * answered)) AS empty_once, min(lower(answered)) AS answered_start, max(upper(answered)) AS answered_end
    FROM candle_coverage GROUP BY exchange, symbol, timeframe
)
SELECT exchange, symbol, timeframe, marketd_open_time(timeframe, least(c.answered_start, f.answered_start)) AS start_time,
       marketd_open_time(timeframe, greatest(c.answered_end, f.answered_end)) AS end_time,
       'its figures are not what the ledger adds up to: the owner of the tables may run SELECT marketd_count_figures()' AS problem
FROM counted c
FULL JOIN series_figures f USING (exchange, symbol, timeframe)
WHERE (coalesce(c.blocks, 0), coalesce(c.answered, 0), coalesce(c.stored, 0), coalesce(c.empty_once, 0), c.answered_start, c.answered_end)
      IS DISTINCT FROM (f.blocks, f.answered, f.stored, f.empty_once, f.answered_start, f.answered_end)

-- name: i20_run_figures
-- params:
-- The hours of the run figures are what the runs that have ended add up to.
WITH counted AS (
    SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC') AS hour, count(*) FILTER (WHERE r.status = 'success') AS success,
           count(*) FILTER (WHERE r.status = 'partial') AS partial, count(*) FILTER (WHERE r.status = 'failed') AS failed,
           count(*) FILTER (WHERE r.status = 'interrupted') AS interrupted, count(*) FILTER (WHERE r.status = 'skipped') AS skipped,
           sum(r.candles_inserted) AS candles
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.status <> 'running' AND r.started_at IS NOT NULL
    GROUP BY 1, 2
)
SELECT exchange, NULL::text AS symbol, NULL::text AS timeframe, hour AS start_time, hour + interval '1 hour' AS end_time,
       'its figures are not what the runs add up to: the owner of the tables may run SELECT marketd_count_figures()' AS problem
FROM counted c
FULL JOIN run_figures f USING (exchange, hour)
WHERE (coalesce(c.success, 0), coalesce(c.partial, 0), coalesce(c.failed, 0), coalesce(c.interrupted, 0), coalesce(c.skipped, 0),
       coalesce(c.candles, 0))
      IS DISTINCT FROM (f.success, f.partial, f.failed, f.interrupted, f.skipped, f.candles)
