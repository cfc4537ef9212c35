-- The tables of marketd: candles, what is known of every interval, jobs and their runs, who works on an exchange.
-- Interval numbers: interval n of a timeframe opens at marketd_open_time(timeframe, n); a block is 1440 of them.

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE FUNCTION marketd_step_s(timeframe text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE timeframe
        WHEN '1m' THEN 60 WHEN '3m' THEN 180 WHEN '5m' THEN 300 WHEN '15m' THEN 900 WHEN '30m' THEN 1800
        WHEN '1h' THEN 3600 WHEN '2h' THEN 7200 WHEN '3h' THEN 10800 WHEN '4h' THEN 14400 WHEN '6h' THEN 21600
        WHEN '8h' THEN 28800 WHEN '12h' THEN 43200 WHEN '1d' THEN 86400 WHEN '1w' THEN 604800 WHEN '2w' THEN 1209600
        WHEN '1M' THEN 0 END;
COMMENT ON FUNCTION marketd_step_s IS 'Seconds an interval of the timeframe lasts; 0 for calendar months, NULL for an unknown timeframe.';

-- Only operators that are immutable by themselves, so that the planner can inline both functions.
CREATE FUNCTION marketd_number(timeframe text, moment timestamptz) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN timeframe = '1M' THEN
            ((extract(year FROM moment AT TIME ZONE 'UTC') - 1970) * 12 + extract(month FROM moment AT TIME ZONE 'UTC') - 1)::integer
        WHEN timeframe IN ('1w', '2w') THEN
            floor((date_part('epoch', moment - timestamptz '1970-01-01 00:00:00+00') - 345600) / marketd_step_s(timeframe))::integer
        ELSE floor(date_part('epoch', moment - timestamptz '1970-01-01 00:00:00+00') / marketd_step_s(timeframe))::integer END;
COMMENT ON FUNCTION marketd_number IS 'Number of the interval that contains the moment; weeks count from Monday 1970-01-05.';

CREATE FUNCTION marketd_open_time(timeframe text, number integer) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN timeframe = '1M' THEN (timestamp '1970-01-01' + make_interval(months => number)) AT TIME ZONE 'UTC'
        WHEN timeframe IN ('1w', '2w') THEN to_timestamp(345600 + number::double precision * marketd_step_s(timeframe))
        ELSE to_timestamp(number::double precision * marketd_step_s(timeframe)) END;
COMMENT ON FUNCTION marketd_open_time IS 'When the interval with this number opens.';

CREATE FUNCTION marketd_size(intervals int4multirange) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(intervals) AS r';
COMMENT ON FUNCTION marketd_size IS 'How many intervals a set holds.';

-- Times first, then text, then numerics: the layout that wastes least.
CREATE TABLE candles (
    open_time timestamptz NOT NULL,
    close_time timestamptz NOT NULL,
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    CONSTRAINT candles_pkey PRIMARY KEY (exchange, symbol, timeframe, open_time),
    -- NaN is greater than everything in PostgreSQL, so the upper bounds refuse it too.
    CONSTRAINT candles_sane CHECK (
        low > 0 AND low <= open AND low <= close AND high >= open AND high >= close AND high < 'Infinity'
        AND volume >= 0 AND volume < 'Infinity' AND close_time > open_time
    )
);
COMMENT ON TABLE candles IS 'Closed candles only, in the exchange''s own digits.';

CREATE TABLE candle_revisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    open_time timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('revised', 'vanished')),
    old_open numeric NOT NULL, old_high numeric NOT NULL, old_low numeric NOT NULL, old_close numeric NOT NULL, old_volume numeric NOT NULL,
    new_open numeric, new_high numeric, new_low numeric, new_close numeric, new_volume numeric,
    old_answered_at timestamptz,
    new_answered_at timestamptz NOT NULL,
    CHECK ((kind = 'revised') = (new_open IS NOT NULL))
);
CREATE INDEX candle_revisions_series ON candle_revisions (exchange, symbol, timeframe, open_time);
COMMENT ON TABLE candle_revisions IS 'What the exchange changed after the candle had closed: the newer answer is in candles, the old values are here. "vanished": no longer sent, kept in candles.';

