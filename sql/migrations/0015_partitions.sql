-- Partitions: `marketd partition` gives each year of the timeframes below an hour a table of its own, and all others one together.
-- Everything here works on the tables as their owner, but for what the nightly removal calls.

CREATE FUNCTION marketd_partitioned() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY['1m', '3m', '5m', '15m', '30m'];
COMMENT ON FUNCTION marketd_partitioned IS 'The timeframes whose candles have a table for each year, where candles is partitioned.';

-- A year that comes after its candles takes them over from the table of what has no year.
CREATE FUNCTION marketd_add_partitions(whole regclass, first_year integer, last_year integer) RETURNS integer
    LANGUAGE plpgsql
    SET lock_timeout = '2s'
    AS $$
DECLARE
    timeframe text;
    family text;
    leaf text;
    since timestamptz;
    until timestamptz;
    added integer := 0;
BEGIN
    FOREACH timeframe IN ARRAY marketd_partitioned() LOOP
        family := 'candles_' || timeframe;
        IF to_regclass(family) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES IN (%L) PARTITION BY RANGE (open_time)', family, whole, timeframe);
            EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', family || '_rest', family);
        END IF;
        FOR year IN first_year..last_year LOOP
            leaf := family || '_' || year;
            CONTINUE WHEN to_regclass(leaf) IS NOT NULL;
            since := make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC');
            until := make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC');
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', family);
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', leaf, family);
            EXECUTE format('WITH late AS (DELETE FROM %I WHERE open_time >= %L AND open_time < %L RETURNING *) INSERT INTO %I SELECT * FROM late',
                           family || '_rest', since, until, leaf);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', family, leaf, since, until);
            added := added + 1;
        END LOOP;
    END LOOP;
    RETURN added;
END $$;
COMMENT ON FUNCTION marketd_add_partitions IS 'Tables for the years, where they are not there yet; how many were added.';

-- While candles are copied, whatever is done to the old table is done to the new one in the same transaction, whoever does it.
CREATE FUNCTION marketd_mirror_candles() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE candles_next;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM candles_next n USING removed r
        WHERE (n.exchange, n.symbol, n.timeframe, n.open_time) = (r.exchange, r.symbol, r.timeframe, r.open_time);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO candles_next SELECT * FROM added;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION marketd_begin_partitioning() RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout = '2s'
    AS $$
BEGIN
    CREATE TABLE candles_next (LIKE candles INCLUDING ALL) PARTITION BY LIST (timeframe);
    CREATE TABLE candles_rest PARTITION OF candles_next DEFAULT;
    -- Nothing was traded at an exchange before; where a series is older, its first years are kept together.
    PERFORM marketd_add_partitions('candles_next', 2011, extract(year FROM now() AT TIME ZONE 'UTC')::integer + 1);
    CREATE TABLE marketd_partitioning AS
        SELECT ''::text COLLATE "C" AS exchange, ''::text COLLATE "C" AS symbol, ''::text COLLATE "C" AS timeframe,
               timestamptz '-infinity' AS open_time, 0::bigint AS candles;
    COMMENT ON TABLE marketd_partitioning IS 'How far marketd partition has copied: the key of its last candle, and how many there were.';
    CREATE TRIGGER candles_mirror_added AFTER INSERT ON candles
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_mirror_candles();
    CREATE TRIGGER candles_mirror_changed AFTER UPDATE ON candles
        REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_mirror_candles();
    CREATE TRIGGER candles_mirror_removed AFTER DELETE ON candles
        REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION marketd_mirror_candles();
    CREATE TRIGGER candles_mirror_emptied AFTER TRUNCATE ON candles FOR EACH STATEMENT EXECUTE FUNCTION marketd_mirror_candles();
END $$;

-- Writers wait for a portion, readers do not: a candle that was deleted while it is copied would come back.
CREATE FUNCTION marketd_copy_candles(most integer) RETURNS integer
    LANGUAGE plpgsql
    SET lock_timeout = '2s'
    AS $$
DECLARE
    reached record;
    copied integer;
