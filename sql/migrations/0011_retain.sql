-- The role that may take away what was stored: a mistaken series. Nobody who works every day has it.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'marketd_retain') THEN
        BEGIN
            CREATE ROLE marketd_retain NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this server was migrated at the same moment
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO marketd_retain', current_schema());
END $$;
GRANT SELECT ON candles, candle_revisions, candle_coverage, candle_gaps, market_series, market_data_jobs, market_data_job_runs, exchange_leases,
    series_figures, marketd_schema, marketd_instance TO marketd_retain;
GRANT DELETE ON candles, candle_revisions, candle_coverage, candle_gaps, market_series, series_figures TO marketd_retain;
