"""What a single field of a job may hold, wherever the job comes from.

Owns the checks that the job file, the job table and the command line share. Every one of them returns the value in
our terms or raises UsageError, which shows the value and says what is accepted.
"""

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from marketd.clock import ms_of
from marketd.errors import UsageError
from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Exchange
from marketd.model import JobType
from marketd.text import clean
from marketd.timeframe import TIMEFRAMES

CATCH_UP: Final = ("one", "none")
LONGEST_S: Final = 366 * 86_400
LONGEST_JITTER_S: Final = 3600


def facts_of(name: object) -> Exchange:
    """The exchange called ``name``; UsageError names those that exist."""
    if isinstance(name, str) and name in EXCHANGES:
        return EXCHANGES[name]
    raise UsageError(f"unknown exchange {shown(name)}; known are {' '.join(EXCHANGES)}")


def spelled(facts: Exchange, symbol: object) -> str:
    """``symbol`` where it can be one at that exchange; UsageError says why not."""
    if not isinstance(symbol, str):
        raise UsageError(f'{shown(symbol)} is not a symbol; write a text such as "BTCUSD"')
    reason = facts.check_symbol(symbol)
    if reason is not None:
        raise UsageError(reason)
    return symbol


def offered(facts: Exchange, name: object, derive: Mapping[str, str]) -> str:
    """``name`` where that exchange has such candles or marketd builds them; UsageError says what there is."""
    ways = (facts.timeframes, facts.derived, facts.fallback, derive)
    if isinstance(name, str) and name in TIMEFRAMES and any(name in way for way in ways):
        return name
    there = [each for each in TIMEFRAMES if any(each in way for way in ways)]
    raise UsageError(f"unknown timeframe {shown(name)}; {facts.name} offers {' '.join(there)}")


def typed(name: object) -> JobType:
    if isinstance(name, str) and name in tuple(JobType):
        return JobType(name)
    raise UsageError(f"unknown job_type {shown(name)}; known are {' '.join(JobType)}")


def seconds(value: object, most: int = LONGEST_S) -> float:
    """A time limit in seconds; UsageError where it is none or longer than ``most``, a year."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and 0 < number <= most:
            return number
    raise UsageError(f"{shown(value)} is not a time in seconds; accepted is a number above 0, up to {most}")


def jitter(value: object) -> float:
    """How much later than due a firing may start, in seconds, up to an hour."""
    return seconds(value, LONGEST_JITTER_S)


def shown(value: object) -> str:
    return clean(repr(value) if isinstance(value, str | int | float | None) else type(value).__name__, 60)


def text(value: object) -> str:
    """``value`` where it is a text."""
    if not isinstance(value, str):
        raise UsageError(f"{shown(value)} is not a text")
    return value


def flag(value: object) -> bool:
    """``value`` where it is true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{shown(value)} is neither true nor false")
    return value


def instant(value: object) -> int:
    """``_ms`` of an aware datetime; a naive one is refused with ValueError."""
    if not isinstance(value, datetime):
        raise UsageError(f"{shown(value)} is not a time")
    return ms_of(value)


def one_of(value: object, known: Collection[str]) -> str:
    """``value`` where it is one of ``known``."""
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{shown(value)} is unknown; accepted is {' or '.join(known)}")
    return value
