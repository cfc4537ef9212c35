"""What an exchange is: facts and pure functions, as one value.

Owns the shape that every adapter fills. An adapter owns no socket and keeps no state; it builds requests, reads
replies and says which failure a reply means. Refuses to decide what an answer covers (see ``page``) or when to ask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from marketd.errors import ExchangeError
from marketd.model import Rows


@dataclass(frozen=True, slots=True)
class Request:
    """A GET below the exchange's base URL: ``path`` begins with a slash, ``query`` keeps its order."""

    path: str
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole and undecoded.

    ``date_ms`` is the ``Date`` header, ``age_s`` the ``Age`` header (0 where none), ``retry_after_s`` the wait that
    the exchange asked for in ``Retry-After`` (seconds or a date), None where none was sent.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    date_ms: int | None = None
    age_s: float = 0.0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Facts of one exchange and the pure functions that speak its wire format.

    ``timeframes`` maps our names to the exchange's for those asked for natively; ``derived`` maps those that are built
    from a finer series to their parent, always; ``fallback`` those that are asked for natively and built from their
    parent where the exchange refuses them. ``page_limits`` are page sizes, largest first: a refused one is followed by
    the next. ``blocked_s`` is how long to stay silent after a throttling reply that names no time. Where pages are
    ``counted``, no ask may span more intervals than a page holds: longer ones are rejected, or cut nobody knows where;
    elsewhere pages are filled with candles, and cut on the side that the request names. ``strays``: candles outside of
    what was asked for are usual.
    """

    name: str
    base_url: str
    requests_per_minute: float
    page_limits: tuple[int, ...]
    grace_s: float
    blocked_s: float
    columns: tuple[str, ...]
    timeframes: Mapping[str, str]
    derived: Mapping[str, str]
    fallback: Mapping[str, str]
    check_symbol: Callable[[str], str | None]
    """Why this cannot be a symbol's spelling, or None when it can."""
    candles_request: Callable[[str, str, int, int, bool, int], Request]
    """(symbol, timeframe, start_ms, end_ms exclusive, newest_first, limit) -> request; bounds are aligned."""
    first_candle_request: Callable[[str, str], Request]
    """(symbol, timeframe) -> a request whose page holds the oldest candle only."""
    symbols_request: Callable[[], Request]
    read_candles: Callable[[bytes], Rows]
    """Rows of a candle page; BadReply when the body is not one."""
    read_symbols: Callable[[bytes], frozenset[str]]
    """Symbols in our spelling; BadReply when the body is not a list of them."""
    failure: Callable[[Reply], ExchangeError | None]
    """The failure that a reply means, or None when its body may be read."""
    counted: bool = False
    strays: bool = False
