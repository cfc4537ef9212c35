"""What the key of a Bitfinex account may do.

Owns the signature of the question and the reading of the answer. Refuses to repeat anything of a reply but the names of
scopes it knows: an exchange may echo what it was sent. Sources: docs.bitfinex.com/docs/rest-auth,
/reference/key-permissions.
"""

import hashlib
import hmac
from typing import Final

import msgspec

from marketd.errors import BadReply, Throttled, Unreachable
from marketd.exchanges.facts import Credentials, Powers, Reply, Request
from marketd.secret import Secret

_PATH: Final = "/auth/r/permissions"
_SIGNED: Final = f"/api/v2{_PATH}"  # the URL has no /api
_BODY: Final = b"{}"
_LEAVING: Final = ("withdraw", "ui_withdraw")
_SCOPES: Final = (
    "account", "history", "orders", "positions", "funding", "settings", "wallets", "withdraw", "ui_withdraw", "bfxpay",
)  # fmt: skip
_FAILED: Final = 10001
_KEY_REFUSED: Final = 10100
_SIGNATURE_REFUSED: Final = (10111, 10112, 10113)
_OUTRUN: Final = 10114
_THROTTLED: Final = 11010


def nonces(now_ms: int) -> tuple[int, int]:
    """Milliseconds, and the microseconds of the exchange's own examples where the key has seen larger ones already.

    The smaller one first: a program that uses the same key and counts milliseconds would be refused for ever.
    """
    return now_ms, now_ms * 1000


def permissions_request(key: Secret, secret: Secret, nonce: int) -> Request:
    """The signature is over path, nonce and body as sent."""
    signed = f"{_SIGNED}{nonce}".encode() + _BODY
    signature = hmac.digest(secret.reveal().encode(), signed, hashlib.sha384).hex()
    headers = (("bfx-nonce", str(nonce)), ("bfx-apikey", key.reveal()), ("bfx-signature", signature))
    return Request(_PATH, body=_BODY, headers=headers)


class _Error(msgspec.Struct, array_like=True):
    """``["error", code, text]``."""

    word: str
    code: int
    text: str = ""


class _Scope(msgspec.Struct, array_like=True):
    name: str
    read: int
    write: int


_ERROR = msgspec.json.Decoder(_Error)
_SCOPE_LIST = msgspec.json.Decoder(list[_Scope])


def read_permissions(reply: Reply) -> Powers:
    """``[[SCOPE, READ, WRITE], …]``; refused credentials come with status 500, like the exchange's own failures."""
    code, text = _error_of(reply.body)
    if reply.status == 429 or code == _THROTTLED:
        raise Throttled(f"Bitfinex asks to slow down (HTTP {reply.status})", reply.retry_after_s)
    if code == _OUTRUN:
        return Powers(outrun=True)
    reason = _rejection(code, text)
    if reason is not None:
        return Powers(rejected=reason)
    if reply.status != 200 or code is not None:
        raise Unreachable(f"Bitfinex does not say what the key may do (HTTP {reply.status})")
    return _powers(reply.body)


def _error_of(body: bytes) -> tuple[int | None, str]:
    try:
        error = _ERROR.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None, ""
    return (error.code, error.text) if error.word == "error" else (None, "")


def _rejection(code: int | None, text: str) -> str | None:
    if code in _SIGNATURE_REFUSED or (code == _KEY_REFUSED and "digest" in text):
        return "the secret does not belong to the key"
    if code == _KEY_REFUSED:
        return "the key is not known there"
    if code == _FAILED and "permission" in text:
        return "the key may not ask what it may do"
    return None


def _powers(body: bytes) -> Powers:
    try:
        scopes = _SCOPE_LIST.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadReply("Bitfinex's list of what the key may do cannot be read") from None
    if not scopes:
        raise BadReply("Bitfinex's list of what the key may do is empty")
    names = dict.fromkeys(scope.name if scope.name in _SCOPES else "others" for scope in scopes if scope.write)
    return Powers(writes=tuple(names), withdraws=any(name in names for name in _LEAVING))


CREDENTIALS = Credentials(
    base_url="https://api.bitfinex.com/v2",
    nonces=nonces,
    request=permissions_request,
    read=read_permissions,
)
