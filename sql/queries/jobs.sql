-- Jobs, their runs, and who works on an exchange.

-- name: enabled_jobs
-- params:
-- Paused until the later end of the two pauses: the job's own and that of its exchange.
SELECT j.id, j.exchange, j.symbol, j.timeframe, j.job_type, j.schedule, j.enabled, j.start_time, j.end_time, j.status, j.last_error, j.created_at,
       j.origin, j.owner, j.catch_up, j.timeout_s, j.freshness_s, j.jitter_s,
       CASE WHEN u.paused_until = 'infinity' THEN timestamptz '9999-01-01 00:00:00+00' ELSE u.paused_until END AS paused_until
FROM market_data_jobs j
LEFT JOIN exchange_pauses e ON e.exchange = j.exchange
CROSS JOIN LATERAL (SELECT greatest(j.paused_until, e.paused_until) AS paused_until) u
WHERE j.enabled AND j.origin <> 'order' ORDER BY j.id

-- name: jobs_digest
-- params:
-- Another value whenever a row has changed that the job set is made of: a look that costs the reader nothing.
SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(
    (j.id, j.exchange, j.symbol, j.timeframe, j.job_type, j.schedule, j.start_time, j.end_time, j.origin, j.created_at, j.catch_up, j.timeout_s,
     j.freshness_s, j.jitter_s, j.paused_until, p.paused_until)::text, 0)), 0)::text
    || ' ' || (SELECT coalesce(sum(hashtextextended((k.id, k.enabled, k.caused_by)::text, 0)), 0)::text
               FROM market_data_jobs k WHERE k.job_type = 'backfill' AND k.origin <> 'order' AND NOT k.enabled)
FROM market_data_jobs j LEFT JOIN exchange_pauses p ON p.exchange = j.exchange
WHERE j.enabled AND j.origin <> 'order'

-- name: file_jobs
-- params: owner text
SELECT id, exchange, symbol, timeframe, job_type, schedule, enabled, start_time, end_time, catch_up, timeout_s, freshness_s, jitter_s
FROM market_data_jobs WHERE origin = 'file' AND owner = $1::text ORDER BY id

-- name: insert_job
-- params: exchange text, symbol text, timeframe text, job_type text, schedule text, enabled boolean, start_time timestamptz, end_time timestamptz, origin text, owner text, catch_up text, timeout_s double precision, freshness_s double precision, jitter_s double precision
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule, enabled, start_time, end_time, origin, owner, catch_up,
                              timeout_s, freshness_s, jitter_s)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::boolean, $7::timestamptz, $8::timestamptz, $9::text, $10::text, $11::text,
        $12::double precision, $13::double precision, $14::double precision)
RETURNING id

-- name: update_file_job
-- params: id bigint, schedule text, enabled boolean, start_time timestamptz, end_time timestamptz, catch_up text, timeout_s double precision, freshness_s double precision, jitter_s double precision
UPDATE market_data_jobs SET schedule = $2::text, enabled = $3::boolean, start_time = $4::timestamptz, end_time = $5::timestamptz,
    catch_up = $6::text, timeout_s = $7::double precision, freshness_s = $8::double precision, jitter_s = $9::double precision,
    removed_at = NULL, updated_at = now()
WHERE id = $1::bigint

-- name: disable_jobs
-- params: ids bigint[]
UPDATE market_data_jobs SET enabled = false, updated_at = now() WHERE id = ANY ($1::bigint[]) AND enabled

-- name: backfill_rows
-- params:
-- One that was removed says nothing any more.
SELECT id, exchange, symbol, timeframe, origin, enabled, status, caused_by
FROM market_data_jobs WHERE job_type = 'backfill' AND origin <> 'order' AND removed_at IS NULL

-- name: create_auto_jobs
-- params: causes bigint[]
-- Several daemons may see the same need at the same moment.
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, origin, caused_by)
SELECT exchange, symbol, timeframe, 'backfill', 'auto', id FROM market_data_jobs WHERE id = ANY ($1::bigint[])
ON CONFLICT DO NOTHING

-- name: need_auto_jobs
-- params: enable bigint[], disable bigint[]
UPDATE market_data_jobs SET enabled = id = ANY ($1::bigint[]), updated_at = now(),
    status = CASE WHEN id = ANY ($2::bigint[]) THEN 'not needed' END
WHERE origin = 'auto' AND id = ANY ($1::bigint[] || $2::bigint[])

