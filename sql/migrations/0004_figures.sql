-- Figures that a reader who polls may have for nothing: what the ledger of each series and the runs of each hour add up to, kept with
-- every change of them, and the indexes for what is read beside them.

CREATE TABLE series_figures (
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    blocks bigint NOT NULL,
    answered bigint NOT NULL,
    stored bigint NOT NULL,
    empty_once bigint NOT NULL,
    answered_start integer,
    answered_end integer,
    PRIMARY KEY (exchange, symbol, timeframe)
) WITH (fillfactor = 50); -- every page changes a row: with room beside it, no index has to follow
COMMENT ON TABLE series_figures IS 'What the ledger of each series adds up to; kept by triggers on candle_coverage, held against it by marketd verify.';
COMMENT ON COLUMN series_figures.blocks IS 'Rows of the ledger; 0 where they are all gone.';
COMMENT ON COLUMN series_figures.empty_once IS 'Answered intervals that were empty once: those that are owed do not count.';
COMMENT ON COLUMN series_figures.answered_end IS 'What is answered lies in [answered_start, answered_end); NULL where nothing is.';
GRANT SELECT ON series_figures TO marketd_run, marketd_read;

CREATE FUNCTION marketd_answered_size(block integer, answered int4multirange) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN answered @> int4range(block * 1440, (block + 1) * 1440) THEN 1440 ELSE marketd_size(answered) END;
COMMENT ON FUNCTION marketd_answered_size IS 'How many intervals of a block are answered.';

CREATE FUNCTION marketd_once_size(answered int4multirange, empty_once int4multirange) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN isempty(empty_once) THEN 0 WHEN answered @> empty_once THEN marketd_size(empty_once)
                ELSE marketd_size(empty_once * answered) END;
COMMENT ON FUNCTION marketd_once_size IS 'How many answered intervals of a block were empty once.';

-- Differences are added, so that transactions need not know of each other. The edges move outwards with them; where an old edge was among
-- the rows that changed, it is looked up anew: by a statement that follows the lock on the row, and so sees all that was committed before.
CREATE FUNCTION marketd_add_figures(
    of_exchange text, of_symbol text, of_timeframe text, more_blocks bigint, more_answered bigint, more_stored bigint, more_once bigint,
    new_start integer, new_end integer, old_start integer, old_end integer
) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    edge record;
BEGIN
    INSERT INTO series_figures AS f
    VALUES (of_exchange, of_symbol, of_timeframe, more_blocks, more_answered, more_stored, more_once, new_start, new_end)
    ON CONFLICT (exchange, symbol, timeframe) DO UPDATE SET
        blocks = f.blocks + more_blocks, answered = f.answered + more_answered, stored = f.stored + more_stored,
        empty_once = f.empty_once + more_once, answered_start = least(f.answered_start, new_start),
        answered_end = greatest(f.answered_end, new_end)
    RETURNING answered_start, answered_end INTO edge;
    IF (old_start = edge.answered_start AND new_start IS DISTINCT FROM old_start)
        OR (old_end = edge.answered_end AND new_end IS DISTINCT FROM old_end) THEN
        UPDATE series_figures f SET
            answered_start = (SELECT lower(c.answered) FROM candle_coverage c
                              WHERE c.exchange = of_exchange AND c.symbol = of_symbol AND c.timeframe = of_timeframe
                                AND NOT isempty(c.answered) ORDER BY c.block LIMIT 1),
            answered_end = (SELECT upper(c.answered) FROM candle_coverage c
                            WHERE c.exchange = of_exchange AND c.symbol = of_symbol AND c.timeframe = of_timeframe
                              AND NOT isempty(c.answered) ORDER BY c.block DESC LIMIT 1)
        WHERE f.exchange = of_exchange AND f.symbol = of_symbol AND f.timeframe = of_timeframe;
    END IF;
END $$;
REVOKE ALL ON FUNCTION marketd_add_figures FROM PUBLIC;

