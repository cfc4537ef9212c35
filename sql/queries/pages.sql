-- What one page transaction does. Every statement is set-based; the page itself arrives by COPY.

-- name: page_table
-- params:
-- The page of this session, as text in the exchange's own digits; emptied by every COMMIT. Behind a pooler it outlives this program:
-- with other columns it needs another name.
CREATE TEMPORARY TABLE IF NOT EXISTS marketd_page (
    open_ms bigint, open numeric, high numeric, low numeric, close numeric, volume numeric
) ON COMMIT DELETE ROWS

-- name: lock_series
-- params: exchange text, symbol text, timeframe text
-- Pages of one series are written one at a time, whatever job they belong to. Until when its intervals are retired.
SELECT marketd_lock_series($1::text, $2::text, $3::text)

-- name: try_lock_series
-- params: exchanges text[], symbols text[], timeframes text[]
-- Whether the turn at each of the series was free, in their order; then it is taken.
SELECT pg_try_advisory_xact_lock(marketd_series_key(n.exchange, n.symbol, n.timeframe)) AS free
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, number)
ORDER BY n.number

-- name: insert_page
-- params: exchange text, symbol text, timeframe text, step interval, known bigint[], step_ms bigint
-- For a range never asked before: no candle of it but the known ones at its edges can be there. One of those that has
-- been revised meanwhile is a duplicate here, and the page is then compared.
-- Five of nine candles first, then those between them: keys in their order would leave each leaf of the index as the split
-- left it, half full; the second pass fills the leaves of the first to nine tenths. Each edge is looked up by itself: of a
-- table that was not analysed yet, the planner would read all of the series to find them.
WITH edges AS (
    SELECT e.* FROM unnest($5::bigint[]) AS k
    CROSS JOIN LATERAL (
        SELECT * FROM candles
        WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
          AND open_time = timestamptz 'epoch' + k * interval '1 millisecond' LIMIT 1
    ) AS e
), page AS NOT MATERIALIZED (
    SELECT timestamptz 'epoch' + open_ms * interval '1 millisecond' AS open_time, open, high, low, close, volume,
           open_ms / $6::bigint % 9 < 5 AS first
    FROM marketd_page
    WHERE open_ms <> ALL ($5::bigint[])
       OR (timestamptz 'epoch' + open_ms * interval '1 millisecond', open, high, low, close, volume)
          NOT IN (SELECT open_time, open, high, low, close, volume FROM edges)
)
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT open_time, open_time + $4::interval, $1::text, $2::text, $3::text, open, high, low, close, volume FROM page WHERE first
UNION ALL
SELECT open_time, open_time + $4::interval, $1::text, $2::text, $3::text, open, high, low, close, volume FROM page WHERE NOT first

-- name: page_is_there
-- params: exchange text, symbol text, timeframe text, start timestamptz, end timestamptz
-- Whether the stretch holds the candles of the page, and no other ones. Most of what is asked again has not changed, and to see
-- that takes less than a merge. Sets are compared: a join of rows that the planner knows nothing of may be a join of all with all.
SELECT NOT EXISTS (
           SELECT timestamptz 'epoch' + open_ms * interval '1 millisecond', open, high, low, close, volume FROM marketd_page
           EXCEPT
           SELECT open_time, open, high, low, close, volume FROM candles
           WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
             AND open_time >= $4::timestamptz AND open_time < $5::timestamptz
       ) AND (SELECT count(*) FROM marketd_page) = (
           SELECT count(*) FROM candles
           WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
             AND open_time >= $4::timestamptz AND open_time < $5::timestamptz
       )

-- name: merge_page
-- params: exchange text, symbol text, timeframe text, step interval, at timestamptz, before timestamptz, first timestamptz, last timestamptz, older boolean
-- Compare first: unchanged rows are not touched, changed ones keep their old values as a revision; an answer older than
-- what the ledger has seen changes nothing. The bounds of the page keep the planner from reading the whole series, and what
-- has changed is found by its key whatever the planner thinks: its row is there, so the insert is an update.
WITH page AS (
    SELECT timestamptz 'epoch' + open_ms * interval '1 millisecond' AS open_time, open, high, low, close, volume FROM marketd_page
), compared AS (
    SELECT p.*, c.open_time IS NULL AS absent, c.open AS old_open, c.high AS old_high, c.low AS old_low, c.close AS old_close,
           c.volume AS old_volume
    FROM page p
    LEFT JOIN (
        SELECT * FROM candles
        WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time BETWEEN $7::timestamptz AND $8::timestamptz
    ) AS c ON c.open_time = p.open_time
), changed AS (
    SELECT * FROM compared
    WHERE NOT absent AND NOT $9::boolean AND (open, high, low, close, volume) IS DISTINCT FROM (old_open, old_high, old_low, old_close, old_volume)
), revised AS (
    INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low, old_close, old_volume,
                                  new_open, new_high, new_low, new_close, new_volume, old_answered_at, new_answered_at)
    SELECT $1::text, $2::text, $3::text, open_time, 'revised', old_open, old_high, old_low, old_close, old_volume,
           open, high, low, close, volume, $6::timestamptz, $5::timestamptz
    FROM changed
), updated AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, open_time + $4::interval, $1::text, $2::text, $3::text, open, high, low, close, volume FROM changed
    ON CONFLICT (exchange, symbol, timeframe, open_time) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
    RETURNING 1
), inserted AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, open_time + $4::interval, $1::text, $2::text, $3::text, open, high, low, close, volume FROM compared WHERE absent
    RETURNING 1
)
SELECT (SELECT count(*) FROM inserted) AS inserted, (SELECT count(*) FROM updated) AS updated

