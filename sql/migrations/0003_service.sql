-- squawk-ignore-file constraint-missing-not-valid, adding-foreign-key-constraint
-- What the service needs of its tables: orders that another process carries out, jitter, backfill rows that marketd makes by itself, a pause
-- of a whole exchange, and progress that others can follow.

-- The table of jobs is small: its constraints are checked at once.
ALTER TABLE market_data_jobs
    ADD COLUMN jitter_s double precision CHECK (jitter_s > 0),
    ADD COLUMN caused_by bigint,
    ADD COLUMN refetch boolean NOT NULL DEFAULT false,
    ADD COLUMN oldest_first boolean NOT NULL DEFAULT false,
    ADD COLUMN most_gaps integer CHECK (most_gaps > 0),
    ADD COLUMN removed_at timestamptz,
    ADD CONSTRAINT market_data_jobs_cause FOREIGN KEY (caused_by) REFERENCES market_data_jobs (id),
    ADD CONSTRAINT market_data_jobs_removed CHECK (removed_at IS NULL OR NOT enabled),
    -- Years that a reader's calendar does not have would stop whoever reads the table.
    ADD CONSTRAINT market_data_jobs_times CHECK (
        start_time >= '1970-01-01 00:00:00+00' AND start_time < '2200-01-01 00:00:00+00'
        AND end_time >= '1970-01-01 00:00:00+00' AND end_time < '2200-01-01 00:00:00+00'
        AND created_at >= '1970-01-01 00:00:00+00' AND created_at < '2200-01-01 00:00:00+00'
        AND (paused_until = 'infinity' OR (paused_until >= '1970-01-01 00:00:00+00' AND paused_until < '2200-01-01 00:00:00+00'))
    );
COMMENT ON COLUMN market_data_jobs.jitter_s IS 'A firing starts up to this much later, by an amount that differs from job to job.';
COMMENT ON COLUMN market_data_jobs.caused_by IS 'Origin auto: the row whose series needed a backfill.';
COMMENT ON COLUMN market_data_jobs.enabled IS 'Origin order: waits for its run or runs; setting it to false withdraws the order.';
COMMENT ON COLUMN market_data_jobs.removed_at IS 'Taken away by hand; the row stays because its runs are history.';

CREATE UNIQUE INDEX market_data_jobs_auto ON market_data_jobs (caused_by) WHERE origin = 'auto';
CREATE INDEX market_data_jobs_orders ON market_data_jobs (exchange) WHERE enabled AND origin = 'order';
UPDATE market_data_jobs SET enabled = false WHERE origin = 'order';

ALTER TABLE market_data_job_runs
    ADD COLUMN intervals_planned bigint,
    ADD COLUMN intervals_left bigint;
COMMENT ON COLUMN market_data_job_runs.intervals_left IS 'Of intervals_planned, what this run still has to ask for.';

CREATE TABLE exchange_pauses (
    exchange text COLLATE "C" PRIMARY KEY,
    paused_until timestamptz NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE exchange_pauses IS 'No job of the exchange is fired before paused_until; infinity until resumed by hand.';
GRANT SELECT ON exchange_pauses TO marketd_run, marketd_read;
GRANT INSERT, UPDATE, DELETE ON exchange_pauses TO marketd_run;

-- An order ends with its run.
CREATE OR REPLACE FUNCTION marketd_note_job(job bigint, new_status text, new_error text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS 'UPDATE market_data_jobs SET status = new_status, last_error = new_error, enabled = enabled AND origin <> ''order'', updated_at = now() WHERE id = job';