-- Series are taken in the order of their key, so that two statements over several of them do not wait for each other in a ring.
CREATE FUNCTION marketd_keep_figures() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM marketd_add_figures(d.exchange, d.symbol, d.timeframe, d.blocks, d.answered, d.stored, d.once, d.first, d.last, NULL, NULL)
        FROM (SELECT exchange, symbol, timeframe, count(*) AS blocks, sum(marketd_answered_size(block, answered))::bigint AS answered,
                     sum(stored) AS stored, sum(marketd_once_size(answered, empty_once))::bigint AS once,
                     min(lower(answered)) AS first, max(upper(answered)) AS last
              FROM added GROUP BY exchange, symbol, timeframe ORDER BY exchange, symbol, timeframe) AS d;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM marketd_add_figures(d.exchange, d.symbol, d.timeframe, -d.blocks, -d.answered, -d.stored, -d.once, NULL, NULL, d.first, d.last)
        FROM (SELECT exchange, symbol, timeframe, count(*) AS blocks, sum(marketd_answered_size(block, answered))::bigint AS answered,
                     sum(stored) AS stored, sum(marketd_once_size(answered, empty_once))::bigint AS once,
                     min(lower(answered)) AS first, max(upper(answered)) AS last
              FROM removed GROUP BY exchange, symbol, timeframe ORDER BY exchange, symbol, timeframe) AS d;
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM marketd_add_figures(d.exchange, d.symbol, d.timeframe, d.blocks, d.answered, d.stored, d.once, d.first, d.last,
                                    d.old_first, d.old_last)
        FROM (SELECT exchange, symbol, timeframe, sum(way)::bigint AS blocks, sum(way * marketd_answered_size(block, answered))::bigint AS answered,
                     sum(way * stored)::bigint AS stored, sum(way * marketd_once_size(answered, empty_once))::bigint AS once,
                     min(lower(answered)) FILTER (WHERE way = 1) AS first, max(upper(answered)) FILTER (WHERE way = 1) AS last,
                     min(lower(answered)) FILTER (WHERE way = -1) AS old_first, max(upper(answered)) FILTER (WHERE way = -1) AS old_last
              FROM (SELECT 1 AS way, exchange, symbol, timeframe, block, answered, empty_once, stored FROM added
                    UNION ALL
                    SELECT -1, exchange, symbol, timeframe, block, answered, empty_once, stored FROM removed) AS moved
              GROUP BY exchange, symbol, timeframe ORDER BY exchange, symbol, timeframe) AS d
        WHERE (d.blocks, d.answered, d.stored, d.once) <> (0, 0, 0, 0)
           OR (d.first, d.last) IS DISTINCT FROM (d.old_first, d.old_last);
    ELSE
        DELETE FROM series_figures;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER candle_coverage_added AFTER INSERT ON candle_coverage
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_figures();
CREATE TRIGGER candle_coverage_changed AFTER UPDATE ON candle_coverage
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_figures();
CREATE TRIGGER candle_coverage_removed AFTER DELETE ON candle_coverage
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_figures();
CREATE TRIGGER candle_coverage_emptied AFTER TRUNCATE ON candle_coverage
    FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_figures();

-- Runs of frequent jobs are many; of those that have ended the hours are counted as they end.
CREATE TABLE run_figures (
    exchange text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    success bigint NOT NULL,
    partial bigint NOT NULL,
    failed bigint NOT NULL,
    interrupted bigint NOT NULL,
    skipped bigint NOT NULL,
    candles bigint NOT NULL,
    PRIMARY KEY (exchange, hour)
) WITH (fillfactor = 50);
COMMENT ON TABLE run_figures IS 'Runs that have ended, and the candles they stored, by the hour in which they started; kept by triggers on market_data_job_runs.';
GRANT SELECT ON run_figures TO marketd_run, marketd_read;