BEGIN
    LOCK TABLE candles IN SHARE ROW EXCLUSIVE MODE;
    SELECT p.* INTO STRICT reached FROM marketd_partitioning p FOR UPDATE;
    WITH portion AS MATERIALIZED (
        SELECT c.* FROM candles c
        WHERE (c.exchange, c.symbol, c.timeframe, c.open_time) > (reached.exchange, reached.symbol, reached.timeframe, reached.open_time)
        ORDER BY c.exchange, c.symbol, c.timeframe, c.open_time LIMIT most
    ), kept AS (
        INSERT INTO candles_next SELECT * FROM portion ON CONFLICT DO NOTHING
    ), last AS (
        SELECT * FROM portion ORDER BY exchange DESC, symbol DESC, timeframe DESC, open_time DESC LIMIT 1
    )
    UPDATE marketd_partitioning p
    SET exchange = l.exchange, symbol = l.symbol, timeframe = l.timeframe, open_time = l.open_time, candles = p.candles + n.candles
    FROM last l, (SELECT count(*) AS candles FROM portion) AS n
    RETURNING n.candles INTO copied;
    RETURN coalesce(copied, 0);
END $$;
COMMENT ON FUNCTION marketd_copy_candles IS 'The next so many candles, copied; how many there were, 0 where all are.';

CREATE FUNCTION marketd_partitioning_reached() RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (SELECT p.candles FROM marketd_partitioning p);
END $$;
COMMENT ON FUNCTION marketd_partitioning_reached IS 'How many candles have been copied.';

CREATE FUNCTION marketd_series_of_both() RETURNS TABLE (exchange text, symbol text, timeframe text)
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE walked AS (
        SELECT '' COLLATE "C" AS exchange, '' COLLATE "C" AS symbol, '' COLLATE "C" AS timeframe
        UNION ALL
        SELECT n.* FROM walked w CROSS JOIN LATERAL (
            (SELECT c.exchange, c.symbol, c.timeframe FROM candles c
             WHERE (c.exchange, c.symbol, c.timeframe) > (w.exchange, w.symbol, w.timeframe) ORDER BY c.exchange, c.symbol, c.timeframe LIMIT 1)
            UNION ALL
            (SELECT c.exchange, c.symbol, c.timeframe FROM candles_next c
             WHERE (c.exchange, c.symbol, c.timeframe) > (w.exchange, w.symbol, w.timeframe) ORDER BY c.exchange, c.symbol, c.timeframe LIMIT 1)
            ORDER BY exchange, symbol, timeframe LIMIT 1
        ) AS n
    )
    SELECT w.* FROM walked w WHERE w.exchange <> '';
END $$;
COMMENT ON FUNCTION marketd_series_of_both IS 'Every series of which the old table or the new one has a candle.';

CREATE FUNCTION marketd_same_candles(of_exchange text, of_symbol text, of_timeframe text) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    -- One statement sees both tables at one moment.
    RETURN (
        SELECT CASE WHEN b IS NOT DISTINCT FROM a THEN b.candles END
        FROM (SELECT count(*) AS candles, bit_xor(hashtextextended(c::text, 0)) AS hash FROM candles c
              WHERE c.exchange = of_exchange AND c.symbol = of_symbol AND c.timeframe = of_timeframe) AS b,
             (SELECT count(*) AS candles, bit_xor(hashtextextended(c::text, 0)) AS hash FROM candles_next c
              WHERE c.exchange = of_exchange AND c.symbol = of_symbol AND c.timeframe = of_timeframe) AS a
    );
END $$;
COMMENT ON FUNCTION marketd_same_candles IS 'How many candles of a series there are, where both tables hold the same ones to the last digit; NULL where they do not.';

-- One moment in which nobody reads or writes: the tables change their names, and what belonged to the old one goes to the new one.
CREATE FUNCTION marketd_finish_partitioning() RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout = '2s'
    AS $$
DECLARE
    one text;
    commands text[];
BEGIN
    LOCK TABLE candles IN ACCESS EXCLUSIVE MODE;
    IF marketd_copy_candles(1) > 0 THEN
        RAISE EXCEPTION 'not all candles are copied yet';
    END IF;
    SELECT array_agg(command) INTO commands FROM (
        SELECT format('GRANT %s%s ON candles TO %s%s', a.privilege_type, a.columns, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS command
        FROM (
            SELECT g.grantee, g.privilege_type, g.is_grantable, '' AS columns
            FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS g WHERE c.oid = 'candles'::regclass AND g.grantee <> c.relowner
            UNION ALL
            SELECT g.grantee, g.privilege_type, g.is_grantable, format(' (%I)', t.attname)
            FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) AS g WHERE t.attrelid = 'candles'::regclass
        ) AS a
        UNION ALL
        SELECT DISTINCT format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass, ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
                               pg_get_viewdef(v.oid))
        FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'candles'::regclass AND v.relkind = 'v'
        UNION ALL
        SELECT format('COMMENT ON TABLE candles IS %L', obj_description('candles'::regclass, 'pg_class'))
    ) AS all_of_them;
    ALTER TABLE candles RENAME TO candles_before;
    ALTER INDEX candles_pkey RENAME TO candles_before_pkey;
    ALTER TABLE candles_next RENAME TO candles;
    ALTER INDEX candles_next_pkey RENAME TO candles_pkey;
    FOREACH one IN ARRAY commands LOOP
        EXECUTE one;
    END LOOP;
    DROP TABLE candles_before;
    DROP TABLE marketd_partitioning;
