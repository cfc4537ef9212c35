-- What readers are shown: HTTP, status, runs, gaps, coverage. Counts come from series_figures and run_figures, which are kept with the
-- ledger and the runs, and never from the candle table, which is only asked for its oldest and newest row of a series, by its index.

-- name: report_ping
-- params:
SELECT 1

-- name: report_tables
-- params:
-- Which of our tables are there, on the search path of the session.
SELECT to_regclass('candles') IS NOT NULL AS candles,
       ARRAY(
           SELECT name FROM unnest(ARRAY['candles', 'candle_revisions', 'candle_coverage', 'candle_gaps', 'market_series', 'market_data_jobs',
                                         'market_data_job_runs', 'exchange_leases']) AS name
           WHERE to_regclass(name) IS NULL
       ) AS missing

-- name: report_totals
-- params:
SELECT (SELECT coalesce(sum(stored), 0)::bigint FROM series_figures) AS stored,
       (SELECT count(*) FROM candle_gaps WHERE repaired_at IS NULL) AS open_gaps

-- name: report_answered
-- params:
-- How far each series is answered.
SELECT exchange, symbol, timeframe, marketd_open_time(timeframe, f.answered_end) AS answered_until
FROM market_series s
FULL JOIN series_figures f USING (exchange, symbol, timeframe)
ORDER BY exchange, symbol, timeframe

-- name: report_transactions
-- params:
-- Who is not a member of pg_read_all_stats is not told when others' transactions began, but every role sees their
-- locks: each transaction holds one on its own number until it ends. Servers' own workers have no role.
SELECT l.virtualtransaction AS transaction
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND a.datname = current_database()
  AND a.usesysid IS NOT NULL AND pid <> pg_backend_pid()

-- name: report_failing
-- params:
-- A job of a type that this version does not know is refused, and cannot fail.
SELECT j.exchange, j.job_type, count(*) AS jobs
FROM market_data_jobs j LEFT JOIN exchange_pauses e ON e.exchange = j.exchange
WHERE j.enabled AND j.origin <> 'order' AND j.status IN ('failed', 'partial') AND j.job_type IN ('backfill', 'continuous', 'gap_repair')
  AND coalesce(greatest(j.paused_until, e.paused_until), '-infinity') <= now()
GROUP BY j.exchange, j.job_type

-- name: report_known
-- params: exchange text, symbol text, timeframe text, after_exchange text, after_symbol text, after_timeframe text, most integer
-- A page of the series that are known from the ledger, as facts or by jobs; each kind is cut to the page before they are joined.
SELECT exchange, symbol, timeframe FROM (
    (SELECT exchange, symbol, timeframe FROM series_figures
     WHERE blocks > 0 AND ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text)
       AND ($3::text IS NULL OR timeframe = $3::text)
       AND ($4::text IS NULL OR (exchange, symbol, timeframe) > ($4::text, $5::text, $6::text))
     ORDER BY exchange, symbol, timeframe LIMIT $7::integer)
    UNION
    (SELECT exchange, symbol, timeframe FROM market_series
     WHERE ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text)
       AND ($3::text IS NULL OR timeframe = $3::text)
       AND ($4::text IS NULL OR (exchange, symbol, timeframe) > ($4::text, $5::text, $6::text))
     ORDER BY exchange, symbol, timeframe LIMIT $7::integer)
    UNION
    (SELECT DISTINCT exchange, symbol, timeframe FROM market_data_jobs
     WHERE enabled AND origin <> 'order' AND symbol IS NOT NULL AND marketd_step_s(timeframe) IS NOT NULL
       AND ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text)
       AND ($3::text IS NULL OR timeframe = $3::text)
       AND ($4::text IS NULL OR (exchange, symbol, timeframe) > ($4::text, $5::text, $6::text))
     ORDER BY exchange, symbol, timeframe LIMIT $7::integer)
) AS known
ORDER BY exchange, symbol, timeframe LIMIT $7::integer

