"""What an exchange says when it is asked now.

Owns the asking for ``marketd check --exchange``: the list of symbols, which tells the time too, and what the key may
do. Everything is asked once and beside the budget, so that the answer is of this moment. Refuses to repeat a secret,
even where the exchange does.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from marketd.clock import Clock
from marketd.config import Config
from marketd.errors import ConfigError, ExchangeError, MarketdError
from marketd.exchanges import CREDENTIALS
from marketd.exchanges.facts import Credentials, Exchange, Listing, Powers, Reply, Request
from marketd.logs import Redactor
from marketd.secret import Secret
from marketd.settings import ACCOUNT_KEYS
from marketd.transport import Transport

_PLAIN: Final = re.compile(r"[!-~]+")


class Account(StrEnum):
    """How far the credentials are known."""

    NONE = "none"
    """None were given."""
    UNASKED = "unasked"
    """marketd cannot ask this exchange for them."""
    UNHEARD = "unheard"
    """The exchange was asked, and did not say."""
    REJECTED = "rejected"
    VALID = "valid"


class Pair(NamedTuple):
    """The key of an account and its secret."""

    key: Secret
    secret: Secret


@dataclass(frozen=True, slots=True)
class Standing:
    """What came of asking for the credentials; ``failure`` says why they cannot be vouched for."""

    account: Account
    powers: Powers = field(default_factory=Powers)
    failure: MarketdError | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """What was heard. ``ahead_s`` is by how much the exchange's clock is ahead of the host's, None where it tells no
    time.
    """

    address: str
    took_s: float
    ahead_s: float | None
    symbols: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply, and the host's time before and after it."""

    reply: Reply
    sent_ms: int
    heard_ms: int

    @property
    def ahead_ms(self) -> int | None:
        """By the middle of the second that the reply names, and of the time it took."""
        if self.reply.date_ms is None:
            return None
        date_ms = self.reply.date_ms + 500 + int(self.reply.age_s * 1000)
        return date_ms - (self.sent_ms + self.heard_ms) // 2


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one exchange."""

    transport: Transport
    clock: Clock
    proxy: str | None

    async def ask(self, base_url: str, request: Request) -> Heard:
        sent_ms = self.clock.now_ms()
        reply = await self.transport.send(base_url, request, self.proxy)
        return Heard(reply, sent_ms, self.clock.now_ms())


async def contact(config: Config, facts: Exchange, clock: Clock) -> Contact:
    """What ``facts``' exchange says. ExchangeError where it gives no list of symbols, ConfigError where a key is half
    given; what is wrong with the credentials otherwise is in the ``standing``.
    """
    pair = given(config, facts.name)
    address = config.base_url_of(facts.name)
    async with Transport(clock) as transport:
        line = Line(transport, clock, config.proxy_of(facts.name))
        heard = [await line.ask(address, request) for request in facts.symbols_requests()]
        listing = _listing(facts, heard)
        standing = await _standing(line, config, facts.name, pair, heard[-1].ahead_ms or 0)
    ahead_ms = heard[-1].ahead_ms
    return Contact(
        address=address,
        took_s=(heard[0].heard_ms - heard[0].sent_ms) / 1000,
        ahead_s=None if ahead_ms is None else ahead_ms / 1000,
        symbols=len(listing),
        standing=standing,
    )


def given(config: Config, exchange: str) -> Pair | None:
    """The credentials of the environment; ConfigError where there is one half of them, or one stands in the file."""
    settings = config.exchanges[exchange]
    found = {f"{exchange}_{name}".upper(): getattr(settings, name) for name in ACCOUNT_KEYS}
    for variable, name in zip(found, ACCOUNT_KEYS, strict=True):
        if config.origins.get(f"exchanges.{exchange}.{name}", "").startswith("file"):
            raise ConfigError(
                f"exchanges.{exchange}.{name} stands in the file, where others may read it: set {variable}"
            )
    lacking = [name for name, value in found.items() if not value]
    if len(lacking) == 1:
        (there,) = found.keys() - set(lacking)
        raise ConfigError(f"{there} is given and {lacking[0]} is not: neither is of use without the other")
    return None if lacking else Pair(*found.values())


def _listing(facts: Exchange, heard: list[Heard]) -> Listing:
    for each in heard:
        failure = facts.failure(each.reply)
        if failure is not None:
            raise failure
    return facts.listing(each.reply.body for each in heard)


async def _standing(line: Line, config: Config, exchange: str, pair: Pair | None, ahead_ms: int) -> Standing:
    credentials = CREDENTIALS.get(exchange)
    if pair is None or credentials is None:
        return Standing(Account.NONE if pair is None else Account.UNASKED)
    if not all(_PLAIN.fullmatch(each.reveal()) for each in pair):
        failure = "the credentials hold blanks, line ends or characters beyond ASCII, which none of its keys has"
        return Standing(Account.REJECTED, failure=ConfigError(f"{exchange}: {failure}"))
    address = config.exchanges[exchange].auth_url or credentials.base_url
    try:
        powers = await _powers(line, address, credentials, pair, ahead_ms)
    except ExchangeError as error:
        return Standing(Account.UNHEARD, failure=error)
    return _judged(exchange, powers)


async def _powers(line: Line, address: str, credentials: Credentials, pair: Pair, ahead_ms: int) -> Powers:
    """What the key may do; asked again with a larger nonce while it has outrun the one before."""
    powers = Powers(outrun=True)
    for nonce in credentials.nonces(line.clock.now_ms() + ahead_ms):
        if powers.outrun:
            powers = await _asked(line, address, credentials, credentials.request(*pair, nonce), pair.secret)
    return powers


async def _asked(line: Line, address: str, credentials: Credentials, request: Request, secret: Secret) -> Powers:
    """A reply that is no HTTP is told with some of its bytes, which may be those that were sent."""
    redact = Redactor([secret, *(Secret(value) for _, value in request.headers)])
    try:
        return credentials.read((await line.ask(address, request)).reply)
    except ExchangeError as error:
        raise type(error)(redact(str(error))) from None


def _judged(exchange: str, powers: Powers) -> Standing:
    reason = powers.rejected
    if powers.outrun:
        reason = "its key has seen larger nonces, so another program uses it: give marketd one of its own"
    if reason is None:
        return Standing(Account.VALID, powers)
    return Standing(Account.REJECTED, powers, ConfigError(f"{exchange} refuses the credentials: {reason}"))