END $$;

CREATE FUNCTION marketd_abandon_partitioning() RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout = '2s'
    AS $$
BEGIN
    LOCK TABLE candles IN ACCESS EXCLUSIVE MODE;
    DROP TRIGGER candles_mirror_added ON candles;
    DROP TRIGGER candles_mirror_changed ON candles;
    DROP TRIGGER candles_mirror_removed ON candles;
    DROP TRIGGER candles_mirror_emptied ON candles;
    DROP TABLE candles_next;
    DROP TABLE marketd_partitioning;
END $$;

CREATE FUNCTION marketd_analyse_candles() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    ANALYZE candles;
END $$;
COMMENT ON FUNCTION marketd_analyse_candles IS 'What autovacuum does for each table alone, and for a partitioned one not.';

CREATE FUNCTION marketd_add_years() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$
DECLARE
    this_year integer := extract(year FROM now() AT TIME ZONE 'UTC');
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'candles'::regclass) <> 'p' THEN
        RETURN 0;
    END IF;
    RETURN marketd_add_partitions('candles', this_year, this_year + 1);
END $$;
COMMENT ON FUNCTION marketd_add_years IS 'Tables for this year and the next, where candles is partitioned; how many were added.';

-- What is in the way of the lock goes first: the others come on another night.
CREATE FUNCTION marketd_drop_retired(of_timeframe text, before timestamptz) RETURNS TABLE (partition text, candles bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET lock_timeout = '2s'
    AS $$
DECLARE
    family regclass := to_regclass('candles_' || of_timeframe);
    until timestamptz;
    wanted boolean;
BEGIN
    IF family IS NULL OR of_timeframe <> ALL (marketd_partitioned()) THEN
        RETURN;
    END IF;
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = family AND c.relname ~ '_\d{4}$' ORDER BY c.relname
    LOOP
        until := make_timestamptz(right(partition, 4)::integer + 1, 1, 1, 0, 0, 0, 'UTC');
        EXIT WHEN until > before;
        EXECUTE format('SELECT count(*) FROM %I', partition) INTO candles;
        CONTINUE WHEN candles = 0;
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', family);
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
        EXECUTE format($sql$
            WITH RECURSIVE series AS (
                (SELECT exchange, symbol FROM %1$I ORDER BY exchange, symbol LIMIT 1)
                UNION ALL
                SELECT n.exchange, n.symbol FROM series f CROSS JOIN LATERAL (
                    SELECT c.exchange, c.symbol FROM %1$I c WHERE (c.exchange, c.symbol) > (f.exchange, f.symbol)
                    ORDER BY c.exchange, c.symbol LIMIT 1
                ) AS n
            )
            SELECT EXISTS (SELECT FROM series f WHERE NOT EXISTS (
                SELECT FROM market_series s
                WHERE s.exchange = f.exchange AND s.symbol = f.symbol AND s.timeframe = $1 AND s.retired_until >= $2))
        $sql$, partition) INTO wanted USING of_timeframe, until;
        CONTINUE WHEN wanted;
        EXECUTE format('DROP TABLE %I', partition);
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION marketd_drop_retired IS 'Drops the years that end before and in which every series is retired; which they were, and how many candles they held.';

DO $$
DECLARE
    one regproc;
BEGIN
    FOREACH one IN ARRAY ARRAY['marketd_mirror_candles', 'marketd_add_years', 'marketd_drop_retired']::regproc[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', one, current_schema());
    END LOOP;
    FOREACH one IN ARRAY ARRAY['marketd_add_partitions', 'marketd_mirror_candles', 'marketd_begin_partitioning', 'marketd_copy_candles',
                               'marketd_partitioning_reached', 'marketd_series_of_both', 'marketd_same_candles', 'marketd_analyse_candles',
                               'marketd_finish_partitioning', 'marketd_abandon_partitioning', 'marketd_add_years', 'marketd_drop_retired']::regproc[] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION marketd_add_years(), marketd_drop_retired(text, timestamptz) TO marketd_retain;