-- name: merge_batch
-- params: exchanges text[], symbols text[], timeframes text[], steps interval[], at timestamptz[], before timestamptz[], older boolean[], numbers integer[], lines text[], fields integer[]
-- The same for answers of a few candles each, counted from 1: a line of text a candle, and the number of the answer that it belongs to.
-- Fields are the places of open_ms, open, high, low, close and volume in a line.
WITH page AS (
    SELECT l.number, a.exchange, a.symbol, a.timeframe, a.step, a.at, a.before, a.older,
           timestamptz 'epoch' + f.of[($10::integer[])[1]]::bigint * interval '1 millisecond' AS open_time,
           f.of[($10::integer[])[2]]::numeric AS open, f.of[($10::integer[])[3]]::numeric AS high,
           f.of[($10::integer[])[4]]::numeric AS low, f.of[($10::integer[])[5]]::numeric AS close,
           f.of[($10::integer[])[6]]::numeric AS volume
    FROM unnest($8::integer[], $9::text[]) AS l (number, line)
    JOIN unnest($1::text[], $2::text[], $3::text[], $4::interval[], $5::timestamptz[], $6::timestamptz[], $7::boolean[]) WITH ORDINALITY
        AS a (exchange, symbol, timeframe, step, at, before, older, number) ON a.number = l.number
    CROSS JOIN LATERAL (SELECT string_to_array(l.line, ',') AS of) AS f
), compared AS (
    SELECT p.*, c.open_time IS NULL AS absent, c.open AS old_open, c.high AS old_high, c.low AS old_low, c.close AS old_close,
           c.volume AS old_volume,
           c.open_time IS NOT NULL AND NOT p.older
               AND (p.open, p.high, p.low, p.close, p.volume) IS DISTINCT FROM (c.open, c.high, c.low, c.close, c.volume) AS changed
    FROM page p
    LEFT JOIN LATERAL (
        SELECT * FROM candles k
        WHERE k.exchange = p.exchange AND k.symbol = p.symbol AND k.timeframe = p.timeframe AND k.open_time = p.open_time LIMIT 1
    ) AS c ON true
), revised AS (
    INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low, old_close, old_volume,
                                  new_open, new_high, new_low, new_close, new_volume, old_answered_at, new_answered_at)
    SELECT exchange, symbol, timeframe, open_time, 'revised', old_open, old_high, old_low, old_close, old_volume,
           open, high, low, close, volume, before, at
    FROM compared WHERE changed
), updated AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, open_time + step, exchange, symbol, timeframe, open, high, low, close, volume FROM compared WHERE changed
    ON CONFLICT (exchange, symbol, timeframe, open_time) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
), inserted AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, open_time + step, exchange, symbol, timeframe, open, high, low, close, volume FROM compared WHERE absent
)
SELECT number, count(*) FILTER (WHERE absent) AS inserted, count(*) FILTER (WHERE changed) AS updated FROM compared GROUP BY number

-- name: note_vanished
-- params: exchange text, symbol text, timeframe text, opens timestamptz[], at timestamptz, before timestamptz
-- Stored candles that the exchange no longer sends: kept, and noted once. Each is looked up by itself, as the edges of a page.
INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low, old_close, old_volume,
                              old_answered_at, new_answered_at)
SELECT c.exchange, c.symbol, c.timeframe, c.open_time, 'vanished', c.open, c.high, c.low, c.close, c.volume, $6::timestamptz, $5::timestamptz
FROM unnest($4::timestamptz[]) AS gone
CROSS JOIN LATERAL (
    SELECT * FROM candles
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time = gone LIMIT 1
) AS c
WHERE NOT EXISTS (SELECT FROM candle_revisions r WHERE r.exchange = c.exchange AND r.symbol = c.symbol AND r.timeframe = c.timeframe
                  AND r.open_time = c.open_time AND r.kind = 'vanished')

