-- What is known of a series, for the planner.

-- name: know_series
-- params: exchange text, symbol text, timeframe text, derived_from text
INSERT INTO market_series (exchange, symbol, timeframe, derived_from) VALUES ($1::text, $2::text, $3::text, $4::text)
ON CONFLICT (exchange, symbol, timeframe) DO UPDATE SET derived_from = excluded.derived_from
    WHERE market_series.derived_from IS DISTINCT FROM excluded.derived_from

-- name: close_derived_gaps
-- params: exchange text, symbol text, timeframe text
-- A derived series owes nothing by itself: its parent does.
UPDATE candle_gaps SET repaired_at = now(), resolution = 'not_wanted', next_attempt_at = NULL
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND repaired_at IS NULL

-- name: read_series
-- params: exchanges text[], symbols text[], timeframes text[], recent integer
-- What is known of series, counted from 1. A continuous job follows what it names, and what that is built from: all that is built of a
-- symbol, from its finest timeframe in the end.
SELECT n.number, derived_from, first_open_time, first_asked_at, marketd_number(s.timeframe, retired_until) AS retired,
       (SELECT upper(answered) FROM candle_coverage c WHERE c.exchange = s.exchange AND c.symbol = s.symbol AND c.timeframe = s.timeframe
        AND NOT isempty(answered) ORDER BY block DESC LIMIT 1) AS answered_end,
       (SELECT lower(answered) FROM candle_coverage c WHERE c.exchange = s.exchange AND c.symbol = s.symbol AND c.timeframe = s.timeframe
        AND NOT isempty(answered) ORDER BY block LIMIT 1) AS answered_start,
       EXISTS (SELECT FROM market_data_jobs j
               WHERE j.enabled AND j.job_type = 'continuous' AND j.origin <> 'order' AND j.exchange = s.exchange
                 AND (j.symbol IS NULL OR j.symbol = s.symbol)
                 AND (j.timeframe IS NULL OR j.timeframe = s.timeframe OR j.timeframe IN (
                     SELECT b.timeframe FROM market_series b
                     WHERE b.exchange = s.exchange AND b.symbol = s.symbol AND b.derived_from IS NOT NULL))) AS followed,
       coalesce((SELECT range_agg(newest.unsettled)
                 FROM (SELECT c.unsettled FROM candle_coverage c
                       WHERE c.exchange = s.exchange AND c.symbol = s.symbol AND c.timeframe = s.timeframe
                       ORDER BY c.block DESC LIMIT $4::integer) AS newest), '{}') AS unsettled
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, number)
JOIN market_series s ON s.exchange = n.exchange AND s.symbol = n.symbol AND s.timeframe = n.timeframe

-- name: first_candle
-- params: exchange text, symbol text, timeframe text
SELECT first_open_time FROM market_series WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text

-- name: note_rebuilt
-- params: exchange text, symbol text, timeframe text
UPDATE market_series SET rebuilt_at = clock_timestamp() WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text

-- name: all_blocks
-- params: exchange text, symbol text, timeframe text
-- Blocks that have a ledger row or a candle; candles are walked from block to block by their index.
WITH RECURSIVE stored AS (
    (SELECT floor(marketd_number($3::text, open_time) / 1440.0)::integer AS block FROM candles
     WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text ORDER BY open_time LIMIT 1)
    UNION ALL
    SELECT n.block FROM stored s CROSS JOIN LATERAL (
        SELECT floor(marketd_number($3::text, open_time) / 1440.0)::integer AS block FROM candles
        WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
          AND open_time >= marketd_open_time($3::text, (s.block + 1) * 1440)
        ORDER BY open_time LIMIT 1
    ) AS n
)
SELECT block FROM stored
UNION
SELECT block FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
ORDER BY block

-- name: derived_series
-- params: exchanges text[], symbols text[], parents text[]
-- What is built from each of the series, counted from 1.
SELECT n.number, s.timeframe, s.retired_until, p.retired_until AS parent_retired_until
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (exchange, symbol, parent, number)
JOIN market_series s ON s.exchange = n.exchange AND s.symbol = n.symbol AND s.derived_from = n.parent
LEFT JOIN market_series p ON p.exchange = n.exchange AND p.symbol = n.symbol AND p.timeframe = n.parent
ORDER BY n.number, s.timeframe