-- name: report_series
-- params: exchanges text[], symbols text[], timeframes text[]
-- The figures of these series. Wanted is the design's wanted history up to the newest answer: it begins at the start of the
-- backfill row that works on the series (else the first candle), or where coverage began if there is no such row; not before what is retired.
-- How many series there are is hidden from the planner by (SELECT …): one plan serves all, and planning takes longer than the reading.
-- OFFSET 0 keeps what stands above it from being computed once for every use.
SELECT p.exchange, p.symbol, p.timeframe, s.derived_from, s.known_since, s.first_open_time,
       marketd_open_time(p.timeframe, f.answered_start) AS answered_from, marketd_open_time(p.timeframe, f.answered_end) AS answered_until,
       marketd_open_time(p.timeframe, w.start) AS wanted_from, w.history_known,
       greatest(w.until - w.start, 0) AS wanted, coalesce(f.stored, 0) AS stored, coalesce(f.empty_once, 0) AS empty_once,
       greatest(f.answered - f.stored, 0) AS empties, u.unknown, g.wanted_missing, g.wanted_gaps, g.open_gaps, g.not_asked, g.failed, g.late,
       g.lost, g.suspect, g.next_attempt_at
FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[])) AS p (exchange, symbol, timeframe)
LEFT JOIN series_figures f ON (f.exchange, f.symbol, f.timeframe) = (p.exchange, p.symbol, p.timeframe)
LEFT JOIN market_series s ON (s.exchange, s.symbol, s.timeframe) = (p.exchange, p.symbol, p.timeframe)
LEFT JOIN market_series parent ON (parent.exchange, parent.symbol, parent.timeframe) = (p.exchange, p.symbol, s.derived_from)
LEFT JOIN LATERAL (
    SELECT j.id, marketd_number(p.timeframe, j.start_time - interval '1 microsecond') + 1 AS start,
           marketd_number(p.timeframe, j.end_time - interval '1 microsecond') + 1 AS until
    FROM market_data_jobs j
    WHERE j.enabled AND j.job_type = 'backfill' AND j.origin <> 'order' AND j.exchange = p.exchange
      AND (j.symbol IS NULL OR j.symbol = p.symbol) AND (j.timeframe IS NULL OR j.timeframe = p.timeframe)
    ORDER BY j.symbol IS NULL, j.timeframe IS NULL, j.id LIMIT 1
) j ON true
CROSS JOIN LATERAL (
    SELECT coalesce(marketd_number(p.timeframe, s.first_open_time), marketd_number(p.timeframe, parent.first_open_time)) AS number
) first
CROSS JOIN LATERAL (
    SELECT greatest(CASE WHEN j.id IS NULL THEN f.answered_start ELSE coalesce(greatest(j.start, first.number), f.answered_start) END,
                    marketd_number(p.timeframe, s.retired_until)) AS start,
           least(f.answered_end, j.until) AS until,
           f.answered_end IS NOT NULL AND (j.id IS NULL OR j.start IS NOT NULL OR first.number IS NOT NULL) AS history_known
    OFFSET 0
) w
CROSS JOIN LATERAL (
    SELECT CASE WHEN w.start < w.until THEN int4multirange(int4range(w.start, w.until)) ELSE '{}' END AS span
) h
CROSS JOIN LATERAL marketd_unknown(p.exchange, p.symbol, p.timeframe, w.start, w.until) u
CROSS JOIN LATERAL (
    SELECT count(*) AS open_gaps, count(*) FILTER (WHERE coalesce(o.part, o.size) > 0) AS wanted_gaps,
           coalesce(sum(coalesce(o.part, o.size)), 0)::bigint AS wanted_missing,
           coalesce(sum(o.size) FILTER (WHERE o.cause = 'not_asked'), 0)::bigint AS not_asked,
           coalesce(sum(o.size) FILTER (WHERE o.cause = 'failed'), 0)::bigint AS failed,
           coalesce(sum(o.size) FILTER (WHERE o.cause = 'late'), 0)::bigint AS late,
           coalesce(sum(o.size) FILTER (WHERE o.cause = 'lost'), 0)::bigint AS lost,
           coalesce(sum(o.size) FILTER (WHERE o.cause = 'suspect'), 0)::bigint AS suspect,
           min(o.next_attempt_at) AS next_attempt_at
    FROM (
        SELECT k.cause, k.next_attempt_at, k.missing_size AS size,
               CASE WHEN NOT h.span @> k.missing THEN marketd_size(k.missing * h.span) END AS part
        FROM candle_gaps k
        WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe AND k.repaired_at IS NULL
        OFFSET 0
    ) o
) g
ORDER BY p.exchange, p.symbol, p.timeframe

