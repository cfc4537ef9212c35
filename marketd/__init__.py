"""marketd keeps exchange candles in PostgreSQL complete, fresh and provably so."""

__version__ = "0.1.0"
