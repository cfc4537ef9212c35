-- Rows of the job table as operators change and see them. Row-level security decides which rows a role may change: an UPDATE passes the
-- others over, so every change returns the ids that it has reached.

-- name: lock_jobs
-- params:
-- Changes of the table wait for each other; readers and running jobs do not.
LOCK TABLE market_data_jobs IN SHARE ROW EXCLUSIVE MODE

-- name: known_jobs
-- params: ids bigint[]
SELECT id, exchange, symbol, timeframe, job_type, enabled, origin, owner, removed_at FROM market_data_jobs WHERE id = ANY ($1::bigint[])

-- name: listed_jobs
-- params: exchange text, symbol text, job_type text, everything boolean
-- All that job_from_row reads, and what is shown besides; without $4, neither removed rows nor orders that have ended.
SELECT j.id, j.exchange, j.symbol, j.timeframe, j.job_type, j.schedule, j.enabled, j.start_time, j.end_time, j.status, j.last_error, j.created_at,
       j.origin, j.owner, j.catch_up, j.timeout_s, j.freshness_s, j.jitter_s, j.caused_by, j.removed_at,
       CASE WHEN u.paused_until = 'infinity' THEN timestamptz '9999-01-01 00:00:00+00' ELSE u.paused_until END AS paused_until,
       (SELECT k.id FROM market_data_job_runs k WHERE k.job_id = j.id ORDER BY k.scheduled_for DESC LIMIT 1) AS last_run
FROM market_data_jobs j
LEFT JOIN exchange_pauses e ON e.exchange = j.exchange
CROSS JOIN LATERAL (SELECT greatest(j.paused_until, e.paused_until) AS paused_until) u
WHERE ($1::text IS NULL OR j.exchange = $1::text) AND ($2::text IS NULL OR j.symbol = $2::text) AND ($3::text IS NULL OR j.job_type = $3::text)
  AND ($4::boolean OR (j.removed_at IS NULL AND (j.origin <> 'order' OR j.enabled)))
ORDER BY j.id

-- name: enable_jobs
-- params: ids bigint[], enabled boolean
UPDATE market_data_jobs SET enabled = $2::boolean, updated_at = now() WHERE id = ANY ($1::bigint[]) RETURNING id

-- name: remove_jobs
-- params: ids bigint[]
UPDATE market_data_jobs SET enabled = false, removed_at = now(), updated_at = now() WHERE id = ANY ($1::bigint[]) RETURNING id

-- name: pause_jobs
-- params: ids bigint[], until text
-- A time or infinity; NULL ends a pause. Of any origin: the function writes with its owner's rights.
SELECT marketd_pause_job(id, $2::text::timestamptz) FROM unnest($1::bigint[]) AS id

-- name: exchange_pauses
-- params: exchange text
-- Those that are not over.
SELECT exchange, CASE WHEN paused_until = 'infinity' THEN timestamptz '9999-01-01 00:00:00+00' ELSE paused_until END AS paused_until, noted_at
FROM exchange_pauses WHERE paused_until > now() AND ($1::text IS NULL OR exchange = $1::text) ORDER BY exchange

-- name: pause_exchange
-- params: exchange text, until text
INSERT INTO exchange_pauses (exchange, paused_until) VALUES ($1::text, $2::text::timestamptz)
ON CONFLICT (exchange) DO UPDATE SET paused_until = excluded.paused_until, noted_at = now()

-- name: resume_exchange
-- params: exchange text
DELETE FROM exchange_pauses WHERE exchange = $1::text