-- name: note_refused
-- params: ids bigint[], reasons text[]
SELECT marketd_note_job(f.id, 'refused', f.reason) FROM unnest($1::bigint[], $2::text[]) AS f (id, reason)

-- name: open_orders
-- params: exchange text
-- Orders that wait for a process to carry them out, and those under way.
SELECT j.id, j.exchange, j.symbol, j.timeframe, j.job_type, j.schedule, j.enabled, j.start_time, j.end_time, j.created_at, j.origin,
       j.timeout_s, j.refetch, j.oldest_first, j.most_gaps,
       r.id AS run_id, r.status AS run_status, r.epoch
FROM market_data_jobs j LEFT JOIN market_data_job_runs r ON r.job_id = j.id WHERE j.exchange = $1::text AND j.enabled AND j.origin = 'order' ORDER BY j.id

-- name: insert_order
-- params: exchange text, symbol text, timeframe text, job_type text, start_time timestamptz, end_time timestamptz, refetch boolean, oldest_first boolean, most_gaps integer, owner text
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, start_time, end_time, origin, refetch, oldest_first, most_gaps, owner)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::timestamptz, $6::timestamptz, 'order', $7::boolean, $8::boolean, $9::integer, $10::text)
RETURNING id

-- name: lock_orders
-- params: owner text
-- Giving and taking back wait for each other: a COMMIT whose answer was lost may still be under way.
SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))

-- name: withdraw_all_orders
-- params: owner text
UPDATE market_data_jobs SET enabled = false, updated_at = now() WHERE owner = $1::text AND origin = 'order' AND enabled

-- name: withdraw_orders
-- params: ids bigint[]
UPDATE market_data_jobs SET enabled = false, updated_at = now() WHERE id = ANY ($1::bigint[]) AND origin = 'order' AND enabled

-- name: follow_orders
-- params: ids bigint[]
-- How far orders are that another process carries out; no run yet: it waits, or was withdrawn.
SELECT j.id, j.enabled, r.id AS run_id, r.status, r.requests, r.candles_fetched, r.candles_inserted, r.candles_updated, r.empties,
       r.gaps_opened, r.gaps_closed, r.intervals_planned, r.intervals_left, coalesce(r.error_message, j.last_error) AS error
FROM market_data_jobs j LEFT JOIN market_data_job_runs r ON r.job_id = j.id
WHERE j.id = ANY ($1::bigint[]) ORDER BY j.id

-- name: note_job
-- params: id bigint, status text, error text
SELECT marketd_note_job($1::bigint, $2::text, $3::text)

-- name: last_firings
-- params:
-- One index probe a job, however many runs there are.
SELECT j.id AS job_id, r.scheduled_for
FROM market_data_jobs j
CROSS JOIN LATERAL (SELECT scheduled_for FROM market_data_job_runs WHERE job_id = j.id ORDER BY scheduled_for DESC LIMIT 1) r

-- name: begin_runs
-- params: job_ids bigint[], scheduled_for timestamptz[], epoch bigint
-- Each (job, time) once, whatever restarts or second daemons do; a job that still runs gets no second run.
INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, status, epoch)
SELECT f.job_id, f.scheduled_for, clock_timestamp(), 'running', $3::bigint
FROM unnest($1::bigint[], $2::timestamptz[]) AS f (job_id, scheduled_for)
WHERE NOT EXISTS (SELECT FROM market_data_job_runs r WHERE r.job_id = f.job_id AND r.status = 'running')
ON CONFLICT DO NOTHING
RETURNING id, job_id

-- name: close_orphans
-- params: job_ids bigint[], epoch bigint
-- Rows left running by this holder or an earlier one for jobs that are about to begin: nobody runs them.
UPDATE market_data_job_runs SET status = 'interrupted', completed_at = greatest(clock_timestamp(), started_at),
    error_message = coalesce(error_message, 'its end was never recorded')
WHERE job_id = ANY ($1::bigint[]) AND status = 'running' AND epoch <= $2::bigint

-- name: under_way
-- params: exchange text, epoch bigint
-- Runs of jobs, without orders by hand, that this holder of the exchange has begun.
SELECT r.job_id, r.id
FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.status = 'running' AND r.epoch = $2::bigint AND j.exchange = $1::text AND j.origin <> 'order'

