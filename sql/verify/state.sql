-- What is said of all at once: by few rows, or by rules of the tables.

-- name: i11_one_run
-- params:
-- A job has one run at a time.
SELECT j.exchange, j.symbol, j.timeframe, min(r.started_at) AS start_time, NULL::timestamptz AS end_time,
       format('job %s has %s runs at once', j.id, count(*)) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
WHERE NOT marketd_refuses('market_data_job_runs', 'market_data_job_runs_running') AND r.status = 'running'
GROUP BY j.id HAVING count(*) > 1

-- name: i12_orphans
-- params:
-- No run is left running by a holder that has lost the exchange.
SELECT j.exchange, j.symbol, j.timeframe, r.started_at AS start_time, NULL::timestamptz AS end_time,
       format('run %s is marked running, but its process has lost the exchange', r.id) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
LEFT JOIN exchange_leases l ON l.exchange = j.exchange
WHERE r.status = 'running' AND (l.epoch IS NULL OR r.epoch < l.epoch)

-- name: w12_abandoned
-- params:
-- A run whose process is gone is closed by whoever takes the exchange over next.
SELECT j.exchange, j.symbol, j.timeframe, r.started_at AS start_time, l.expires_at AS end_time,
       format('run %s is marked running, but nobody has worked on the exchange since', r.id) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
JOIN exchange_leases l ON l.exchange = j.exchange AND l.epoch = r.epoch
WHERE r.status = 'running' AND l.expires_at < now()

-- name: i13_fired_once
-- params:
-- A firing of a job runs once.
SELECT j.exchange, j.symbol, j.timeframe, r.scheduled_for AS start_time, NULL::timestamptz AS end_time,
       format('job %s has run %s times for one firing', j.id, count(*)) AS problem
FROM market_data_job_runs r
JOIN market_data_jobs j ON j.id = r.job_id
WHERE NOT marketd_refuses('market_data_job_runs', 'market_data_job_runs_once')
GROUP BY j.id, r.scheduled_for HAVING count(*) > 1

-- name: i15_disjoint
-- params:
-- Two open gaps of a series do not owe the same interval.
SELECT g.exchange, g.symbol, g.timeframe, marketd_open_time(g.timeframe, lower(r)) AS start_time,
       marketd_open_time(g.timeframe, upper(r)) AS end_time, format('gaps %s and %s owe the same intervals', g.id, o.id) AS problem
FROM candle_gaps g
JOIN candle_gaps o ON o.exchange = g.exchange AND o.symbol = g.symbol AND o.timeframe = g.timeframe AND o.id > g.id AND o.missing && g.missing
CROSS JOIN LATERAL unnest(g.missing * o.missing) AS r
WHERE NOT marketd_refuses('candle_gaps', 'candle_gaps_disjoint') AND g.repaired_at IS NULL AND o.repaired_at IS NULL

-- name: i17_owed_closed
-- params:
-- An open gap owes only intervals that have closed; an hour is left for clocks that differ.
SELECT g.exchange, g.symbol, g.timeframe, g.gap_start AS start_time, marketd_open_time(g.timeframe, upper(g.missing)) AS end_time,
       format('gap %s owes intervals that have not closed yet', g.id) AS problem
FROM candle_gaps g
WHERE g.repaired_at IS NULL AND marketd_open_time(g.timeframe, upper(g.missing)) > now() + interval '1 hour'

-- name: i18_no_secret_jobs
-- params:
-- No text that is kept with a job carries a password or a key.
SELECT j.exchange, j.symbol, j.timeframe, NULL::timestamptz AS start_time, NULL::timestamptz AS end_time,
       format('job %s holds something that looks like a secret', j.id) AS problem
FROM market_data_jobs j
WHERE j.last_error ~* '(postgres(ql)?://[^ ]*:[^ *]+@|api[-_]?(key|secret)=|bearer )'

-- name: i21_owed_not_answered
-- params:
-- What an open gap owes is not called answered, but for suspect gaps, whose intervals are answered empty once.
SELECT g.exchange, g.symbol, g.timeframe, marketd_open_time(g.timeframe, lower(r)) AS start_time,
       marketd_open_time(g.timeframe, upper(r)) AS end_time, format('gap %s (%s) disagrees with the ledger', g.id, g.cause) AS problem
FROM candle_gaps g
CROSS JOIN LATERAL generate_series(floor(lower(g.missing) / 1440.0)::integer, floor((upper(g.missing) - 1) / 1440.0)::integer) AS b
LEFT JOIN candle_coverage c ON c.exchange = g.exchange AND c.symbol = g.symbol AND c.timeframe = g.timeframe AND c.block = b
CROSS JOIN LATERAL (SELECT g.missing * int4multirange(int4range(b * 1440, (b + 1) * 1440)) AS part) AS here
CROSS JOIN LATERAL unnest(CASE WHEN g.cause = 'suspect' THEN here.part - coalesce(c.answered * c.empty_once, '{}')
                               ELSE here.part * coalesce(c.answered, '{}') END) AS r
WHERE g.repaired_at IS NULL
  AND CASE WHEN g.cause = 'suspect' THEN c.block IS NULL OR NOT (c.answered @> here.part AND c.empty_once @> here.part)
           ELSE c.answered && here.part END

-- name: w00_refused
-- params:
-- The tables refuse by themselves what they can, and keep their figures. Where a rule is gone or not validated, rows are read instead.
SELECT NULL::text AS exchange, NULL::text AS symbol, NULL::text AS timeframe, NULL::timestamptz AS start_time, NULL::timestamptz AS end_time,
       format('%s of %s is not in force', rule, place) AS problem
FROM (
    SELECT place, rule, marketd_refuses(place, rule) AS holds
    FROM (VALUES ('candles', 'candles_pkey'), ('candles', 'candles_sane'), ('candles', 'candles_aligned'),
                 ('candle_coverage', 'candle_coverage_pkey'), ('candle_coverage', 'candle_coverage_check'),
                 ('candle_coverage', 'candle_coverage_check1'), ('candle_coverage', 'candle_coverage_within'),
                 ('candle_coverage', 'candle_coverage_counted'), ('candle_gaps', 'candle_gaps_disjoint'),
                 ('candle_gaps', 'candle_gaps_check1'), ('candle_gaps', 'candle_gaps_check2'), ('candle_gaps', 'candle_gaps_owed'),
                 ('candle_gaps', 'candle_gaps_proven'), ('market_data_job_runs', 'market_data_job_runs_once'),
                 ('market_data_job_runs', 'market_data_job_runs_running'), ('market_data_job_runs', 'market_data_job_runs_check'),
                 ('market_data_job_runs', 'market_data_job_runs_check1'), ('market_data_job_runs', 'market_data_job_runs_check2'),
                 ('market_data_job_runs', 'market_data_job_runs_job_id_fkey')) AS rules (place, rule)
    UNION ALL
    SELECT place, rule, EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(place) AND tgname = rule AND tgenabled IN ('O', 'A'))
    FROM (VALUES ('candle_coverage', 'candle_coverage_added'), ('candle_coverage', 'candle_coverage_changed'),
                 ('candle_coverage', 'candle_coverage_removed'), ('candle_coverage', 'candle_coverage_emptied'),
                 ('market_data_job_runs', 'market_data_job_runs_added'), ('market_data_job_runs', 'market_data_job_runs_changed'),
                 ('market_data_job_runs', 'market_data_job_runs_removed'), ('market_data_job_runs', 'market_data_job_runs_emptied'))
        AS keepers (place, rule)
) AS rules
WHERE NOT holds
