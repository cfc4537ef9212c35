-- A ledger that was made anew from its candles knows less than before: what was proven until then is not held against it.

ALTER TABLE market_series ADD COLUMN rebuilt_at timestamptz;
COMMENT ON COLUMN market_series.rebuilt_at IS 'When its ledger was last made anew from its candles (marketd verify --rebuild-ledger): empties proven before are unknown again.';