-- name: present_opens
-- params: exchanges text[], symbols text[], timeframes text[], starts timestamptz[], ends timestamptz[]
-- Of each stretch of a series, in their order, the open times of the candles that are really there, in seconds since the epoch.
SELECT ARRAY(
    SELECT extract(epoch FROM c.open_time)::bigint FROM candles c
    WHERE c.exchange = n.exchange AND c.symbol = n.symbol AND c.timeframe = n.timeframe AND c.open_time >= n.start AND c.open_time < n.until
    ORDER BY c.open_time
) AS opens
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, start, until, number)
ORDER BY n.number

-- name: read_blocks
-- params: exchanges text[], symbols text[], timeframes text[], firsts integer[], lasts integer[]
-- The ledger of stretches of series, counted from 1, and until when what they hold is retired; one row without a block where there is none.
SELECT n.number, s.retired_until, c.block, c.answered, c.empty_once, c.empty_confirmed, c.unsettled, c.pending, c.answered_at, c.look_at, c.look_step
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, first, last, number)
LEFT JOIN market_series s ON s.exchange = n.exchange AND s.symbol = n.symbol AND s.timeframe = n.timeframe
LEFT JOIN candle_coverage c ON c.exchange = n.exchange AND c.symbol = n.symbol AND c.timeframe = n.timeframe AND c.block BETWEEN n.first AND n.last
ORDER BY n.number, c.block

-- name: write_blocks
-- params: exchanges text[], symbols text[], timeframes text[], blocks integer[], answered text[], empty_once text[], empty_confirmed text[], unsettled text[], pending text[], stored integer[], answered_at timestamptz[], look_at timestamptz[], look_step smallint[]
INSERT INTO candle_coverage AS c (exchange, symbol, timeframe, block, answered, empty_once, empty_confirmed, unsettled, pending, stored,
                                  answered_at, look_at, look_step)
SELECT n.exchange, n.symbol, n.timeframe, n.block, n.answered::int4multirange, n.empty_once::int4multirange, n.empty_confirmed::int4multirange,
       n.unsettled::int4multirange, n.pending::jsonb, n.stored, n.answered_at, n.look_at, n.look_step
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::integer[],
            $11::timestamptz[], $12::timestamptz[], $13::smallint[])
    AS n (exchange, symbol, timeframe, block, answered, empty_once, empty_confirmed, unsettled, pending, stored, answered_at, look_at, look_step)
ON CONFLICT (exchange, symbol, timeframe, block) DO UPDATE SET
    answered = excluded.answered, empty_once = excluded.empty_once, empty_confirmed = excluded.empty_confirmed,
    unsettled = excluded.unsettled, pending = excluded.pending, stored = excluded.stored, answered_at = excluded.answered_at,
    look_at = excluded.look_at, look_step = excluded.look_step

-- name: read_owed
-- params: exchanges text[], symbols text[], timeframes text[], within text[]
-- Open gaps of series, counted from 1, that owe an interval of the set given of each.
SELECT n.number, g.id, g.cause, g.missing, g.detected_at, g.filled, g.emptied, g.attempts, g.next_attempt_at, g.last_error
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, within, number)
JOIN candle_gaps g ON g.exchange = n.exchange AND g.symbol = n.symbol AND g.timeframe = n.timeframe AND g.repaired_at IS NULL
    AND g.missing && n.within::int4multirange
ORDER BY n.number, lower(g.missing), g.id

-- name: insert_gap
-- params: exchange text, symbol text, timeframe text, cause text, missing text, detected_at timestamptz, attempts integer, next_attempt_at timestamptz, last_error text
INSERT INTO candle_gaps (exchange, symbol, timeframe, gap_start, gap_end, owed, missing, cause, detected_at, attempts, next_attempt_at, last_error)
SELECT $1::text, $2::text, $3::text, marketd_open_time($3::text, lower(m.owed)), marketd_open_time($3::text, upper(m.owed)), m.owed, m.owed,
       $4::text, $6::timestamptz, $7::integer, $8::timestamptz, $9::text
FROM (SELECT $5::text::int4multirange AS owed) AS m

-- name: update_gap
-- params: id bigint, missing text, filled integer, emptied integer, attempts integer, next_attempt_at timestamptz, last_error text, repaired_at timestamptz, resolution text, detected_at timestamptz, unwanted text
UPDATE candle_gaps SET missing = $2::text::int4multirange,
    owed = (owed + $2::text::int4multirange) - $11::text::int4multirange, detected_at = $10::timestamptz,
    gap_start = least(gap_start, marketd_open_time(timeframe, lower($2::text::int4multirange))),
    gap_end = greatest(gap_end, marketd_open_time(timeframe, upper($2::text::int4multirange))), filled = $3::integer, emptied = $4::integer, attempts = $5::integer,
    next_attempt_at = $6::timestamptz, last_error = $7::text, repaired_at = $8::timestamptz, resolution = $9::text
