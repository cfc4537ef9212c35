-- What the tables can refuse by themselves, they refuse. Not valid yet: what stands there is checked by the next migration, which others can
-- work beside. Until then, and where a row of others breaks one, marketd verify reads the rows.

-- date_bin and the difference of two moments depend on no time zone, and are computed without a call of their own. Monday, as weeks begin.
CREATE FUNCTION marketd_aligned(timeframe text, opens timestamptz, closes timestamptz) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE timeframe
        WHEN '1m' THEN opens = date_bin('1 minute', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '1 minute'
        WHEN '3m' THEN opens = date_bin('3 minutes', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '3 minutes'
        WHEN '5m' THEN opens = date_bin('5 minutes', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '5 minutes'
        WHEN '15m' THEN opens = date_bin('15 minutes', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '15 minutes'
        WHEN '30m' THEN opens = date_bin('30 minutes', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '30 minutes'
        WHEN '1h' THEN opens = date_bin('1 hour', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '1 hour'
        WHEN '2h' THEN opens = date_bin('2 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '2 hours'
        WHEN '3h' THEN opens = date_bin('3 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '3 hours'
        WHEN '4h' THEN opens = date_bin('4 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '4 hours'
        WHEN '6h' THEN opens = date_bin('6 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '6 hours'
        WHEN '8h' THEN opens = date_bin('8 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '8 hours'
        WHEN '12h' THEN opens = date_bin('12 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '12 hours'
        WHEN '1d' THEN opens = date_bin('24 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '24 hours'
        WHEN '1w' THEN opens = date_bin('168 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '168 hours'
        WHEN '2w' THEN opens = date_bin('336 hours', opens, '1970-01-05 00:00:00+00') AND closes - opens = interval '336 hours'
        WHEN '1M' THEN opens AT TIME ZONE 'UTC' = date_trunc('month', opens AT TIME ZONE 'UTC')
            AND closes AT TIME ZONE 'UTC' = (opens AT TIME ZONE 'UTC') + interval '1 month'
        ELSE false END;
COMMENT ON FUNCTION marketd_aligned IS 'True where a candle opens where an interval of its timeframe opens, and closes where the next one does.';

ALTER TABLE candles ADD CONSTRAINT candles_aligned CHECK (marketd_aligned(timeframe, open_time, close_time)) NOT VALID;

ALTER TABLE candle_coverage
    ADD CONSTRAINT candle_coverage_within CHECK (
        int4multirange(int4range(block * 1440, (block + 1) * 1440)) @> empty_once AND answered @> empty_confirmed AND answered @> unsettled
    ) NOT VALID,
    ADD CONSTRAINT candle_coverage_counted CHECK (stored = marketd_size(answered - empty_once - empty_confirmed)) NOT VALID;

ALTER TABLE candle_gaps
    ADD CONSTRAINT candle_gaps_owed CHECK (owed @> missing) NOT VALID,
    ADD CONSTRAINT candle_gaps_proven CHECK (repaired_at IS NULL OR resolution = 'not_wanted' OR isempty(missing)) NOT VALID;

CREATE FUNCTION marketd_refuses(place text, rule text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
SELECT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = to_regclass($1) AND c.conname = $2 AND c.convalidated)
    OR EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = to_regclass($1) AND c.relname = $2 AND i.indisunique AND i.indisvalid)
$$;
COMMENT ON FUNCTION marketd_refuses IS 'True where the table holds this rule, and everything in it was held against it.';

-- verify reads the index of the primary key in stretches instead.
-- squawk-ignore ban-drop-view
DROP VIEW candle_presence;

-- What was found when the promises were last held against the tables, by whom ever.
CREATE TABLE verify_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('full', 'sample')),
    pieces bigint NOT NULL,
    pieces_known bigint NOT NULL,
    violations jsonb NOT NULL,
    CHECK (ended_at >= began_at),
    CHECK (pieces >= 0 AND pieces_known >= pieces),
    CHECK (jsonb_typeof(violations) = 'object')
);
CREATE INDEX verify_runs_newest ON verify_runs (ended_at);
COMMENT ON TABLE verify_runs IS 'One row each time marketd verify has looked at all series, or at a sample of all.';
COMMENT ON COLUMN verify_runs.pieces IS 'Looked at, of pieces_known.';
COMMENT ON COLUMN verify_runs.violations IS 'Rows found, by the name of the promise that they break; those that hold are not named. A sample keeps what was found before it.';
GRANT SELECT ON verify_runs TO marketd_run, marketd_read;
GRANT INSERT ON verify_runs TO marketd_run;
