-- What is said by gaps, some thousand of them at a time.

-- name: i03_repaired
-- params: first_id bigint, last_id bigint
-- A gap closed as repaired holds: each of its intervals is stored or confirmed empty, or owed again by another gap. Not so where the ledger
-- was made anew since: what had no candle is unknown again; nor of what is retired.
SELECT g.exchange, g.symbol, g.timeframe, marketd_open_time(g.timeframe, lower(r)) AS start_time,
       marketd_open_time(g.timeframe, upper(r)) AS end_time, format('gap %s is closed as %s, but this is not proven', g.id, g.resolution) AS problem
FROM candle_gaps g
CROSS JOIN LATERAL generate_series(floor(lower(g.owed) / 1440.0)::integer, floor((upper(g.owed) - 1) / 1440.0)::integer) AS b
LEFT JOIN candle_coverage c ON c.exchange = g.exchange AND c.symbol = g.symbol AND c.timeframe = g.timeframe AND c.block = b
LEFT JOIN market_series s ON s.exchange = g.exchange AND s.symbol = g.symbol AND s.timeframe = g.timeframe
CROSS JOIN LATERAL (
    SELECT g.owed * int4multirange(int4range(greatest(b * 1440, marketd_number(g.timeframe, s.retired_until)), greatest((b + 1) * 1440,
                                   marketd_number(g.timeframe, s.retired_until)))) AS part
) AS here
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(o.missing), '{}') AS missing FROM candle_gaps o
    WHERE o.exchange = g.exchange AND o.symbol = g.symbol AND o.timeframe = g.timeframe AND o.repaired_at IS NULL
) AS owed
CROSS JOIN LATERAL unnest(here.part - coalesce(c.answered - c.empty_once, '{}') - owed.missing) AS r
WHERE g.id >= $1::bigint AND g.id < $2::bigint AND g.repaired_at IS NOT NULL AND g.resolution <> 'not_wanted'
  AND (c.block IS NULL OR NOT c.answered @> here.part OR c.empty_once && here.part)
  AND (s.rebuilt_at IS NULL OR s.rebuilt_at < g.repaired_at)

-- name: i18_no_secret_gaps
-- params: first_id bigint, last_id bigint
-- No text that is kept with a gap carries a password or a key.
SELECT g.exchange, g.symbol, g.timeframe, g.gap_start AS start_time, g.gap_end AS end_time,
       format('gap %s holds something that looks like a secret', g.id) AS problem
FROM candle_gaps g
WHERE g.id >= $1::bigint AND g.id < $2::bigint AND g.last_error ~* '(postgres(ql)?://[^ ]*:[^ *]+@|api[-_]?(key|secret)=|bearer )'
