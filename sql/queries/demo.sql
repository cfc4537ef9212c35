-- What `marketd demo` breaks on purpose, in its own database. The runtime role may not do any of it.

-- name: demo_drop_scattered
-- params: exchange text, symbol text, timeframe text, every integer
-- Every so many candles of a series disappear.
WITH dropped AS (
    DELETE FROM candles c
    USING (SELECT open_time, row_number() OVER (ORDER BY open_time) AS place FROM candles
           WHERE exchange = $1::text AND symbol = $2::text AND timeframe = $3::text) AS n
    WHERE c.exchange = $1::text AND c.symbol = $2::text AND c.timeframe = $3::text AND c.open_time = n.open_time AND n.place % $4::integer = 0
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