-- name: report_series_last
-- params: exchanges text[], symbols text[], timeframes text[]
-- Of these series the first and the last candle stored, the next look at empties, the newest run and the last that did all.
SELECT p.exchange, p.symbol, p.timeframe,
       (SELECT k.open_time FROM candles k WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe
        ORDER BY k.open_time LIMIT 1) AS oldest_open_time,
       (SELECT k.open_time FROM candles k WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe
        ORDER BY k.open_time DESC LIMIT 1) AS latest_open_time,
       (SELECT k.look_at FROM candle_coverage k
        WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe AND k.look_at IS NOT NULL
        ORDER BY k.look_at LIMIT 1) AS next_look_at, r.last_run, r.last_success
FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[])) AS p (exchange, symbol, timeframe)
CROSS JOIN LATERAL (
    SELECT (array_agg(n.id ORDER BY n.started_at DESC) FILTER (WHERE n.id IS NOT NULL))[1] AS last_run, max(o.completed_at) AS last_success
    FROM (
        (SELECT DISTINCT ON (k.job_type) k.id FROM market_data_jobs k
         WHERE k.origin <> 'order' AND k.exchange = p.exchange
           AND (k.symbol IS NULL OR k.symbol = p.symbol) AND (k.timeframe IS NULL OR k.timeframe = p.timeframe)
         ORDER BY k.job_type, NOT k.enabled, k.symbol IS NULL, k.timeframe IS NULL, k.id)
        UNION ALL
        (SELECT k.id FROM market_data_jobs k
         WHERE k.origin = 'order' AND k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe
         ORDER BY k.id DESC LIMIT 1)
    ) own
    LEFT JOIN LATERAL (
        SELECT k.id, k.started_at FROM market_data_job_runs k
        WHERE k.job_id = own.id AND k.started_at IS NOT NULL ORDER BY k.scheduled_for DESC LIMIT 1
    ) n ON true
    LEFT JOIN LATERAL (
        SELECT k.completed_at FROM market_data_job_runs k
        WHERE k.job_id = own.id AND k.status = 'success' ORDER BY k.scheduled_for DESC LIMIT 1
    ) o ON true
) r

-- name: report_runs
-- params: before bigint, most integer
-- Runs of all jobs, newest first.
SELECT r.id, r.job_id, j.exchange, j.symbol, j.timeframe, j.job_type, r.scheduled_for, r.started_at, r.completed_at, r.status, r.requests,
       r.candles_fetched, r.candles_inserted, r.candles_updated, r.empties, r.gaps_opened, r.gaps_closed, r.last_open_time, r.error_message
FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE $1::bigint IS NULL OR r.id < $1::bigint
ORDER BY r.id DESC LIMIT $2::integer

-- name: report_job_runs
-- params: job_id bigint, before bigint, most integer
-- Runs of one job, newest first, by the index of (job_id, scheduled_for).
SELECT r.id, r.job_id, j.exchange, j.symbol, j.timeframe, j.job_type, r.scheduled_for, r.started_at, r.completed_at, r.status, r.requests,
       r.candles_fetched, r.candles_inserted, r.candles_updated, r.empties, r.gaps_opened, r.gaps_closed, r.last_open_time, r.error_message
FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.job_id = $1::bigint
  AND ($2::bigint IS NULL OR r.scheduled_for < (SELECT k.scheduled_for FROM market_data_job_runs k WHERE k.id = $2::bigint))
ORDER BY r.scheduled_for DESC LIMIT $3::integer

-- name: report_runs_named
-- params: ids bigint[]
SELECT r.id, r.job_id, j.exchange, j.symbol, j.timeframe, j.job_type, r.scheduled_for, r.started_at, r.completed_at, r.status, r.requests,
       r.candles_fetched, r.candles_inserted, r.candles_updated, r.empties, r.gaps_opened, r.gaps_closed, r.last_open_time, r.error_message
FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.id = ANY ($1::bigint[])