-- name: note_first
-- params: exchange text, symbol text, timeframe text, first_open_time timestamptz, asked_at timestamptz
-- An earlier first candle wins: exchanges restore history, they do not shorten it.
UPDATE market_series SET first_open_time = least(first_open_time, $4::timestamptz), first_asked_at = $5::timestamptz
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text

-- name: answered_within
-- params: exchange text, symbol text, timeframe text, start integer, end integer
SELECT coalesce(range_agg(answered), '{}') * int4multirange(int4range($4::integer, $5::integer)) AS answered
FROM candle_coverage
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
  AND block BETWEEN $4::integer / 1440 - 1 AND $5::integer / 1440 + 1

-- name: known_series
-- params: exchange text
SELECT s.exchange, s.symbol, s.timeframe, s.derived_from, s.first_open_time, s.first_asked_at, f.answered_start, f.answered_end,
       marketd_number(s.timeframe, s.retired_until) AS retired
FROM market_series s
LEFT JOIN series_figures f ON (f.exchange, f.symbol, f.timeframe) = (s.exchange, s.symbol, s.timeframe)
WHERE s.exchange = $1::text

-- name: unfinished_series
-- params: exchanges text[], symbols text[], timeframes text[], starts integer[], ends integer[]
-- Of windows [start, end) of series, counted from 1, those that hold an interval which is neither answered nor owed by an open gap.
SELECT w.number
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[]) WITH ORDINALITY
     AS w (exchange, symbol, timeframe, start, until, number)
CROSS JOIN LATERAL marketd_unknown(w.exchange, w.symbol, w.timeframe, w.start, w.until) u
WHERE w.start < w.until AND u.unknown > 0

-- name: edges
-- params: exchanges text[], symbols text[], timeframes text[], starts timestamptz[], ends timestamptz[]
-- The nearest stored candles below the start and at or above the end of a stretch of each series, in their order; those that retention
-- is about to take away do not count.
SELECT (SELECT c.open_time FROM candles c
        WHERE c.exchange = n.exchange AND c.symbol = n.symbol AND c.timeframe = n.timeframe AND c.open_time < n.start
          AND c.open_time >= coalesce(s.retired_until, '-infinity')
        ORDER BY c.open_time DESC LIMIT 1) AS left_open,
       (SELECT c.open_time FROM candles c
        WHERE c.exchange = n.exchange AND c.symbol = n.symbol AND c.timeframe = n.timeframe AND c.open_time >= n.until
        ORDER BY c.open_time LIMIT 1) AS right_open
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]) WITH ORDINALITY AS n (exchange, symbol, timeframe, start, until, number)
LEFT JOIN market_series s ON s.exchange = n.exchange AND s.symbol = n.symbol AND s.timeframe = n.timeframe
ORDER BY n.number

-- name: empties_within
-- params: exchange text, symbol text, timeframe text, first integer, last integer
SELECT block, (marketd_size(empty_once) + marketd_size(empty_confirmed))::integer AS empties
FROM candle_coverage
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND block BETWEEN $4::integer AND $5::integer
  AND NOT (isempty(empty_once) AND isempty(empty_confirmed))

-- name: due_looks
-- params: exchange text, symbol text, timeframe text, now timestamptz, most integer
SELECT lower(answered) AS first, upper(answered) AS last
FROM candle_coverage
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND look_at <= $4::timestamptz AND NOT isempty(answered)
ORDER BY block LIMIT $5::integer

-- name: due_series
-- params: exchange text, now timestamptz
-- Series with an open gap or a look that is due; of each only the earliest look is read. A gap that waits for longer than any
-- gap does (planner.is_due) was opened by a clock that was ahead.
SELECT due.symbol, due.timeframe
FROM (SELECT symbol, timeframe FROM candle_gaps
      WHERE exchange = $1::text AND repaired_at IS NULL
        AND (next_attempt_at <= $2::timestamptz OR next_attempt_at > $2::timestamptz + interval '25 hours')
      UNION
      SELECT f.symbol, f.timeframe
      FROM series_figures f
      CROSS JOIN LATERAL (
          SELECT c.look_at FROM candle_coverage c
          WHERE c.exchange = f.exchange AND c.symbol = f.symbol AND c.timeframe = f.timeframe AND c.look_at IS NOT NULL
          ORDER BY c.look_at LIMIT 1
      ) AS earliest
      WHERE f.exchange = $1::text AND earliest.look_at <= $2::timestamptz) AS due
