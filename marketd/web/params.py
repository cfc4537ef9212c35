"""Query parameters, checked.

Owns what the port accepts in a query string. Refuses with ``BadParameter``, which names the parameter; nothing that
passes here can be anything but a value in the database's eyes.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Final

from marketd.clock import ms_of
from marketd.errors import UsageError
from marketd.model import Cause, Series
from marketd.text import clean
from marketd.timeframe import TIMEFRAMES
from marketd.web.overview import ALL, DEFAULT_SPAN, SPANS, Given

DEFAULT_EXCHANGE: Final = "bitfinex"
MOST_ROWS: Final = 1000
MOST_BUCKETS: Final = 2000
_LARGEST_ID: Final = 2**63 - 1

_EXCHANGE = re.compile(r"[a-z0-9_.-]{1,32}")
_SYMBOL = re.compile(r"[A-Z0-9:._/+-]{1,64}")
_LATEST_MS: Final = ms_of(datetime(2200, 1, 1, tzinfo=UTC))

Query = Mapping[str, str]


class BadParameter(UsageError):
    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"{name}: {fault}")


def exchange(query: Query) -> str | None:
    return _name("exchange", query.get("exchange", "").lower(), _EXCHANGE)


def symbol(query: Query) -> str | None:
    return _name("symbol", query.get("symbol", "").upper(), _SYMBOL)


def timeframe(query: Query) -> str | None:
    value = query.get("timeframe") or None
    if value is not None and value not in TIMEFRAMES:
        raise BadParameter("timeframe", f"{clean(value, 20)!r} is not one of {' '.join(TIMEFRAMES)}")
    return value


def series(query: Query) -> Series | None:
    """The series that is named, None where none is; symbol and timeframe come together."""
    found = symbol(query), timeframe(query)
    if found == (None, None):
        return None
    if found[0] is None:
        raise BadParameter("symbol", "missing: timeframe is given, and a series has both")
    if found[1] is None:
        raise BadParameter("timeframe", "missing: symbol is given, and a series has both")
    return Series(exchange(query) or DEFAULT_EXCHANGE, found[0], found[1])


def needed_series(query: Query) -> Series:
    """The series that is named; BadParameter where none is."""
    which = series(query)
    if which is None:
        raise BadParameter("symbol", "missing: this is told of one series")
    return which


def given(query: Query) -> Given:
    """What the status page shall show."""
    span = query.get("span") or DEFAULT_SPAN
    if span not in (*SPANS, ALL):
        raise BadParameter("span", f"{clean(span, 20)!r} is not one of {' '.join((*SPANS, ALL))}")
    text = _name("text", query.get("text", "").strip().upper(), _SYMBOL)
    return Given(span, exchange(query), text or "", _number(query, "page", 1, 10_000))


def cause(query: Query) -> Cause | None:
    value = query.get("cause") or None
    if value is not None and value not in list(Cause):
        raise BadParameter("cause", f"{clean(value, 20)!r} is not one of {' '.join(Cause)}")
    return None if value is None else Cause(value)


def limit(query: Query, default: int = 100) -> int:
    return _number(query, "limit", default, MOST_ROWS)


def buckets(query: Query) -> int:
    return _number(query, "buckets", 100, MOST_BUCKETS)


def row_cursor(query: Query) -> int | None:
    """A cursor that is the id of a row."""
    return _number(query, "cursor", 0, _LARGEST_ID) if query.get("cursor") else None


def series_cursor(query: Query) -> Series | None:
    """A cursor that is a series, written as ``exchange,symbol,timeframe``."""
    value = query.get("cursor") or None
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 3 or not _EXCHANGE.fullmatch(parts[0]) or not _SYMBOL.fullmatch(parts[1]):
        raise BadParameter("cursor", "not one that this page has given")
    if parts[2] not in TIMEFRAMES:
        raise BadParameter("cursor", "not one that this page has given")
    return Series(*parts)


def written(cursor: Series) -> str:
    return ",".join(cursor)


def identity(text: str) -> int:
    """The id of a row."""
    if not text:
        raise BadParameter("id", "missing")
    return _number({"id": text}, "id", 0, _LARGEST_ID)


def moment(query: Query, name: str) -> int | None:
    """Milliseconds since the epoch, given as such, as a date, or as ISO 8601 with an offset."""
    text = query.get(name) or None
    if text is None:
        return None
    try:
        ms = int(text) if text.isascii() and text.isdecimal() else _written_moment(text)
    except (ValueError, OverflowError):
        raise BadParameter(
            name, f"{clean(text, 40)!r} is no time; write 2024-01-01, 2024-01-01T00:00:00Z or milliseconds"
        ) from None
    if not 0 <= ms <= _LATEST_MS:
        raise BadParameter(name, "outside 1970 to 2200")
    return ms


def _written_moment(text: str) -> int:
    if len(text) == len("2024-01-01"):
        return ms_of(datetime.combine(date.fromisoformat(text), time(), UTC))
    # A plus sign that was not escaped arrives as a space.
    return ms_of(datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text))


def _name(name: str, value: str, pattern: re.Pattern[str]) -> str | None:
    if value and not pattern.fullmatch(value):
        raise BadParameter(name, f"{clean(value, 40)!r} is not a name that could exist")
    return value or None


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name) or None
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 1 <= int(text) <= most):
        raise BadParameter(name, f"{clean(text, 40)!r} is not a number from 1 to {most}")
    return int(text)