-- name: report_day
-- params: exchange text
-- The runs of the last 24 hours by the database's clock, and the newest ones ever. Whole hours come from run_figures; counted are the runs
-- of the hour that is cut, and those that have not ended.
WITH since AS MATERIALIZED (
    SELECT now() - interval '24 hours' AS moment, date_trunc('hour', now() - interval '24 hours', 'UTC') + interval '1 hour' AS hour
), parts AS (
    SELECT f.success, f.partial, f.failed, f.interrupted, f.skipped, 0 AS running, 0 AS started, f.candles
    FROM run_figures f
    WHERE f.hour >= (SELECT hour FROM since) AND ($1::text IS NULL OR f.exchange = $1::text)
    UNION ALL
    SELECT count(*) FILTER (WHERE r.status = 'success'), count(*) FILTER (WHERE r.status = 'partial'),
           count(*) FILTER (WHERE r.status = 'failed'), count(*) FILTER (WHERE r.status = 'interrupted'),
           count(*) FILTER (WHERE r.status = 'skipped'), 0, 0, sum(r.candles_inserted)
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.started_at > (SELECT moment FROM since) AND r.started_at < (SELECT hour FROM since) AND r.status <> 'running'
      AND ($1::text IS NULL OR j.exchange = $1::text)
    UNION ALL
    SELECT 0, 0, 0, 0, 0, count(*), count(*) FILTER (WHERE r.started_at > (SELECT moment FROM since)),
           sum(r.candles_inserted) FILTER (WHERE r.started_at > (SELECT moment FROM since))
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.status = 'running' AND ($1::text IS NULL OR j.exchange = $1::text)
)
SELECT sum(p.success + p.partial + p.failed + p.interrupted + p.skipped + p.started)::bigint AS total, sum(p.success)::bigint AS success,
       sum(p.partial)::bigint AS partial, sum(p.failed)::bigint AS failed, sum(p.interrupted)::bigint AS interrupted,
       sum(p.skipped)::bigint AS skipped, sum(p.running)::bigint AS running, coalesce(sum(p.candles), 0)::bigint AS candles,
       (SELECT k.id FROM market_data_job_runs k JOIN market_data_jobs j ON j.id = k.job_id
        WHERE k.started_at IS NOT NULL AND ($1::text IS NULL OR j.exchange = $1::text)
        ORDER BY k.started_at DESC LIMIT 1) AS last_run,
       (SELECT k.completed_at FROM market_data_job_runs k JOIN market_data_jobs j ON j.id = k.job_id
        WHERE k.started_at IS NOT NULL AND k.status = 'success' AND ($1::text IS NULL OR j.exchange = $1::text)
        ORDER BY k.started_at DESC LIMIT 1) AS last_success
FROM parts p

-- name: report_jobs
-- params: exchange text, after bigint, most integer, at_work boolean
-- At work: enabled ones and no orders. Orders by hand are left out a week after they were given, removed rows at once. Paused until the later end of its own pause and that of its
-- exchange.
SELECT j.id, j.exchange, j.symbol, j.timeframe, j.job_type, j.schedule, j.enabled, j.origin, j.owner, j.start_time, j.end_time, j.status,
       j.last_error, j.jitter_s, coalesce(u.paused_until > now(), false) AS paused,
       CASE WHEN isfinite(u.paused_until) THEN u.paused_until END AS paused_until,
       (SELECT k.id FROM market_data_job_runs k WHERE k.job_id = j.id ORDER BY k.scheduled_for DESC LIMIT 1) AS last_run,
       EXISTS (SELECT FROM market_data_job_runs k WHERE k.job_id = j.id AND k.status = 'running') AS running
FROM market_data_jobs j
LEFT JOIN exchange_pauses e ON e.exchange = j.exchange
CROSS JOIN LATERAL (SELECT greatest(j.paused_until, e.paused_until) AS paused_until) u
WHERE ($1::text IS NULL OR j.exchange = $1::text) AND ($2::bigint IS NULL OR j.id > $2::bigint)
  AND j.removed_at IS NULL AND (j.origin <> 'order' OR j.created_at > now() - interval '7 days')
  AND (NOT $4::boolean OR (j.enabled AND j.origin <> 'order'))
ORDER BY j.id LIMIT $3::integer

-- name: report_job_exists
-- params: id bigint
SELECT EXISTS (SELECT FROM market_data_jobs WHERE id = $1::bigint)

