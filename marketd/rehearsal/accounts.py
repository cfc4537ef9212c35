"""Accounts of the rehearsal exchange: made-up keys, and what each may do.

Owns the check of a signed request, as Bitfinex signs: the key is known, the signature is its secret's, the nonce is
larger than its last one. Refuses to know how a reply is written down.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

LARGEST_NONCE: Final = 9_007_199_254_740_991


@dataclass(frozen=True, slots=True)
class Signed:
    """A request in the name of an account: ``text`` is what was signed beside the nonce, before and after it."""

    key: str
    nonce: str
    signature: str
    text: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Account:
    """``writes`` are the scopes that its key may change things in, ``nonce`` the last one it was used with."""

    key: str
    secret: str
    writes: tuple[str, ...] = ()
    nonce: int = 0


REHEARSED: Final = (
    Account("rehearsal-read", "secret-of-read"),
    Account("rehearsal-trade", "secret-of-trade", ("orders", "positions")),
    Account("rehearsal-withdraw", "secret-of-withdraw", ("orders", "withdraw")),
    Account("rehearsal-outrun", "secret-of-outrun", nonce=LARGEST_NONCE),
)


class Accounts:
    """Those there are, and the last nonce of each."""

    def __init__(self, accounts: Iterable[Account] = REHEARSED) -> None:
        self._accounts = {account.key: account for account in accounts}
        self._nonces = {account.key: account.nonce for account in self._accounts.values()}

    def judged(self, signed: Signed) -> Account | Literal["key", "signature", "nonce"]:
        """Whose request it is, or what is wrong with it."""
        account = self._accounts.get(signed.key)
        if account is None:
            return "key"
        message = signed.nonce.join(signed.text).encode()
        expected = hmac.new(account.secret.encode(), message, hashlib.sha384).hexdigest()
        if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
            return "signature"
        nonce = int(signed.nonce) if signed.nonce.isascii() and signed.nonce.isdigit() else 0
        if not self._nonces[account.key] < nonce <= LARGEST_NONCE:
            return "nonce"
        self._nonces[account.key] = nonce
        return account