WHERE id = $1::bigint

-- name: count_runs
-- params: ids bigint[], requests integer[], fetched bigint[], inserted bigint[], updated bigint[], empties bigint[], gaps_opened integer[], gaps_closed integer[], last_open_times timestamptz[], planned bigint[], left bigint[]
-- A page that is stored again, since the answer to its COMMIT was lost, is counted once: what was asked for is the run's own total, and what
-- has changed is added, which the second time is nothing.
UPDATE market_data_job_runs r SET requests = greatest(r.requests, n.requests), candles_fetched = greatest(candles_fetched, n.fetched),
    candles_inserted = candles_inserted + n.inserted, candles_updated = candles_updated + n.updated, empties = r.empties + n.empties,
    gaps_opened = r.gaps_opened + n.gaps_opened, gaps_closed = r.gaps_closed + n.gaps_closed,
    last_open_time = greatest(r.last_open_time, n.last_open_time), intervals_planned = n.planned, intervals_left = n.remaining
FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[],
            $9::timestamptz[], $10::bigint[], $11::bigint[])
    AS n (id, requests, fetched, inserted, updated, empties, gaps_opened, gaps_closed, last_open_time, planned, remaining)
WHERE r.id = n.id AND r.status = 'running'
RETURNING r.id, candles_fetched, candles_inserted, candles_updated, r.empties, r.gaps_opened, r.gaps_closed

-- name: fence
-- params: exchange text, epoch bigint
-- In every page transaction, when all but its run is written: no row means that another process has taken the exchange over. From here to
-- COMMIT nobody else can; a takeover locks the lease first and runs after it, so the run comes after the fence.
SELECT epoch FROM exchange_leases WHERE exchange = $1::text AND epoch = $2::bigint FOR KEY SHARE

-- name: derive_candles
-- params: exchange text, symbol text, parent text, child text, opens timestamptz[], closes timestamptz[], at timestamptz
-- Build the candles of a coarser timeframe from complete parents, compare first. Each is looked up by itself: of a table
-- that was not analysed yet, the planner would join all parents of the series with all that is wanted. What has changed is found by its key, as in merge_page.
WITH wanted AS (
    SELECT * FROM unnest($5::timestamptz[], $6::timestamptz[]) AS w (open_time, close_time)
), compared AS (
    SELECT w.open_time, w.close_time, b.open, b.high, b.low, b.close, b.volume, c.open_time IS NULL AS absent,
           c.open AS old_open, c.high AS old_high, c.low AS old_low, c.close AS old_close, c.volume AS old_volume
    FROM wanted w
    CROSS JOIN LATERAL (
        SELECT (array_agg(p.open ORDER BY p.open_time))[1] AS open, max(p.high) AS high, min(p.low) AS low,
               (array_agg(p.close ORDER BY p.open_time DESC))[1] AS close, sum(p.volume) AS volume
        FROM candles p
        WHERE p.exchange = $1::text AND p.symbol = $2::text AND p.timeframe = $3::text
          AND p.open_time >= w.open_time AND p.open_time < w.close_time
        HAVING count(*) > 0
    ) AS b
    LEFT JOIN LATERAL (
        SELECT * FROM candles k
        WHERE k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $4::text AND k.open_time = w.open_time LIMIT 1
    ) AS c ON true
), changed AS (
    SELECT * FROM compared
    WHERE NOT absent AND (open, high, low, close, volume) IS DISTINCT FROM (old_open, old_high, old_low, old_close, old_volume)
), revised AS (
    INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low, old_close, old_volume,
                                  new_open, new_high, new_low, new_close, new_volume, new_answered_at)
    SELECT $1::text, $2::text, $4::text, open_time, 'revised', old_open, old_high, old_low, old_close, old_volume,
           open, high, low, close, volume, $7::timestamptz
    FROM changed
), updated AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, close_time, $1::text, $2::text, $4::text, open, high, low, close, volume FROM changed
    ON CONFLICT (exchange, symbol, timeframe, open_time) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
    RETURNING 1
), inserted AS (
    INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
    SELECT open_time, close_time, $1::text, $2::text, $4::text, open, high, low, close, volume FROM compared WHERE absent
    RETURNING 1
)
SELECT (SELECT count(*) FROM inserted) AS inserted, (SELECT count(*) FROM updated) AS updated
