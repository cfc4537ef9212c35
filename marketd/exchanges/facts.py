"""What an exchange is: facts and pure functions, as one value.

Owns the shape that every adapter fills. An adapter owns no socket and keeps no state; it builds requests, reads
replies and says which failure a reply means. Refuses to decide what an answer covers (see ``page``) or when to ask.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from marketd.errors import ExchangeError
from marketd.model import Rows
from marketd.secret import Secret


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent below the exchange's base URL: a GET, or a POST of the JSON in ``body`` where there is one.

    ``path`` begins with a slash, ``query`` keeps its order. ``weight`` is how many passes of the budget it takes.
    ``headers`` may hold a key and are not shown.
    """

    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole and undecoded.

    ``date_ms`` is the ``Date`` header, ``age_s`` the ``Age`` header (0 where none), ``retry_after_s`` the wait that
    the exchange asked for in ``Retry-After`` (seconds or a date), None where none was sent. ``headers`` have their
    names in lower case.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    date_ms: int | None = None
    age_s: float = 0.0
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


class Paging(StrEnum):
    """What bounds a page.

    FILLED: candles, cut on the side that the request names. COUNTED: intervals; longer asks are rejected, or cut nobody
    knows where. RECENT: the exchange; the newest candles come, from the start of the ask or from where it serves them.
    """

    FILLED = "filled"
    COUNTED = "counted"
    RECENT = "recent"


class NoTrade(StrEnum):
    """How an interval without trades looks.

    ABSENT: there is no candle. FLAT: there is one of volume 0, so that a missing one is a fault. UNPROVEN: flat where
    such candles come, else absent.
    """

    ABSENT = "absent"
    FLAT = "flat"
    UNPROVEN = "unproven"


class Status(StrEnum):
    """Whether a listed symbol is traded."""

    TRADING = "trading"
    HALTED = "halted"
    DELISTED = "delisted"


Listing: TypeAlias = Mapping[str, Status]
"""Symbols in our spelling."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """One request finds when a series begins: ``open_ms`` reads a time within its first interval, None where none is.

    ``open_ms`` raises BadReply when the body is not what it should be.
    """

    request: Callable[[str, str], Request]
    open_ms: Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class Search:
    """When a series begins has to be searched for, in candles of a day and then finer ones, from ``since_ms`` on.

    ``twice``: what was empty is asked for again before it is believed.
    """

    since_ms: int
    twice: bool = False


@dataclass(frozen=True, slots=True)
class MonthFiles:
    """Where an archive keeps a month: paths of its ``zipped`` file and ``checksum``, name of the ``csv`` within."""

    zipped: str
    checksum: str
    csv: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Candles by the month besides the requests: a zipped CSV file, and beside it the line that ``sha256sum`` makes.

    Months are numbered as the intervals of ``1M`` are.
    """

    base_url: str
    files: Callable[[str, str, int], MonthFiles]
    """(symbol, timeframe, month) -> its files."""
    ready_ms: Callable[[int], int]
    """When the files of a month are there, at the latest."""
    read_lines: Callable[[Sequence[bytes], str], Rows]
    """(lines, timeframe) -> rows in ``columns`` order; BadReply where they are not candles of that timeframe."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Facts of one exchange and the pure functions that speak its wire format.

    ``timeframes`` maps our names to the exchange's for those asked for natively; ``derived`` maps those that are built
    from a finer series to their parent, always; ``fallback`` those that are asked for natively and built from their
    parent where the exchange refuses them. ``requests_per_minute`` counts passes of the budget. ``page_limits`` are
    page sizes, largest first: a refused one is followed by the next. ``blocked_s`` is how long to stay silent after a
    throttling reply that names no time. ``in_flight`` requests may be under way at once.
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
    check_symbol: Callable[[str], str | None]
    """Why this cannot be a symbol's spelling, or None when it can."""
    candles_request: Callable[[str, str, int, int, bool, int], Request]
    """(symbol, timeframe, start_ms, end_ms exclusive, newest_first, limit) -> request; bounds are aligned."""
    read_candles: Callable[[bytes], Rows]
    """Rows of a candle page; BadReply when the body is not one."""
    first: Oldest | Search
    symbols_requests: Callable[[], tuple[Request, ...]]
    """Whose replies together name all symbols."""
    read_symbols: Callable[[bytes], Listing]
    """BadReply when the body is not a list of symbols."""
    failure: Callable[[Reply], ExchangeError | None]
    """The failure that a reply means, or None when its body may be read."""
    fallback: Mapping[str, str] = field(default_factory=dict)
    paging: Paging = Paging.FILLED
    no_trade: NoTrade = NoTrade.ABSENT
    reach: int | None = None
    """How many of the newest intervals of a timeframe are served, None where all are (or, of RECENT pages, unknown)."""
    settle_s: float = 0.0
    """How long after its close a candle may still be on its way, where that is longer than elsewhere."""
    strays: bool = False
    """Candles from before the start of what was asked for are usual."""
    off_grid: bool = False
    """Some candles do not open where their interval does; they are taken for it."""
    in_flight: int = 4
    archive: Archive | None = None
    """Where history can be had by the month, at the cost of no request."""
    rest_s: Callable[[Reply], float] = lambda _: 0.0
    """For how many seconds nothing is to be sent after a good reply that says the limit is near; 0: go on."""

    @property
    def counted(self) -> bool:
        """No ask may span more intervals than a page holds."""
        return self.paging is not Paging.FILLED

    def listing(self, bodies: Iterable[bytes]) -> Listing:
        """All symbols, from the replies to ``symbols_requests``; BadReply as ``read_symbols``."""
        return {symbol: status for body in bodies for symbol, status in self.read_symbols(body).items()}


@dataclass(frozen=True, slots=True)
class Powers:
    """What an exchange says of an account's key, in our words: a reply may hold the key, and is not repeated.

    ``rejected`` is why the credentials are refused; ``outrun`` that the nonce was not larger than the key's last one.
    ``writes`` are the scopes in which the key can change something, ``withdraws`` says that money can leave by one.
    """

    rejected: str | None = None
    outrun: bool = False
    writes: tuple[str, ...] = ()
    withdraws: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one exchange is asked what the key of an account may do."""

    base_url: str
    nonces: Callable[[int], tuple[int, ...]]
    """By the exchange's time, ``_ms``: those to try, the next one only where the key has outrun the one before."""
    request: Callable[[Secret, Secret, int], Request]
    """(key, secret, nonce) -> signed request; both are printable ASCII."""
    read: Callable[[Reply], Powers]
    """Throttled, Unreachable or BadReply where the reply says nothing of the key."""
