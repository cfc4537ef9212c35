-- What is said of the runs of some hours.

-- name: i20_run_figures
-- params: start timestamptz, until timestamptz
-- The hours of the run figures are what the runs that have ended add up to; of pruned hours the runs are gone.
WITH counted AS (
    SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC') AS hour, count(*) FILTER (WHERE r.status = 'success') AS success,
           count(*) FILTER (WHERE r.status = 'partial') AS partial, count(*) FILTER (WHERE r.status = 'failed') AS failed,
           count(*) FILTER (WHERE r.status = 'interrupted') AS interrupted, count(*) FILTER (WHERE r.status = 'skipped') AS skipped,
           sum(r.candles_inserted) AS candles
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.status <> 'running' AND r.started_at >= $1::timestamptz AND r.started_at < $2::timestamptz
    GROUP BY 1, 2
)
SELECT exchange, NULL::text AS symbol, NULL::text AS timeframe, hour AS start_time, hour + interval '1 hour' AS end_time,
       'its figures are not what the runs add up to: the owner of the tables may run SELECT marketd_count_figures()' AS problem
FROM counted c
FULL JOIN (SELECT * FROM run_figures WHERE hour >= $1::timestamptz AND hour < $2::timestamptz) AS f USING (exchange, hour)
WHERE hour >= coalesce((SELECT until FROM marketd_pruned WHERE kind = 'runs'), '-infinity')
  AND (coalesce(c.success, 0), coalesce(c.partial, 0), coalesce(c.failed, 0), coalesce(c.interrupted, 0), coalesce(c.skipped, 0),
       coalesce(c.candles, 0))
      IS DISTINCT FROM (f.success, f.partial, f.failed, f.interrupted, f.skipped, f.candles)
