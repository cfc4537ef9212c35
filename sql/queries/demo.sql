-- What `marketd demo` breaks on purpose, in its own database. The runtime role may not do any of it.

-- name: demo_drop_scattered
-- params: exchange text, symbol text, timeframe text, every integer
-- One candle in so many intervals of a series disappears.
WITH dropped AS (
    DELETE FROM candles
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND marketd_number($3::text, open_time) % $4::integer = 0
    RETURNING 1
)
SELECT count(*) FROM dropped

-- name: demo_drop_range
-- params: exchange text, symbol text, timeframe text, start timestamptz, end timestamptz
WITH dropped AS (
    DELETE FROM candles
    WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text AND open_time >= $4::timestamptz AND open_time < $5::timestamptz
    RETURNING 1
)
SELECT count(*) FROM dropped