LEFT JOIN market_series s ON s.exchange = $1::text AND s.symbol = due.symbol AND s.timeframe = due.timeframe
WHERE s.derived_from IS NULL
ORDER BY due.symbol, due.timeframe

-- name: audit
-- params: exchange text, symbol text, timeframe text, blocks integer[], opens timestamptz[], closes timestamptz[], at timestamptz
-- Blocks, each with where it begins and ends, whose ledger count does not agree with the rows that are there: to be looked at
-- closely. The others are noted as audited; the newest, which every repair audits, only now and then. One that disagrees has
-- its turn again until it agrees.
WITH counted AS (
    SELECT b.block, c.audited_at, c.stored = (
        SELECT count(*) FROM candles k
        WHERE k.exchange = $1::text AND k.symbol = $2::text AND k.timeframe = $3::text AND k.open_time >= b.opens AND k.open_time < b.closes
    ) AS agrees
    FROM unnest($4::integer[], $5::timestamptz[], $6::timestamptz[]) AS b (block, opens, closes)
    JOIN candle_coverage c ON c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text
        AND c.block = ANY ($4::integer[]) AND c.block = b.block
), noted AS (
    UPDATE candle_coverage c SET audited_at = $7::timestamptz
    FROM counted n
    WHERE c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text AND c.block = ANY ($4::integer[]) AND c.block = n.block
      AND n.agrees AND coalesce(n.audited_at, '-infinity') NOT BETWEEN $7::timestamptz - interval '1 hour' AND $7::timestamptz
)
SELECT block FROM counted WHERE NOT agrees ORDER BY block

-- name: audit_plan
-- params: exchange text, symbol text, timeframe text, most integer, before timestamptz
-- Blocks to audit: the newest, and those that have waited longest of all that were last audited before.
(SELECT block FROM candle_coverage WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text ORDER BY block DESC LIMIT 1)
UNION
(SELECT block FROM candle_coverage
 WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND coalesce(audited_at, '-infinity') < coalesce($5::timestamptz, 'infinity')
 ORDER BY coalesce(audited_at, '-infinity'), block DESC LIMIT $4::integer)
ORDER BY block

-- name: empty_runs
-- params: exchange text, symbol text, timeframe text, start integer, end integer, least integer
-- Runs of at least so many empty intervals, joined over blocks.
SELECT lower(r) AS start, upper(r) AS end
FROM (SELECT range_agg(empty_once + empty_confirmed) AS empties FROM candle_coverage
      WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text
        AND block BETWEEN $4::integer / 1440 - 1 AND $5::integer / 1440 + 1) AS e
CROSS JOIN LATERAL unnest(empties) AS r
WHERE upper(r) - lower(r) >= $6::integer
ORDER BY lower(r)

-- name: silences
-- params: exchange text, symbol text, timeframe text, start integer, end integer, least integer
-- The same of every other symbol of the exchange and timeframe; a symbol without such runs has one row without times.
SELECT all_of.symbol, lower(r) AS start, upper(r) AS end
FROM (SELECT symbol, range_agg(empty_once + empty_confirmed) AS empties FROM candle_coverage
      WHERE exchange = $1::text AND symbol <> $2::text AND timeframe = $3::text
        AND block BETWEEN $4::integer / 1440 - 1 AND $5::integer / 1440 + 1
      GROUP BY symbol) AS all_of
LEFT JOIN LATERAL unnest(all_of.empties) AS r ON upper(r) - lower(r) >= $6::integer
ORDER BY all_of.symbol, lower(r)

-- name: settled_suspects
-- params: exchange text, symbol text, timeframe text, within text
-- What closed suspect gaps have settled: not suspect again.
SELECT coalesce(range_agg(owed), '{}') AS settled
FROM candle_gaps
WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND cause = 'suspect' AND repaired_at IS NOT NULL
  AND owed && $4::text::int4multirange