CREATE FUNCTION marketd_keep_run_figures() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO run_figures AS f
        SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC'), -count(*) FILTER (WHERE r.status = 'success'),
               -count(*) FILTER (WHERE r.status = 'partial'), -count(*) FILTER (WHERE r.status = 'failed'),
               -count(*) FILTER (WHERE r.status = 'interrupted'), -count(*) FILTER (WHERE r.status = 'skipped'), -sum(r.candles_inserted)
        FROM removed r JOIN market_data_jobs j ON j.id = r.job_id
        WHERE r.status <> 'running' AND r.started_at IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (exchange, hour) DO UPDATE SET
            success = f.success + excluded.success, partial = f.partial + excluded.partial, failed = f.failed + excluded.failed,
            interrupted = f.interrupted + excluded.interrupted, skipped = f.skipped + excluded.skipped, candles = f.candles + excluded.candles;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO run_figures AS f
        SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC'), count(*) FILTER (WHERE r.status = 'success'),
               count(*) FILTER (WHERE r.status = 'partial'), count(*) FILTER (WHERE r.status = 'failed'),
               count(*) FILTER (WHERE r.status = 'interrupted'), count(*) FILTER (WHERE r.status = 'skipped'), sum(r.candles_inserted)
        FROM added r JOIN market_data_jobs j ON j.id = r.job_id
        WHERE r.status <> 'running' AND r.started_at IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (exchange, hour) DO UPDATE SET
            success = f.success + excluded.success, partial = f.partial + excluded.partial, failed = f.failed + excluded.failed,
            interrupted = f.interrupted + excluded.interrupted, skipped = f.skipped + excluded.skipped, candles = f.candles + excluded.candles;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM run_figures;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER market_data_job_runs_added AFTER INSERT ON market_data_job_runs
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_run_figures();
CREATE TRIGGER market_data_job_runs_changed AFTER UPDATE ON market_data_job_runs
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_run_figures();
CREATE TRIGGER market_data_job_runs_removed AFTER DELETE ON market_data_job_runs
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_run_figures();
CREATE TRIGGER market_data_job_runs_emptied AFTER TRUNCATE ON market_data_job_runs
    FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_run_figures();

CREATE FUNCTION marketd_count_figures() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    LOCK TABLE candle_coverage, market_data_job_runs IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM series_figures;
    INSERT INTO series_figures
    SELECT exchange, symbol, timeframe, count(*), sum(marketd_answered_size(block, answered)), sum(stored),
           sum(marketd_once_size(answered, empty_once)), min(lower(answered)), max(upper(answered))
    FROM candle_coverage GROUP BY exchange, symbol, timeframe;
    DELETE FROM run_figures;
    INSERT INTO run_figures
    SELECT j.exchange, date_trunc('hour', r.started_at, 'UTC'), count(*) FILTER (WHERE r.status = 'success'),
           count(*) FILTER (WHERE r.status = 'partial'), count(*) FILTER (WHERE r.status = 'failed'),
           count(*) FILTER (WHERE r.status = 'interrupted'), count(*) FILTER (WHERE r.status = 'skipped'), sum(r.candles_inserted)
    FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
    WHERE r.status <> 'running' AND r.started_at IS NOT NULL
    GROUP BY 1, 2;
END $$;
COMMENT ON FUNCTION marketd_count_figures IS 'Counts all figures anew, for the owner of the tables, where verify found some that are not what they should be.';
REVOKE ALL ON FUNCTION marketd_count_figures FROM PUBLIC;
SELECT marketd_count_figures();

-- squawk-ignore adding-field-with-default
ALTER TABLE candle_gaps ADD COLUMN missing_size bigint NOT NULL GENERATED ALWAYS AS (marketd_size(missing)) STORED;

