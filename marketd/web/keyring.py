"""Who is let in: the users of the web configuration, and the certificates of TLS.

Owns the look at a password, which costs some tenths of a second by design: it is done in a thread of its own, one
after the other, and its outcome is remembered. Refuses more looks at once than it can do soon, and to remember a
password.
"""

import asyncio
import base64
import binascii
import hashlib
import os
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import bcrypt

from marketd.errors import ConfigError
from marketd.secret import Secret
from marketd.webconfig import Tls

REMEMBERED: Final = 100
MOST_WAITING: Final = 16
_LONGEST: Final = 72  # bytes of a password that bcrypt looks at
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_CERTS: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class TooManyLooks(Exception):
    """So many passwords wait to be looked at that another one would wait too long."""


class Keyring:
    """The names that may read, each with the bcrypt hash of its password; without any, everybody may."""

    def __init__(self, users: Mapping[str, Secret]) -> None:
        self._users = {name: hashed.reveal().encode() for name, hashed in users.items()}
        self._looker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")
        self._seen: OrderedDict[bytes, bool] = OrderedDict()
        self._pepper = os.urandom(32)
        self._waiting = 0

    @property
    def open(self) -> bool:
        return not self._users

    async def admits(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header names a user and its password. Raises TooManyLooks."""
        if self.open:
            return True
        given = _basic(authorization)
        if given is None:
            return False
        name, password = given
        # A name that does not exist takes as long as one that does.
        hashed = self._users.get(name) or next(iter(self._users.values()))
        mark = hashlib.blake2b(name.encode() + b":" + password, key=self._pepper).digest()
        if mark not in self._seen:
            self._remember(mark, await self._look(password, hashed))
        self._seen.move_to_end(mark)
        return self._seen[mark] and name in self._users

    async def _look(self, password: bytes, hashed: bytes) -> bool:
        if self._waiting >= MOST_WAITING:
            raise TooManyLooks
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._looker, _matches, password, hashed)
        finally:
            self._waiting -= 1

    def _remember(self, mark: bytes, matches: bool) -> None:
        self._seen[mark] = matches
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def close(self) -> None:
        self._looker.shutdown(wait=False, cancel_futures=True)


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_LONGEST], hashed)
    except ValueError:
        return False


def _basic(authorization: str | None) -> tuple[str, bytes] | None:
    """Name and password of a ``Basic`` header, None where it is none."""
    scheme, _, coded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        return (name.decode("utf-8"), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What the port shows and asks for; ConfigError where the files do not hold what they should."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.verify_mode = _CLIENT_CERTS[tls.client_certs]
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
        if tls.client_ca_file is not None:
            context.load_verify_locations(tls.client_ca_file)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(f"{tls.cert_file}, {tls.key_file}: cannot be used for TLS: {error}") from error
    return context


def _no_password() -> str:
    """Without this OpenSSL would ask at the terminal."""
    raise ValueError("the key is protected by a password")
