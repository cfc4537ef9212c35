"""The exchanges marketd speaks to: one value each, chosen by name."""

from marketd.errors import UsageError
from marketd.exchanges.bitfinex import BITFINEX
from marketd.exchanges.facts import Exchange

EXCHANGES: dict[str, Exchange] = {BITFINEX.name: BITFINEX}


def exchange(name: str) -> Exchange:
    """The exchange called ``name``; UsageError names those that exist."""
    try:
        return EXCHANGES[name]
    except KeyError:
        raise UsageError(f"unknown exchange {name!r}; known are {' '.join(EXCHANGES)}") from None
