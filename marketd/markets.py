"""Which markets rest: those that their exchange does not trade, by its own list.

Owns what the list means for the symbols that somebody tracks, and how often it is asked for. Refuses to stop anything
(see ``scheduler``), and to believe a list that has lost most of what it had.
"""

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from marketd.errors import ExchangeError
from marketd.exchanges.facts import Listing, Status
from marketd.fetcher import Asking
from marketd.model import JobType, Series

log = logging.getLogger(__name__)

LOOK_MS = 3_600_000
LOOK_AGAIN_MS = 600_000
"""While a market rests."""

REFUSED_MS = 6 * 3_600_000
"""After so long a symbol that is not traded by the list, and was refused, is tried once more."""


class Rest(StrEnum):
    """Why a market rests."""

    UNLISTED = "unlisted"
    HALTED = "halted"
    DELISTED = "delisted"


_RESTS = {Status.HALTED: Rest.HALTED, Status.DELISTED: Rest.DELISTED}
_WORDS = {Rest.HALTED: "has halted", Rest.DELISTED: "has delisted"}


def resting(symbols: Collection[str], listing: Listing) -> Mapping[str, Rest]:
    """Those of ``symbols`` that are not traded by ``listing``."""
    found: dict[str, Rest] = {}
    for symbol in symbols:
        status = listing.get(symbol)
        if status is not Status.TRADING:
            found[symbol] = Rest.UNLISTED if status is None else _RESTS[status]
    return found


def reason(exchange: str, symbol: str, rest: Rest, listing: Collection[str]) -> str:
    """Why nothing is asked for, in words; of a symbol that is not listed with those that look like it."""
    return unlisted(exchange, symbol, listing) if rest is Rest.UNLISTED else f"{exchange} {_WORDS[rest]} {symbol}"


def unlisted(exchange: str, symbol: str, listing: Collection[str]) -> str:
    close = difflib.get_close_matches(symbol, listing, n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    return f"{exchange} does not list {symbol}{hint}"


def is_believable(listing: Listing, before: Listing) -> bool:
    """A list that is empty, or has lost more than half of its symbols at once, is taken for a fault of the exchange."""
    return len(listing) > 0 and len(listing) * 2 >= len(before)


@dataclass(slots=True)
class Resting:
    """The markets of one exchange that rest, by the ``listing`` that was believed last.

    ``unknown`` is when the exchange refused a symbol: what is only missing in the list may be served, or be again.
    ``since_ms`` is when a market was seen to rest, ``seen_out`` are the series that were followed up to then.
    """

    exchange: str
    listing: Listing = field(default_factory=dict)
    found: Mapping[str, Rest] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    since_ms: dict[str, int] = field(default_factory=dict)
    seen_out: set[Series] = field(default_factory=set)

    def judge(self, symbols: Collection[str], now_ms: int) -> frozenset[str]:
        """Hold ``symbols`` against the list, and tell what is different now; those that rest and did not before."""
        before, self.found = self.found, resting(symbols, self.listing)
        self.unknown = {
            symbol: at_ms
            for symbol, at_ms in self.unknown.items()
            if symbol in self.found and 0 <= now_ms - at_ms < REFUSED_MS
        }
        self.since_ms = {symbol: self.since_ms.get(symbol, now_ms) for symbol in self.found}
        self.seen_out = {series for series in self.seen_out if series.symbol in self.found}
        for symbol in self.found.keys() - before.keys():
            said = reason(self.exchange, symbol, self.found[symbol], self.listing)
            log.warning("market rests", extra={"fields": {"exchange": self.exchange, "reason": said}})
        for symbol in before.keys() - self.found.keys():
            log.info("market is back", extra={"fields": {"exchange": self.exchange, "symbol": symbol}})
        return frozenset(self.found.keys() - before.keys())

    def note_followed(self, series: Series, asked_ms: int) -> None:
        """A live run that began at ``asked_ms`` has asked for all of ``series`` that was closed by then."""
        since_ms, frame = self.since_ms.get(series.symbol), series.frame
        if since_ms is not None and asked_ms >= frame.open_ms(frame.number(since_ms) + 1):
            self.seen_out.add(series)

    def rests(self, series: Series, job_type: JobType) -> bool:
        """Whether a job of this type has nothing to do for the series.

        What was traded once may still be served, and is asked for until it is refused. What was traded up to the rest
        is still to be followed.
        """
        if series.symbol not in self.found or series.symbol in self.unknown:
            return series.symbol in self.found
        listed = self.found[series.symbol] is not Rest.UNLISTED
        return listed and job_type is JobType.CONTINUOUS and series in self.seen_out

    def why_idle(self, work: Sequence[Series], job_type: JobType) -> str | None:
        """Why a job for ``work`` has nothing to do: all its markets rest. None where it has."""
        if not self.found or not work or not all(self.rests(series, job_type) for series in work):
            return None
        symbols = dict.fromkeys(series.symbol for series in work)
        return "; ".join(reason(self.exchange, symbol, self.found[symbol], self.listing) for symbol in symbols)


@dataclass(slots=True)
class Markets:
    """The list of one exchange, looked at now and then."""

    asking: Asking
    listing: Listing = field(default_factory=dict)

    async def look(self) -> bool:
        """Ask for the list; False where there is none to be believed."""
        fetcher = self.asking.fetcher
        try:
            await fetcher.learn(self.asking, anew=bool(self.listing))
            found = await fetcher.symbols(self.asking)
        except ExchangeError as error:
            self._tell("exchange away", str(error))
            return False
        if not is_believable(found, self.listing):
            self._tell("symbol list not believed", f"{len(found)} symbols instead of {len(self.listing)}")
            return False
        self.listing = found
        return True

    def _tell(self, what: str, error: str) -> None:
        fields = {"exchange": self.asking.fetcher.exchange.name, "error": error, "once": what}
        log.warning(what, extra={"fields": fields})
