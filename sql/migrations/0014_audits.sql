-- Which blocks are to be audited next is found without reading all blocks of a series.

CREATE INDEX candle_coverage_audits ON candle_coverage (exchange, symbol, timeframe, coalesce(audited_at, '-infinity'), block DESC);
