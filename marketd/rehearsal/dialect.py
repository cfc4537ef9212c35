"""What a wire format is to the rehearsal exchange.

Owns the shape that every dialect fills: what an HTTP request asks for, which window of candles that is, and how pages,
lists and refusals are written down. Times are ms since the epoch. Refuses to know connections, faults and the market.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple

from marketd.rehearsal.damage import Body
from marketd.rehearsal.market import Window
from marketd.rehearsal.rows import row_values
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

Word = Literal["symbol", "timeframe", "limit", "window", "old", "path"]
"""What a request is refused for."""

Traded = Literal["trading", "halted", "delisted"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came: ``path`` below the exchange's own prefix, unquoted; ``body`` empty for a GET; ``headers``
    by their names in lower case.
    """

    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an ask says of its window, each None where it says nothing; both times are included."""

    start_ms: int | None = None
    end_ms: int | None = None
    limit: int | None = None
    newest_first: bool | None = None

    def without(self, names: Sequence[str]) -> "Bounds":
        """As if the ask had not said what is named ``start``, ``end``, ``limit`` or ``sort``."""
        fields = {"start": "start_ms", "end": "end_ms", "limit": "limit", "sort": "newest_first"}
        return replace(self, **{fields[name]: None for name in names})


class Candle(NamedTuple):
    """Texts of JSON numbers, but for the time."""

    open_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str


def candle(row: bytes) -> Candle:
    opened, close, high, low, volume = row_values(row)
    return Candle(int(row[1 : row.index(b",")]), opened, high, low, close, volume)


class RefusalError(Exception):
    """The exchange refuses; ``said`` is how."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.body.content.decode("utf-8", "replace"))
        self.said = said


@dataclass(frozen=True, slots=True)
class Allowance:
    """So much ``weight`` within ``window_s``; over it nothing is answered for ``block_s``."""

    weight: int
    window_s: float = 60.0
    block_s: float = 60.0


class Dialect(ABC):
    """One exchange's wire format."""

    name: ClassVar[str]
    symbols: ClassVar[tuple[str, ...]]
    """What a made-up market trades where nobody names symbols, as the exchange spells it."""

    prefix: ClassVar[str] = ""
    """What its address ends in."""

    spellings: ClassVar[Mapping[str, str]]
    """The exchange's names of timeframes -> ours."""

    flat: bool = False
    """Minutes without trades have a candle."""

    allowance: ClassVar[Allowance]

    @abstractmethod
    def asked(self, call: Call, at_ms: int) -> Asked:
        """What ``call`` asks for; symbols as the market has them."""

    @abstractmethod
    def bounds(self, asked: Asked) -> Bounds:
        """RefusalError where they cannot be read."""

    @abstractmethod
    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        """Which candles are sent; RefusalError where the exchange sends none."""

    @abstractmethod
    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        """A page of ``candles``, which ascend unless the window was filled from its newest side."""

    @abstractmethod
    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes: ...

    @abstractmethod
    def refused(self, word: Word) -> Said: ...

    @abstractmethod
    def throttled(self, wait_s: float, now_ms: int) -> Said: ...

    @abstractmethod
    def troubled(self, status: int, code: int, text: str) -> Said:
        """A failure of the exchange itself, in its own form."""

    def maintenance(self) -> Said:
        return self.troubled(503, 20060, "maintenance")

    def other(self, asked: Asked, symbols: Mapping[str, Traded], operative: bool) -> Said:
        """The reply to an ask that is neither for candles nor for symbols."""
        return self.refused("path")

    def archived(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        """The CSV of a month in the archive, where there is one."""
        raise self.refuse("path")

    def headers(self, used: Callable[[], int], now_ms: int) -> tuple[tuple[str, str], ...]:
        """Of every reply; ``used`` counts the weight within the window of the allowance."""
        return ()

    def refuse(self, word: Word) -> RefusalError:
        return RefusalError(self.refused(word))

    def whole(self, text: str | None, word: Word = "window") -> int | None:
        """A whole number of a query, None where it is not there."""
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise self.refuse(word)
        return int(text)


def json_said(text: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Said:
    return Said(Body(text.encode()), status, headers=headers)


def ascending(candles: Sequence[Candle]) -> list[Candle]:
    return sorted(candles)


def descending(candles: Sequence[Candle]) -> list[Candle]:
    return sorted(candles, reverse=True)