CREATE TABLE candle_coverage (
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    block integer NOT NULL,
    answered int4multirange NOT NULL,
    empty_once int4multirange NOT NULL DEFAULT '{}',
    empty_confirmed int4multirange NOT NULL DEFAULT '{}',
    unsettled int4multirange NOT NULL DEFAULT '{}',
    pending jsonb NOT NULL DEFAULT '[]',
    stored integer NOT NULL,
    answered_at timestamptz,
    look_at timestamptz,
    look_step smallint NOT NULL DEFAULT 0,
    audited_at timestamptz,
    PRIMARY KEY (exchange, symbol, timeframe, block),
    CHECK (NOT empty_once && empty_confirmed),
    CHECK (int4multirange(int4range(block * 1440, (block + 1) * 1440)) @> answered),
    CHECK (stored >= 0)
);
CREATE INDEX candle_coverage_looks ON candle_coverage (exchange, look_at) WHERE look_at IS NOT NULL;
COMMENT ON TABLE candle_coverage IS 'The ledger: per block of 1440 intervals, what has been answered and which answered intervals were empty. A stored candle is an answered interval in neither set of empties.';
COMMENT ON COLUMN candle_coverage.pending IS 'Empty answers younger than the settle time: [[start, end, exchange time in ms], …].';

CREATE TABLE candle_gaps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    gap_start timestamptz NOT NULL,
    gap_end timestamptz NOT NULL,
    owed int4multirange NOT NULL,
    missing int4multirange NOT NULL,
    detected_at timestamptz NOT NULL,
    repaired_at timestamptz,
    cause text NOT NULL CHECK (cause IN ('not_asked', 'failed', 'late', 'lost', 'suspect')),
    resolution text CHECK (resolution IN ('stored', 'empty', 'mixed', 'not_wanted')),
    filled integer NOT NULL DEFAULT 0,
    emptied integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    last_error text,
    notes text,
    expected_open_time timestamptz GENERATED ALWAYS AS (gap_start) STORED,
    expected_close_time timestamptz GENERATED ALWAYS AS (gap_end) STORED,
    CHECK (gap_start < gap_end),
    CHECK ((repaired_at IS NULL) = (resolution IS NULL)),
    CHECK (repaired_at IS NOT NULL OR NOT isempty(missing)),
    CONSTRAINT candle_gaps_disjoint EXCLUDE USING gist (exchange WITH =, symbol WITH =, timeframe WITH =, missing WITH &&)
        WHERE (repaired_at IS NULL)
);
CREATE INDEX candle_gaps_open ON candle_gaps (exchange, symbol, timeframe, next_attempt_at) WHERE repaired_at IS NULL;
CREATE INDEX candle_gaps_repaired ON candle_gaps (repaired_at) WHERE repaired_at IS NOT NULL;
COMMENT ON COLUMN candle_gaps.owed IS 'The intervals it was opened for.';
COMMENT ON COLUMN candle_gaps.missing IS 'The intervals still owed; neither stored nor confirmed empty.';

CREATE TABLE market_series (
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    derived_from text COLLATE "C",
    first_open_time timestamptz,
    first_asked_at timestamptz,
    known_since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exchange, symbol, timeframe)
);
COMMENT ON TABLE market_series IS 'Facts of each series: its parent where it is built from a finer one, and the first candle the exchange has.';

