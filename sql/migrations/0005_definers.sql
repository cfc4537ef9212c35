-- What a review of schema 4 found.

-- Functions that work with their owner's rights look for tables in marketd's schema first: a role that may make temporary tables could put
-- one of its own, with a trigger of its own, in their way. ("FROM CURRENT" leaves pg_temp where it is searched before everything else.)
DO $$
DECLARE
    definer regprocedure;
BEGIN
    FOR definer IN SELECT oid::regprocedure FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace AND proname LIKE 'marketd\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END;
$$;

-- A run that ends after its row was disabled does not say anything about the row: "not needed" has to be found again.
DO $$
BEGIN
    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION marketd_note_job(job bigint, new_status text, new_error text) RETURNS void
            LANGUAGE sql SECURITY DEFINER SET search_path = %I, pg_temp
            AS 'UPDATE market_data_jobs SET status = new_status, last_error = new_error, enabled = enabled AND origin <> ''order'', updated_at = now()
                WHERE id = job AND (enabled OR origin <> ''auto'')'
    $sql$, current_schema());
END;
$$;

-- As for the pauses of jobs: no time that no reader can hold.
UPDATE exchange_pauses SET paused_until = 'infinity' WHERE paused_until >= '2200-01-01 00:00:00+00';
DELETE FROM exchange_pauses WHERE paused_until < '1970-01-01 00:00:00+00';
-- The table holds a row an exchange.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE exchange_pauses ADD CONSTRAINT exchange_pauses_readable CHECK (
    paused_until = 'infinity' OR (paused_until >= '1970-01-01 00:00:00+00' AND paused_until < '2200-01-01 00:00:00+00')
);
