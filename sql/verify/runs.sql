-- What is said by runs, some thousand of them at a time.

-- name: i14_run_shape
-- params: first_id bigint, last_id bigint
-- A run that has ended says when, not before it began, and a bad end says why.
SELECT j.exchange, j.symbol, j.timeframe, r.started_at AS start_time, r.completed_at AS end_time,
       format('run %s is %s, and its times or its error do not fit that', r.id, r.status) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.id >= $1::bigint AND r.id < $2::bigint
  AND ((r.status = 'running') <> (r.completed_at IS NULL) OR r.completed_at < r.started_at
       OR (r.status IN ('failed', 'skipped', 'partial') AND r.error_message IS NULL))

-- name: i16_covered
-- params: first_id bigint, last_id bigint
-- The newest candle that a run fetched is in the ledger of its series: answered, or owed since. Not so where the series was taken away
-- since, or its ledger made anew, or the candle is retired.
SELECT n.exchange, n.symbol, n.timeframe, marketd_open_time(n.timeframe, lower(m)) AS start_time,
       marketd_open_time(n.timeframe, upper(m)) AS end_time, 'a run fetched the candle, but the ledger does not know it' AS problem
FROM (
    SELECT exchange, symbol, timeframe, number / 1440 AS block, range_agg(int4range(number, number + 1)) AS newest
    FROM (
        SELECT j.exchange, j.symbol, j.timeframe, marketd_number(j.timeframe, r.last_open_time) AS number
        FROM market_data_job_runs r
        JOIN market_data_jobs j ON j.id = r.job_id
        JOIN market_series s ON (s.exchange, s.symbol, s.timeframe) = (j.exchange, j.symbol, j.timeframe)
        WHERE r.id >= $1::bigint AND r.id < $2::bigint AND marketd_step_s(j.timeframe) IS NOT NULL AND r.last_open_time IS NOT NULL
          AND (r.completed_at IS NULL OR r.completed_at > greatest(s.known_since, s.rebuilt_at))
          AND (s.retired_until IS NULL OR r.last_open_time >= s.retired_until)
    ) AS fetched
    GROUP BY exchange, symbol, timeframe, number / 1440
) AS n
LEFT JOIN candle_coverage c ON c.exchange = n.exchange AND c.symbol = n.symbol AND c.timeframe = n.timeframe AND c.block = n.block
CROSS JOIN LATERAL unnest(n.newest - coalesce(c.answered, '{}')) AS m
WHERE (c.block IS NULL OR NOT c.answered @> n.newest)
  AND n.symbol IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM candle_gaps g WHERE g.exchange = n.exchange AND g.symbol = n.symbol AND g.timeframe = n.timeframe AND g.owed @> m
  )
  AND NOT EXISTS (
      SELECT FROM market_series s
      WHERE s.exchange = n.exchange AND s.symbol = n.symbol AND s.timeframe = n.timeframe AND s.derived_from IS NOT NULL
  )

-- name: i18_no_secret
-- params: first_id bigint, last_id bigint
-- No text that is kept with a run carries a password or a key.
SELECT j.exchange, j.symbol, j.timeframe, r.started_at AS start_time, r.completed_at AS end_time,
       format('run %s holds something that looks like a secret', r.id) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.id >= $1::bigint AND r.id < $2::bigint AND r.error_message ~* '(postgres(ql)?://[^ ]*:[^ *]+@|api[-_]?(key|secret)=|bearer )'
