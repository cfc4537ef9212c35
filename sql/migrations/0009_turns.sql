-- One budget for several programs that ask an exchange from the same address: marketd and the bots beside it take turns.

CREATE TABLE exchange_budgets (
    exchange text COLLATE "C" PRIMARY KEY,
    per_minute double precision NOT NULL CHECK (per_minute > 0 AND per_minute <= 600000),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE exchange_budgets IS 'Requests a minute that all programs together may send; written by marketd where [exchanges.NAME] share is set.';

-- Not logged: a turn is worth nothing after a crash, and costs no write to the disk.
CREATE UNLOGGED TABLE exchange_turns (
    exchange text COLLATE "C" PRIMARY KEY,
    free_at timestamptz NOT NULL,
    taken bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE exchange_turns IS 'When the next turn of each exchange is free, and how many have been taken.';

GRANT SELECT ON exchange_budgets, exchange_turns TO marketd_run, marketd_read;
GRANT INSERT, UPDATE ON exchange_budgets TO marketd_run;

CREATE FUNCTION marketd_reserve(of_exchange text, weight integer DEFAULT 1) RETURNS double precision
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$
DECLARE
    farthest CONSTANT interval := '5 minutes';
    turn_of interval;
    blocked timestamptz;
    turn_at timestamptz;
BEGIN
    SELECT make_interval(secs => 60 / b.per_minute) * weight INTO turn_of FROM exchange_budgets b WHERE b.exchange = of_exchange;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no budget is shared for exchange %', of_exchange
            USING ERRCODE = 'no_data_found', HINT = 'Set share in [exchanges.NAME] of marketd; it is known once marketd has begun to work there.';
    END IF;
    IF weight IS NULL OR weight < 1 OR turn_of > farthest THEN
        RAISE EXCEPTION 'weight % is not a number of requests that pass within %', weight, farthest USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT l.blocked_until INTO blocked FROM exchange_leases l WHERE l.exchange = of_exchange;
    INSERT INTO exchange_turns AS t VALUES (of_exchange, clock_timestamp(), 0) ON CONFLICT (exchange) DO NOTHING;
    SELECT t.free_at INTO turn_at FROM exchange_turns t WHERE t.exchange = of_exchange FOR UPDATE;
    -- No turn is given so far ahead: the clock of the server was set back.
    IF turn_at > clock_timestamp() + 3 * farthest THEN
        turn_at := clock_timestamp();
    END IF;
    turn_at := greatest(turn_at, clock_timestamp(), blocked);
    IF turn_at > clock_timestamp() + farthest THEN
        RETURN NULL;
    END IF;
    UPDATE exchange_turns t SET free_at = turn_at + turn_of, taken = t.taken + weight WHERE t.exchange = of_exchange;
    RETURN greatest(extract(epoch FROM turn_at - clock_timestamp()), 0);
END $$;
COMMENT ON FUNCTION marketd_reserve IS 'Takes the next turn for a request of this weight: in how many seconds it is. NULL: not within five minutes, nothing was taken. Call it in a transaction of its own.';

CREATE FUNCTION marketd_be_silent(of_exchange text, seconds double precision) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    AS $$ UPDATE exchange_leases SET blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 604800)))
          WHERE exchange = of_exchange $$;
COMMENT ON FUNCTION marketd_be_silent IS 'Whoever is told to wait by an exchange (429) says so for all: nobody gets a turn for so many seconds, a week at most.';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION marketd_reserve SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION marketd_be_silent SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION marketd_reserve(text, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION marketd_be_silent(text, double precision) FROM PUBLIC;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'marketd_turns') THEN
        BEGIN
            CREATE ROLE marketd_turns NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this server was migrated at the same moment
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO marketd_turns', current_schema());
END $$;
GRANT EXECUTE ON FUNCTION marketd_reserve(text, integer) TO marketd_run, marketd_turns;
GRANT EXECUTE ON FUNCTION marketd_be_silent(text, double precision) TO marketd_turns;
