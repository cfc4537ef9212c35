"""What goes wrong at the rehearsal exchange, and when.

Owns one frozen record for each kind of fault, and ``Faults``: the list of those that are set, which may change while
the exchange runs. Times of faults are the exchange's own clock. Refuses to touch a reply (see ``trouble``, ``damage``).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

from marketd.clock import Clock
from marketd.rehearsal.market import Change, Overlay
from marketd.rehearsal.stats import Asked

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What all kinds share: from ``at_s`` seconds of exchange time after it was set, for ``for_s`` seconds.

    It strikes only asks of the named ``asks``, ``symbols`` (as listed: ``BTCUSD``) and ``timeframes`` (the exchange's
    spelling: ``1D``), none named meaning all; only the ``share`` of them; and it ends after ``count`` strikes.
    """

    at_s: float = 0.0
    for_s: float | None = None
    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    asks: tuple[Literal["candles", "first", "symbols", "status", "account", "archive"], ...] = ()
    count: int | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        mistakes = [*_out_of_range(self), *self.mistakes()]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the values together."""
        yield from ()

    def concerns(self, asked: Asked) -> bool:
        return (
            (not self.asks or asked.kind in self.asks)
            and (not self.symbols or asked.symbol in self.symbols)
            and (not self.timeframes or asked.timeframe in self.timeframes)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spanned(Fault):
    """Candles that open in ``[start_ms, end_ms)``; longer timeframes are aggregated from what is left."""

    start_ms: int
    end_ms: int

    def mistakes(self) -> Iterator[str]:
        if self.start_ms >= self.end_ms:
            yield "start must be before end"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Fault):
    """More than ``per_minute`` requests in a minute of one kind: all of that kind are refused for ``block_s``.

    Another ``window_s`` than a minute may be counted in; a request may weigh more than one.

    ``retry_after`` is the header: empty for none, ``seconds``, ``date``, or any other text as it is.
    ``prolongs``: a request during the block starts it again.
    """

    per_minute: int = 30
    block_s: float = 60.0
    retry_after: str = ""
    prolongs: bool = False
    window_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Fault):
    """``delay_s`` seconds of the host's clock before anything else."""

    delay_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang(Fault):
    """Silence for ``delay_s`` host seconds, before the headers or within the body; then the connection closes."""

    delay_s: float = 3600.0
    where: Literal["headers", "body"] = "headers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """The connection is reset instead of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Fault):
    to: str = "http://127.0.0.1:9/"
    status: int = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError(Fault):
    """A 5xx of the edge (``html``), or the exchange's own array with ``code`` and ``text``."""

    status: int = 502
    body: Literal["html", "array"] = "html"
    code: int = 11000
    text: str = "not ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance(Fault):
    """Candles and lists are refused with 20060; the platform status is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Huge(Fault):
    """A body of ``megabytes`` of valid rows, streamed."""

    megabytes: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(_Spanned):
    """The exchange does not have these candles, until ``restored_at_ms`` (or the end of the fault)."""

    restored_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised(_Spanned):
    """From ``from_ms`` on these candles have other ``values`` (open, close, high, low, volume); see ``Change``."""

    from_ms: int | None = None
    values: tuple[str, ...] = ()

    def mistakes(self) -> Iterator[str]:
        if self.start_ms >= self.end_ms:
            yield "start must be before end"
        if len(self.values) not in (0, 5) or not all(map(JSON_NUMBER.fullmatch, self.values)):
            yield "values must be the texts of five JSON numbers: open, close, high, low, volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Late(Fault):
    """A candle appears only ``delay_s`` seconds of exchange time after its close; of all candles, the ``share``."""

    delay_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimit(Fault):
    """Pages hold at most ``rows``, whatever limit was asked for, and nothing says so."""

    rows: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRefused(Fault):
    """A limit ``above`` this is refused as invalid."""

    above: int = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeframeRefused(Fault):
    """The named ``timeframes`` are refused as invalid."""

    def mistakes(self) -> Iterator[str]:
        if not self.timeframes:
            yield "timeframes must name which are refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownSymbol(Fault):
    """How an unknown symbol is answered: ``empty`` is a 200 with no rows."""

    answer: Literal["error", "empty"] = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delisted(Fault):
    """The named ``symbols`` leave the list; their candles are still served where ``candles`` says so."""

    candles: bool = False

    def mistakes(self) -> Iterator[str]:
        if not self.symbols:
            yield "symbols must name what is delisted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted(Fault):
    """The named ``symbols`` stay in the list as not traded, where the exchange's list says such a thing."""

    def mistakes(self) -> Iterator[str]:
        if not self.symbols:
            yield "symbols must name what is halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignores(Fault):
    """Query parameters that the exchange pretends not to see."""

    parameters: tuple[Literal["start", "end", "sort", "limit"], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing(Fault):
    """``[]`` for every candle ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncated(Fault):
    """The body stops after ``kept`` of it; framed by Content-Length, by chunks, or by nothing at all."""

    framing: Literal["length", "chunked", "none"] = "length"
    kept: float = 0.5


Harm = Literal[
    "html", "cut", "blank", "bom", "nested", "error_200",
    "nan", "infinity", "negative", "overflow", "null", "text",
    "conflict", "duplicate", "misaligned", "implausible", "outside", "shuffled",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Fault):
    """A 200 with a body that cannot be right; ``how`` is listed in the manual.

    Row damage strikes ``rows`` rows, evenly spread. With ``candle_ms`` only pages that hold the candle of that open
    time are struck, and at that row.
    """

    how: Harm
    rows: int = 1
    candle_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived(Fault):
    """The named ``months`` (``2024-01``; none named: all) of the archive are not what they should be.

    ``sum``: the checksum is another one. All others have the right one: ``missing`` months are not there, ``cut`` zips
    end half way, ``text`` is none, ``renamed`` ones hold a file of another symbol, ``coarser`` ones candles of an
    hour, ``holed`` ones lack a candle in ``rows`` places, ``headed`` ones begin with a line of headings.
    """

    how: Literal["sum", "missing", "cut", "text", "renamed", "coarser", "holed", "headed"]
    months: tuple[str, ...] = ()
    rows: int = 1

    def of_month(self, month: str) -> bool:
        return not self.months or month in self.months


KINDS: dict[str, type[Fault]] = {
    "rate_limit": RateLimit, "latency": Latency, "hang": Hang, "reset": Reset, "redirect": Redirect,
    "server_error": ServerError, "maintenance": Maintenance, "huge": Huge, "lost": Lost, "revised": Revised,
    "late": Late, "page_limit": PageLimit, "limit_refused": LimitRefused, "timeframe_refused": TimeframeRefused,
    "unknown_symbol": UnknownSymbol, "delisted": Delisted, "halted": Halted, "ignores": Ignores, "nothing": Nothing,
    "truncated": Truncated, "malformed": Malformed, "archived": Archived,
}  # fmt: skip
"""What a scenario calls them -> the records."""

KIND_NAMES = {record: name for name, record in KINDS.items()}

Kind = TypeVar("Kind", bound=Fault)


class _Set:
    """One fault that is set: since when, and how often it has struck."""

    def __init__(self, number: int, fault: Fault, set_ms: int) -> None:
        self.number = number
        self.fault = fault
        self.from_ms = set_ms + int(fault.at_s * 1000)
        self.until_ms = None if fault.for_s is None else self.from_ms + int(fault.for_s * 1000)
        self.struck = 0
        self._owed = 0.0

    def state(self, now_ms: int) -> Literal["waiting", "active", "over"]:
        if now_ms < self.from_ms:
            return "waiting"
        used_up = self.fault.count is not None and self.struck >= self.fault.count
        return "over" if used_up or (self.until_ms is not None and now_ms >= self.until_ms) else "active"

    def strikes(self) -> bool:
        """Counts one ask; a share of a quarter strikes every fourth, without chance."""
        self._owed += self.fault.share
        if self._owed < 1 - 1e-9:
            return False
        self._owed -= 1
        self.struck += 1
        return True


class Faults:
    """The faults that are set, in the order they were; ``scenario`` starts with the object and returns at a reset."""

    def __init__(self, clock: Clock, scenario: tuple[Fault, ...] = ()) -> None:
        self._clock = clock
        self._scenario = scenario
        self._set: list[_Set] = []
        self._last = 0
        self.reset()

    def reset(self) -> None:
        """Back to the scenario, from its beginning."""
        self.clear()
        self.add(*self._scenario)

    def add(self, *faults: Fault) -> None:
        """Set faults; their ``at_s`` counts from now."""
        for fault in faults:
            self._last += 1
            self._set.append(_Set(self._last, fault, self._clock.now_ms()))

    def clear(self, *kinds: type[Fault]) -> None:
        """Take back all faults, or those of the given kinds."""
        self._set = [item for item in self._set if kinds and not isinstance(item.fault, kinds)]

    def take(self, kind: type[Kind], asked: Asked, where: Callable[[Kind], bool] = lambda _: True) -> Kind | None:
        """The first fault of ``kind`` that strikes this ask, counted against its ``count`` and ``share``.

        Those for which ``where`` is false do not concern this ask, and are not counted.
        """
        for item in self._active(kind):
            fault = item.fault
            if isinstance(fault, kind) and fault.concerns(asked) and where(fault) and item.strikes():
                return fault
        return None

    def standing(self, kind: type[Kind]) -> list[Kind]:
        """Faults of ``kind`` that hold at this moment; nothing is counted."""
        return [item.fault for item in self._active(kind) if isinstance(item.fault, kind)]

    def overlay(self, symbol: str, timeframe: str) -> Overlay:
        """What the exchange has lost and revised of a series at this moment."""
        now_ms = self._clock.now_ms()
        lost = [
            (fault.start_ms, fault.end_ms)
            for fault in self.standing(Lost)
            if _names(fault, symbol, timeframe) and (fault.restored_at_ms is None or now_ms < fault.restored_at_ms)
        ]
        changes = [
            Change(fault.start_ms, fault.end_ms, fault.values or None)
            for fault in self.standing(Revised)
            if _names(fault, symbol, timeframe) and (fault.from_ms is None or now_ms >= fault.from_ms)
        ]
        return Overlay(tuple(lost), tuple(changes))

    def described(self) -> list[tuple[int, Fault, str, int]]:
        """(number, fault, waiting | active | over, strikes so far) of all that are set."""
        now_ms = self._clock.now_ms()
        return [(item.number, item.fault, item.state(now_ms), item.struck) for item in self._set]

    def _active(self, kind: type[Fault]) -> Iterator[_Set]:
        now_ms = self._clock.now_ms()
        return (item for item in self._set if isinstance(item.fault, kind) and item.state(now_ms) == "active")


def _names(fault: Fault, symbol: str, timeframe: str) -> bool:
    return (not fault.symbols or symbol in fault.symbols) and (not fault.timeframes or timeframe in fault.timeframes)


def _out_of_range(fault: Fault) -> Iterator[str]:
    for item in fields(fault):
        value = getattr(fault, item.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if item.name in ("share", "kept") and not 0 <= value <= 1:
            yield f"{item.name} must lie between 0 and 1"
        elif item.name in ("count", "per_minute", "rows", "megabytes") and value < 1:
            yield f"{item.name} must be at least 1"
        elif item.name == "status" and not 200 <= value <= 599:
            yield "status must be a status of HTTP"
        elif value < 0:
            yield f"{item.name} must not be negative"
