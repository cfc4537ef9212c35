"""How a contact with an exchange reads, in words and as JSON.

Owns the warnings: clocks that differ too much, and a key that can do more than read. Refuses to ask (see ``contact``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from marketd import words
from marketd.cli.contact import Account, Contact
from marketd.cli.output import say, talk
from marketd.config import Config
from marketd.exchanges.facts import Exchange
from marketd.fetcher import CLOCKS_DIFFER_MS

_ACCOUNTS = {
    Account.NONE: "none given; candles need none",
    Account.UNASKED: "given; marketd cannot ask there what they may do",
    Account.UNHEARD: "given; what they may do is not known",
    Account.REJECTED: "refused",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One exchange, what is set for it, and what it said."""

    facts: Exchange
    config: Config
    contact: Contact

    def show(self) -> None:
        """Facts to standard output, warnings to standard error."""
        name, heard = self.facts.name, self.contact
        say(f"{name}: reachable at {heard.address}, answered in {heard.took_s:.2f} s")
        say(f"clock: {_difference(heard.ahead_s)}")
        say(f"symbols: {words.count(heard.symbols)} listed")
        say(
            f"budget: {self.config.requests_per_minute_of(name):g} requests a minute, "
            f"{words.count(self._page_limit)} candles a page, {self.facts.in_flight} requests at once"
        )
        say(f"credentials: {_ACCOUNTS.get(heard.standing.account) or self._may()}")
        for warning in self.warnings():
            talk(warning)

    def shape(self) -> dict[str, Any]:
        heard, standing = self.contact, self.contact.standing
        return {
            "exchange": self.facts.name, "address": heard.address, "took_s": heard.took_s,
            "clock_ahead_s": heard.ahead_s, "symbols": heard.symbols,
            "budget": {
                "requests_per_minute": self.config.requests_per_minute_of(self.facts.name),
                "page_limit": self._page_limit, "in_flight": self.facts.in_flight,
            },
            "credentials": {
                "state": standing.account.value, "writes": list(standing.powers.writes),
                "withdraws": standing.powers.withdraws,
                "reason": None if standing.failure is None else str(standing.failure),
            },
            "warnings": list(self.warnings()),
        }  # fmt: skip

    def warnings(self) -> Iterator[str]:
        """The worst first."""
        name, ahead_s, powers = self.facts.name, self.contact.ahead_s, self.contact.standing.powers
        if powers.withdraws:
            yield f"DANGER: THIS KEY CAN WITHDRAW MONEY. Delete it at {name}, and give marketd one that can only read"
        if powers.writes:
            yield f"warning: the key can write ({', '.join(powers.writes)}); give marketd one that can only read"
        if ahead_s is not None and abs(ahead_s) * 1000 > CLOCKS_DIFFER_MS:
            yield "warning: the clocks differ, which delays what can be proven: set this host's by NTP"

    def _may(self) -> str:
        writes = self.contact.standing.powers.writes
        return f"valid, but can write: {', '.join(writes)}" if writes else "valid and read-only"

    @property
    def _page_limit(self) -> int:
        return self.config.page_limits_of(self.facts.name)[0]


def _difference(ahead_s: float | None) -> str:
    """As exact as a time in whole seconds is."""
    if ahead_s is None:
        return "the exchange tells no time"
    if abs(ahead_s) < 1:
        return "within a second of this host's"
    return f"{words.duration(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} this host's"