CREATE TABLE market_data_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text COLLATE "C" NOT NULL,
    symbol text COLLATE "C",
    timeframe text COLLATE "C",
    job_type text NOT NULL CHECK (job_type IN ('backfill', 'gap_repair', 'continuous')),
    schedule text,
    enabled boolean NOT NULL DEFAULT true,
    start_time timestamptz,
    end_time timestamptz,
    status text,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    origin text NOT NULL DEFAULT 'sql' CHECK (origin IN ('file', 'sql', 'cli', 'auto', 'order')),
    owner text,
    catch_up text NOT NULL DEFAULT 'one' CHECK (catch_up IN ('one', 'none')),
    timeout_s double precision CHECK (timeout_s > 0),
    freshness_s double precision CHECK (freshness_s > 0),
    paused_until timestamptz,
    CHECK (start_time < end_time)
);
CREATE INDEX market_data_jobs_enabled ON market_data_jobs (exchange) WHERE enabled;
COMMENT ON COLUMN market_data_jobs.symbol IS 'NULL: every tracked series of the exchange (of that timeframe, if given).';
COMMENT ON COLUMN market_data_jobs.paused_until IS 'Not fired before; infinity until resumed by hand. No job file touches it.';

CREATE TABLE market_data_job_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES market_data_jobs (id),
    scheduled_for timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    status text NOT NULL CHECK (status IN ('running', 'success', 'partial', 'failed', 'interrupted', 'skipped')),
    epoch bigint,
    requests integer NOT NULL DEFAULT 0,
    candles_fetched bigint NOT NULL DEFAULT 0,
    candles_inserted bigint NOT NULL DEFAULT 0,
    candles_updated bigint NOT NULL DEFAULT 0,
    empties bigint NOT NULL DEFAULT 0,
    gaps_opened integer NOT NULL DEFAULT 0,
    gaps_closed integer NOT NULL DEFAULT 0,
    last_open_time timestamptz,
    error_message text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz GENERATED ALWAYS AS (completed_at) STORED,
    candles_upserted bigint GENERATED ALWAYS AS (candles_inserted + candles_updated) STORED,
    last_error text GENERATED ALWAYS AS (error_message) STORED,
    CONSTRAINT market_data_job_runs_once UNIQUE (job_id, scheduled_for),
    CHECK ((status = 'running') = (completed_at IS NULL)),
    CHECK (completed_at >= started_at),
    CHECK (status NOT IN ('failed', 'skipped', 'partial') OR error_message IS NOT NULL)
);
CREATE UNIQUE INDEX market_data_job_runs_running ON market_data_job_runs (job_id) WHERE status = 'running';
CREATE INDEX market_data_job_runs_newest ON market_data_job_runs (started_at DESC);

CREATE TABLE exchange_leases (
    exchange text COLLATE "C" PRIMARY KEY,
    holder text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('daemon', 'command')),
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    last_request_at timestamptz,
    blocked_until timestamptz
);
COMMENT ON TABLE exchange_leases IS 'Which process works on an exchange. Pages are fenced by epoch; a ban outlives its holder in blocked_until.';

CREATE VIEW candle_coverage_times AS
SELECT c.exchange, c.symbol, c.timeframe, marketd_open_time(c.timeframe, lower(r)) AS start_time,
       marketd_open_time(c.timeframe, upper(r)) AS end_time, s.state
FROM candle_coverage c
CROSS JOIN LATERAL (VALUES ('stored', c.answered - c.empty_once - c.empty_confirmed), ('empty_once', c.empty_once * c.answered),
                           ('empty_confirmed', c.empty_confirmed * c.answered)) AS s (state, intervals)
CROSS JOIN LATERAL unnest(s.intervals) AS r;
COMMENT ON VIEW candle_coverage_times IS 'The ledger in times, for readers: one row a run of intervals in the same state.';

CREATE VIEW candle_presence AS
SELECT exchange, symbol, timeframe, floor(number / 1440.0)::integer AS block, count(*) AS rows,
       range_agg(int4range(number, number + 1)) AS present, max(close_time) AS newest_close
FROM (SELECT exchange, symbol, timeframe, close_time, marketd_number(timeframe, open_time) AS number FROM candles) AS numbered
GROUP BY exchange, symbol, timeframe, floor(number / 1440.0)::integer;
COMMENT ON VIEW candle_presence IS 'Which intervals of each block really have a row: what the ledger is held against. Reads every candle that the query does not exclude.';