CREATE FUNCTION marketd_part(intervals int4multirange, size bigint, start integer, until integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN lower(intervals) >= start AND upper(intervals) <= until THEN size
                WHEN lower(intervals) < until AND upper(intervals) > start
                    THEN marketd_size(intervals * int4multirange(int4range(start, greatest(start, until)))) ELSE 0 END;
COMMENT ON FUNCTION marketd_part IS 'How many of the intervals, which are so many, lie in [start, until).';

-- Answered intervals in [$4, $5), from the ledger itself.
CREATE FUNCTION marketd_answered_within(exchange text, symbol text, timeframe text, start integer, until integer) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
SELECT coalesce(sum(CASE WHEN c.block * 1440 >= $4 AND (c.block + 1) * 1440 <= $5 THEN marketd_answered_size(c.block, c.answered)
                         ELSE marketd_size(c.answered * int4multirange(int4range($4, greatest($4, $5)))) END), 0)::bigint
FROM candle_coverage c
WHERE $4 < $5 AND c.exchange = $1 AND c.symbol = $2 AND c.timeframe = $3 AND c.block BETWEEN $4 / 1440 AND ($5 - 1) / 1440
$$;
COMMENT ON FUNCTION marketd_answered_within IS 'How many intervals in [start, until) are answered, counted in the ledger.';

-- One row. Whatever is counted is counted within the outer edges of what is answered, where the figures tell without the ledger if all of
-- it lies within the range asked about, or if nothing in it is unknown. Else the smaller part, inside or outside of the range, is read.
-- Suspect intervals are answered; all others that are owed are not.
CREATE FUNCTION marketd_unknown(exchange text, symbol text, timeframe text, start integer, until integer) RETURNS TABLE (unknown bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$
SELECT greatest(0, $5::bigint - $4 - g.owed - CASE
           WHEN f.answered_end IS NULL OR i.start >= i.until THEN 0
           WHEN NOT i.cut THEN f.answered
           WHEN f.answered + g.owed_between = f.answered_end - f.answered_start THEN i.until - i.start - g.owed_inside
           WHEN (i.until - i.start) * 2::bigint <= f.answered_end - f.answered_start THEN marketd_answered_within($1, $2, $3, i.start, i.until)
           ELSE f.answered - marketd_answered_within($1, $2, $3, f.answered_start, i.start)
                - marketd_answered_within($1, $2, $3, i.until, f.answered_end) END)
FROM (SELECT) AS one
LEFT JOIN series_figures f ON f.exchange = $1 AND f.symbol = $2 AND f.timeframe = $3
CROSS JOIN LATERAL (
    SELECT greatest($4, f.answered_start) AS start, least($5, f.answered_end) AS until, $4 > f.answered_start OR $5 < f.answered_end AS cut
    OFFSET 0
) i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(marketd_part(o.missing, o.missing_size, $4, $5)), 0) AS owed,
           coalesce(sum(marketd_part(o.missing, o.missing_size, i.start, i.until)) FILTER (WHERE i.cut), 0) AS owed_inside,
           coalesce(sum(marketd_part(o.missing, o.missing_size, f.answered_start, f.answered_end)) FILTER (WHERE i.cut), 0) AS owed_between
    FROM candle_gaps o
    WHERE o.exchange = $1 AND o.symbol = $2 AND o.timeframe = $3 AND o.repaired_at IS NULL AND o.cause <> 'suspect'
) g
$$;
COMMENT ON FUNCTION marketd_unknown IS 'How many intervals in [start, until) are neither answered nor owed.';

-- The earliest look of a series, and the series with a look that is due, without reading all that are due.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX candle_coverage_looks;
CREATE INDEX candle_coverage_looks ON candle_coverage (exchange, symbol, timeframe, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX market_data_jobs_series ON market_data_jobs (exchange, symbol, timeframe);
-- A job, or everything, that fails for weeks has its last success far back.
CREATE INDEX market_data_job_runs_success ON market_data_job_runs (job_id, scheduled_for) WHERE status = 'success';
CREATE INDEX market_data_job_runs_newest_success ON market_data_job_runs (started_at) WHERE status = 'success';