-- name: skip_runs
-- params: job_ids bigint[], scheduled_for timestamptz[], epoch bigint, reason text
INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status, epoch, error_message)
SELECT f.job_id, f.scheduled_for, now(), now(), 'skipped', $3::bigint, $4::text
FROM unnest($1::bigint[], $2::timestamptz[]) AS f (job_id, scheduled_for)
ON CONFLICT DO NOTHING

-- name: finish_run
-- params: id bigint, status text, error text, requests integer
-- The end of a run, in its row and in its job's; what a takeover has closed meanwhile stays closed. All but the requests after the last page
-- was counted with the pages.
WITH ended AS (
    UPDATE market_data_job_runs SET status = $2::text, error_message = $3::text, completed_at = greatest(clock_timestamp(), started_at),
        requests = greatest(requests, $4::integer)
    WHERE id = $1::bigint AND status = 'running'
    RETURNING job_id
)
SELECT marketd_note_job(job_id, $2::text, $3::text) FROM ended

-- name: interrupt_runs
-- params: exchange text, epoch bigint
-- Runs of holders that are gone: closed by whoever takes the exchange over. An order ends with its run.
WITH closed AS (
    UPDATE market_data_job_runs r SET status = 'interrupted', completed_at = greatest(clock_timestamp(), r.started_at),
        error_message = coalesce(r.error_message, 'the process that ran it is gone')
    FROM market_data_jobs j
    WHERE j.id = r.job_id AND j.exchange = $1::text AND r.status = 'running' AND r.epoch < $2::bigint
    RETURNING r.job_id
)
UPDATE market_data_jobs j SET enabled = false, status = 'interrupted', updated_at = now()
FROM closed c WHERE c.job_id = j.id AND j.origin = 'order'

-- name: lock_lease
-- params: exchange text
-- Waits for page transactions of the holder (they hold it FOR KEY SHARE) before it is taken over.
SELECT holder, kind, epoch, expires_at > clock_timestamp() AS alive, blocked_until, last_request_at
FROM exchange_leases WHERE exchange = $1::text FOR UPDATE

-- name: lease_alive
-- params: exchange text
SELECT expires_at > clock_timestamp() FROM exchange_leases WHERE exchange = $1::text

-- name: create_lease
-- params: exchange text, holder text, kind text, seconds double precision
INSERT INTO exchange_leases (exchange, holder, kind, epoch, expires_at)
VALUES ($1::text, $2::text, $3::text, 1, clock_timestamp() + make_interval(secs => $4::double precision))
ON CONFLICT DO NOTHING
RETURNING epoch

-- name: take_lease
-- params: exchange text, holder text, kind text, seconds double precision
UPDATE exchange_leases SET holder = $2::text, kind = $3::text, epoch = epoch + 1,
    expires_at = clock_timestamp() + make_interval(secs => $4::double precision)
WHERE exchange = $1::text
RETURNING epoch

-- name: renew_lease
-- params: exchange text, epoch bigint, seconds double precision
UPDATE exchange_leases SET expires_at = clock_timestamp() + make_interval(secs => $3::double precision)
WHERE exchange = $1::text AND epoch = $2::bigint
RETURNING epoch

-- name: release_lease
-- params: exchange text, epoch bigint
UPDATE exchange_leases SET expires_at = clock_timestamp() WHERE exchange = $1::text AND epoch = $2::bigint

-- name: block_lease
-- params: exchange text, epoch bigint, seconds double precision
-- A ban outlives its holder: whoever takes the exchange over waits for it too.
UPDATE exchange_leases SET last_request_at = clock_timestamp(),
    blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => $3::double precision))
WHERE exchange = $1::text AND epoch = $2::bigint

-- name: blocked_for
-- params: exchange text
SELECT greatest(0, extract(epoch FROM blocked_until - clock_timestamp()))::double precision AS seconds
FROM exchange_leases WHERE exchange = $1::text AND blocked_until IS NOT NULL

-- name: share_budget
-- params: exchange text, per_minute double precision
INSERT INTO exchange_budgets AS b (exchange, per_minute) VALUES ($1::text, $2::double precision)
ON CONFLICT (exchange) DO UPDATE SET per_minute = excluded.per_minute, updated_at = clock_timestamp()
WHERE b.per_minute <> excluded.per_minute

-- name: take_turn
-- params: exchange text
-- Seconds until it is this program's turn; NULL: not within minutes, nothing was taken.
SELECT marketd_reserve($1::text)
