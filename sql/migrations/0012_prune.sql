-- What has been done, closed or revised long ago may be taken away; the figures of its hours stay.

CREATE TABLE marketd_pruned (
    kind text PRIMARY KEY CHECK (kind IN ('runs', 'gaps', 'revisions')),
    until timestamptz NOT NULL
);
COMMENT ON TABLE marketd_pruned IS 'Up to when history has been taken away (marketd prune). Hours of run figures before are no longer held against the runs.';
GRANT SELECT ON marketd_pruned TO marketd_run, marketd_read, marketd_retain;
GRANT INSERT, UPDATE ON marketd_pruned TO marketd_retain;
GRANT DELETE ON market_data_job_runs, market_data_jobs TO marketd_retain;
CREATE POLICY jobs_prune ON market_data_jobs FOR DELETE TO marketd_retain USING (origin = 'order' AND NOT enabled);

CREATE FUNCTION marketd_old_runs(before timestamptz) RETURNS SETOF bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT r.id FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
        WHERE r.completed_at < before AND (j.origin = 'order' AND NOT j.enabled OR EXISTS (
            SELECT FROM market_data_job_runs n WHERE n.job_id = r.job_id AND n.scheduled_for > r.scheduled_for
                                               AND (r.status <> 'success' OR n.status = 'success')));
    END;
COMMENT ON FUNCTION marketd_old_runs IS 'Runs that ended before and nobody needs: of each job the newest run and the newest success are needed, of an order that is done none.';

-- squawk-ignore ban-drop-table
DROP TRIGGER market_data_job_runs_removed ON market_data_job_runs;
CREATE TRIGGER market_data_job_runs_removed AFTER DELETE ON market_data_job_runs
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT
    WHEN (current_setting('marketd.pruning', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION marketd_keep_run_figures();

CREATE OR REPLACE FUNCTION marketd_count_figures() RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    pruned timestamptz := coalesce((SELECT until FROM marketd_pruned WHERE kind = 'runs'), '-infinity');
BEGIN
    LOCK TABLE candle_coverage, market_data_job_runs IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM series_figures;
    INSERT INTO series_figures
    SELECT exchange, symbol, timeframe, count(*), sum(marketd_answered_size(block, answered)), sum(stored),
           sum(marketd_once_size(answered, empty_once)), min(lower(answered)), max(upper(answered))
    FROM candle_coverage GROUP BY exchange, symbol, timeframe;
    DELETE FROM run_figures WHERE hour >= pruned;
    INSERT INTO run_figures
    SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC'), count(*) FILTER (WHERE r.status = 'success'),
           count(*) FILTER (WHERE r.status = 'partial'), count(*) FILTER (WHERE r.status = 'failed'),
           count(*) FILTER (WHERE r.status = 'interrupted'), count(*) FILTER (WHERE r.status = 'skipped'), sum(r.candles_inserted)
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.status <> 'running' AND r.started_at >= pruned
    GROUP BY 1, 2;
END $$;
