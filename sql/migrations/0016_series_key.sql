-- The turn at a series has a key of its own: who stores answers of many series together takes only the turns that are free.

CREATE FUNCTION marketd_series_key(of_exchange text, of_symbol text, of_timeframe text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended(of_exchange || ' ' || of_symbol || ' ' || of_timeframe, 0);
COMMENT ON FUNCTION marketd_series_key IS 'The advisory lock under which a series is written to.';

CREATE OR REPLACE FUNCTION marketd_lock_series(of_exchange text, of_symbol text, of_timeframe text) RETURNS timestamptz
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(marketd_series_key(of_exchange, of_symbol, of_timeframe));
    RETURN (SELECT s.retired_until FROM market_series s
            WHERE s.exchange = of_exchange AND s.symbol = of_symbol AND s.timeframe = of_timeframe);
END $$;
