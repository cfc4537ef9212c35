-- The runtime role works on data and may not change the schema or erase history; the reader only reads.
-- Both are group roles: grant them to the login roles you create (GRANT marketd_run TO trader).

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['marketd_run', 'marketd_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this server was migrated at the same moment
            END;
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO marketd_run, marketd_read', current_schema());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO marketd_run', current_database());
END $$;

GRANT SELECT ON candles, candle_revisions, candle_coverage, candle_gaps, market_series, market_data_jobs,
    market_data_job_runs, exchange_leases, candle_coverage_times, candle_presence, marketd_schema TO marketd_run, marketd_read;
GRANT INSERT, UPDATE ON candles, candle_coverage, candle_gaps, market_series, market_data_job_runs, exchange_leases TO marketd_run;
GRANT INSERT ON candle_revisions TO marketd_run;
GRANT INSERT, UPDATE ON market_data_jobs TO marketd_run;

-- The daemon edits only rows of its own making; what an operator wrote by SQL it may read, not change.
ALTER TABLE market_data_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY jobs_read ON market_data_jobs FOR SELECT USING (true);
CREATE POLICY jobs_insert ON market_data_jobs FOR INSERT TO marketd_run WITH CHECK (origin IN ('file', 'auto', 'order', 'cli'));
CREATE POLICY jobs_update ON market_data_jobs FOR UPDATE TO marketd_run
    USING (origin IN ('file', 'auto', 'order', 'cli')) WITH CHECK (origin IN ('file', 'auto', 'order', 'cli'));

CREATE FUNCTION marketd_note_job(job bigint, new_status text, new_error text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS 'UPDATE market_data_jobs SET status = new_status, last_error = new_error, updated_at = now() WHERE id = job';
CREATE FUNCTION marketd_pause_job(job bigint, until timestamptz) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS 'UPDATE market_data_jobs SET paused_until = until, updated_at = now() WHERE id = job';
REVOKE ALL ON FUNCTION marketd_note_job(bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION marketd_pause_job(bigint, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketd_note_job(bigint, text, text) TO marketd_run;
GRANT EXECUTE ON FUNCTION marketd_pause_job(bigint, timestamptz) TO marketd_run;