-- name: report_gaps
-- params: exchange text, symbol text, timeframe text, cause text, after bigint, most integer
-- Open ones. They are gathered first, or the planner walks all there ever were to find so many in the order of their ids.
WITH waiting AS MATERIALIZED (
    SELECT * FROM candle_gaps
    WHERE repaired_at IS NULL AND ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text)
      AND ($3::text IS NULL OR timeframe = $3::text) AND ($4::text IS NULL OR cause = $4::text) AND ($5::bigint IS NULL OR id > $5::bigint)
)
SELECT id, exchange, symbol, timeframe, gap_start, gap_end, missing_size AS missing, marketd_size(owed) AS owed, detected_at, repaired_at,
       cause, resolution, filled, emptied, attempts, next_attempt_at, last_error
FROM waiting
ORDER BY id LIMIT $6::integer

-- name: report_all_gaps
-- params: exchange text, symbol text, timeframe text, cause text, after bigint, most integer
-- Open and closed ones.
SELECT id, exchange, symbol, timeframe, gap_start, gap_end, missing_size AS missing, marketd_size(owed) AS owed, detected_at, repaired_at,
       cause, resolution, filled, emptied, attempts, next_attempt_at, last_error
FROM candle_gaps
WHERE ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text) AND ($3::text IS NULL OR timeframe = $3::text)
  AND ($4::text IS NULL OR cause = $4::text) AND ($5::bigint IS NULL OR id > $5::bigint)
ORDER BY id LIMIT $6::integer

-- name: report_gap_count
-- params: exchange text, symbol text, timeframe text, cause text
SELECT count(*) FROM candle_gaps
WHERE repaired_at IS NULL AND ($1::text IS NULL OR exchange = $1::text) AND ($2::text IS NULL OR symbol = $2::text)
  AND ($3::text IS NULL OR timeframe = $3::text) AND ($4::text IS NULL OR cause = $4::text)

-- name: report_gap_summary
-- params: exchange text
-- A gap that is no longer wanted was not repaired.
SELECT (SELECT count(*) FROM candle_gaps WHERE repaired_at IS NULL AND ($1::text IS NULL OR exchange = $1::text)) AS open_gaps,
       (SELECT count(*) FROM candle_gaps WHERE repaired_at > now() - interval '24 hours' AND resolution <> 'not_wanted'
        AND ($1::text IS NULL OR exchange = $1::text)) AS repaired_24h,
       (SELECT min(gap_start) FROM candle_gaps WHERE repaired_at IS NULL AND ($1::text IS NULL OR exchange = $1::text)) AS oldest_open_gap

-- name: report_buckets
-- params: exchange text, symbol text, timeframe text, starts integer[], ends integer[]
-- Answered, empty and owed intervals in each stretch [start, end) of interval numbers. A block that lies within a stretch counts by its own
-- figures; only the blocks at the borders are cut.
SELECT b.number, coalesce(c.answered, 0)::bigint AS answered, coalesce(c.empties, 0)::bigint AS empties, coalesce(g.owed, 0)::bigint AS owed,
       coalesce(g.suspect, 0)::bigint AS suspect
FROM unnest($4::integer[], $5::integer[]) WITH ORDINALITY AS b (start, until, number)
CROSS JOIN LATERAL (SELECT int4multirange(int4range(b.start, b.until)) AS span) h
CROSS JOIN LATERAL (
    SELECT sum(CASE WHEN o.within AND o.whole THEN 1440 WHEN o.within THEN marketd_size(k.answered) ELSE marketd_size(k.answered * h.span) END)
               AS answered,
           sum(CASE WHEN isempty(k.empty_once) AND isempty(k.empty_confirmed) THEN 0
                    WHEN o.within AND o.whole THEN 1440 - k.stored
                    ELSE marketd_size((k.empty_once + k.empty_confirmed) * k.answered * h.span) END) AS empties
    FROM candle_coverage k
    CROSS JOIN LATERAL (
        SELECT h.span @> int4range(k.block * 1440, (k.block + 1) * 1440) AS within,
               k.answered @> int4range(k.block * 1440, (k.block + 1) * 1440) AS whole
    ) o
    WHERE k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $3::text
      AND k.block BETWEEN b.start / 1440 AND (b.until - 1) / 1440
) c
CROSS JOIN LATERAL (
    SELECT sum(marketd_size(k.missing * h.span)) FILTER (WHERE k.cause <> 'suspect') AS owed,
           sum(marketd_size(k.missing * h.span)) FILTER (WHERE k.cause = 'suspect') AS suspect
    FROM candle_gaps k
    WHERE k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $3::text AND k.repaired_at IS NULL AND k.missing && h.span
) g
ORDER BY b.number

