-- Retired: what lies before was proven once, and was taken away by retention since. It is never asked for again, and is no gap.

ALTER TABLE market_series ADD COLUMN retired_until timestamptz;
COMMENT ON COLUMN market_series.retired_until IS 'Intervals that open before were taken away (marketd prune, [retention.candles]): never asked for again.';
-- Only this column: what else is known of a series is not retention's to say.
GRANT UPDATE (retired_until) ON market_series TO marketd_retain;
GRANT UPDATE ON candle_gaps TO marketd_retain;

CREATE FUNCTION marketd_lock_series(of_exchange text, of_symbol text, of_timeframe text) RETURNS timestamptz
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_exchange || ' ' || of_symbol || ' ' || of_timeframe, 0));
    RETURN (SELECT s.retired_until FROM market_series s
            WHERE s.exchange = of_exchange AND s.symbol = of_symbol AND s.timeframe = of_timeframe);
END $$;
COMMENT ON FUNCTION marketd_lock_series IS 'Waits for its turn at a series, for this transaction; says until when its intervals are retired.';
