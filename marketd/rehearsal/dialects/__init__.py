"""The wire formats that the rehearsal exchange speaks: one module each, read when it is asked for."""

from importlib import import_module

from marketd.errors import UsageError
from marketd.rehearsal.dialect import Dialect

NAMES = (
    "bitfinex", "binance", "bitstamp", "bybit", "coinbase", "gate", "gemini", "hyperliquid", "kraken", "kucoin", "okx",
)  # fmt: skip
"""Each is a module here, with its class in ``DIALECT``."""


def spoken(name: str) -> Dialect:
    """The dialect of exchange ``name``; UsageError names those that exist."""
    if name not in NAMES:
        raise UsageError(f"the rehearsal exchange does not speak {name!r}; it speaks {' '.join(NAMES)}")
    made = import_module(f"{__name__}.{name}").DIALECT()
    assert isinstance(made, Dialect)  # noqa: S101  (a module of ours)
    return made