-- name: report_gap
-- params: gap bigint
SELECT id, exchange, symbol, timeframe, gap_start, gap_end, missing_size AS missing, marketd_size(owed) AS owed, detected_at, repaired_at,
       cause, resolution, filled, emptied, attempts, next_attempt_at, last_error
FROM candle_gaps WHERE id = $1::bigint

-- name: report_series_runs
-- params: exchange text, symbol text, timeframe text, most integer
-- The newest runs of the jobs that may have worked on a series.
SELECT n.id
FROM market_data_jobs j
CROSS JOIN LATERAL (
    SELECT k.id, k.started_at FROM market_data_job_runs k
    WHERE k.job_id = j.id AND k.started_at IS NOT NULL ORDER BY k.scheduled_for DESC LIMIT $4::integer
) n
WHERE j.exchange = $1::text AND (j.symbol IS NULL OR j.symbol = $2::text) AND (j.timeframe IS NULL OR j.timeframe = $3::text)
ORDER BY n.started_at DESC LIMIT $4::integer

-- name: report_revisions
-- params: exchange text, symbol text, timeframe text, most integer
-- The revisions of the newest candles.
SELECT open_time, kind, new_answered_at, old_open, old_high, old_low, old_close, old_volume, new_open, new_high, new_low, new_close, new_volume
FROM candle_revisions
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
ORDER BY open_time DESC, id DESC LIMIT $4::integer

-- name: report_candles
-- params: exchange text, symbol text, timeframe text, until timestamptz, most integer
-- The newest candles that open before a time.
SELECT open_time, open, high, low, close, volume
FROM candles
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time < $4::timestamptz
ORDER BY open_time DESC LIMIT $5::integer

-- name: report_maps
-- params: exchanges text[], symbols text[], timeframes text[], starts integer[], ends integer[], least integer
-- What is answered of each series, in the blocks that a stretch [start, end) of interval numbers touches, and where at least so many intervals
-- in a row were empty; NULL does not ask for that.
SELECT p.number, c.answered, c.quiet
FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::integer[]), (SELECT $5::integer[]))
    WITH ORDINALITY AS p (exchange, symbol, timeframe, start, until, number)
CROSS JOIN LATERAL (
    SELECT range_agg(k.answered) AS answered, range_agg(q.runs) AS quiet
    FROM candle_coverage k
    CROSS JOIN LATERAL (
        SELECT CASE WHEN $6::integer IS NOT NULL AND k.stored < marketd_size(k.answered)
                    THEN (SELECT range_agg(r) FROM unnest(k.empty_once + k.empty_confirmed) r WHERE upper(r) - lower(r) >= $6::integer)
               END AS runs
    ) q
    WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe
      AND k.block BETWEEN p.start / 1440 AND (p.until - 1) / 1440
) c
ORDER BY p.number

-- name: report_map_gaps
-- params: exchanges text[], symbols text[], timeframes text[], starts integer[], ends integer[], most integer
-- The open gaps within a stretch [start, end) of interval numbers of each series, the longest first.
SELECT p.number, k.id, k.cause, k.missing
FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::integer[]), (SELECT $5::integer[]))
    WITH ORDINALITY AS p (exchange, symbol, timeframe, start, until, number)
JOIN candle_gaps k ON k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe AND k.repaired_at IS NULL
WHERE k.missing && int4range(p.start, p.until)
ORDER BY k.missing_size DESC, k.id LIMIT $6::integer

-- name: report_leases
-- params:
SELECT exchange, holder, kind, epoch, expires_at, expires_at > clock_timestamp() AS alive, last_request_at,
       CASE WHEN blocked_until > clock_timestamp() THEN blocked_until END AS blocked_until
FROM exchange_leases ORDER BY exchange

-- name: report_missing
-- params:
SELECT exchange, symbol, timeframe, cause, sum(missing_size)::bigint AS missing
FROM candle_gaps WHERE repaired_at IS NULL GROUP BY exchange, symbol, timeframe, cause
