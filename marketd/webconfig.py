"""Who may read the port: the web configuration, in the keys of Prometheus' own.

Owns the reading of that file (TOML with the key names of Prometheus' ``web.config.file``) and every refusal of it.
Refuses what would be weaker than it looks: old TLS, certificates that are asked for and not verified, passwords that
are not hashed. It opens no certificate; it only sees to it that those named can be read.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from marketd.errors import ConfigError
from marketd.secret import Secret
from marketd.text import clean

CLIENT_CERTS: Final = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
"""How a client's own certificate is treated, in Prometheus' words."""
UNVERIFIED: Final = ("RequestClientCert", "RequireAnyClientCert")
VERSIONS: Final = ("TLS12", "TLS13")
TLS_KEYS: Final = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version")
FILES: Final = ("cert_file", "key_file", "client_ca_file")
SECTIONS: Final = ("tls_server_config", "basic_auth_users")
COSTLIEST: Final = 14  # each step doubles the work of every look at a password

_HASH: Final = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_USER: Final = re.compile(r"[^\x00-\x1f\x7f:]{1,128}")

Read = Callable[[Path], str | None]


@dataclass(frozen=True, slots=True)
class Tls:
    """``client_certs`` is one of ``CLIENT_CERTS``, ``min_version`` one of ``VERSIONS``."""

    cert_file: Path
    key_file: Path
    client_certs: str = "NoClientCert"
    client_ca_file: Path | None = None
    min_version: str = "TLS12"


@dataclass(frozen=True, slots=True)
class WebConfig:
    """``users`` maps a name to the bcrypt hash of its password. Neither: whoever reaches the port may read it."""

    tls: Tls | None = None
    users: Mapping[str, Secret] = field(default_factory=dict)

    @property
    def authenticates(self) -> bool:
        """True where nobody reads without having proven who it is."""
        return bool(self.users) or (self.tls is not None and self.tls.client_certs == "RequireAndVerifyClientCert")


def web_config(path: Path, read: Read) -> WebConfig:
    """The web configuration in the file at ``path``; ConfigError lists every mistake."""
    text = read(path)
    if text is None:
        raise ConfigError(f"{path}: there is no such file")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML: {clean(str(error))}") from error
    reader = _Reader(path.parent, values, read)
    made = WebConfig(reader.tls(), reader.users())
    if reader.mistakes:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in reader.mistakes))
    return made


class _Reader:
    """Turns the values of the file into records, and collects what is wrong with them."""

    def __init__(self, folder: Path, values: Mapping[str, Any], read: Read) -> None:
        self._folder = folder
        self._values = values
        self._read = read
        unknown = [clean(key, 40) for key in values if key not in SECTIONS]
        self.mistakes = [f"{key}: unknown section; known are {' '.join(SECTIONS)}" for key in unknown]

    def tls(self) -> Tls | None:
        given = dict(self._texts("tls_server_config"))
        for key in [key for key in given if key not in TLS_KEYS]:
            del given[key]
            self._refuse(key, f"unknown key; known are {' '.join(TLS_KEYS)}")
        if not given:
            return None
        files = {key: self._file(key, given[key]) for key in FILES if key in given}
        self._refuse_half_a_tls(given)
        if self.mistakes:
            return None
        return Tls(
            cert_file=files["cert_file"],
            key_file=files["key_file"],
            client_certs=given.get("client_auth_type") or "NoClientCert",
            client_ca_file=files.get("client_ca_file"),
            min_version=given.get("min_version") or "TLS12",
        )

    def _refuse_half_a_tls(self, given: Mapping[str, str]) -> None:
        for key in ("cert_file", "key_file"):
            if key not in given:
                self._refuse(key, "is missing; TLS needs a certificate and its key")
        kind = given.get("client_auth_type") or "NoClientCert"
        verifying = " or ".join(CLIENT_CERTS[1:])
        if kind in UNVERIFIED:
            self._refuse("client_auth_type", f"{kind} does not verify anything; use {verifying}")
        elif kind not in CLIENT_CERTS:
            self._refuse("client_auth_type", f"{clean(kind, 40)!r}: accepted is one of {' '.join(CLIENT_CERTS)}")
        elif (kind != "NoClientCert") != ("client_ca_file" in given):
            self._refuse("client_ca_file", f"goes with client_auth_type {verifying}, and they with it")
        if (given.get("min_version") or "TLS12") not in VERSIONS:
            self._refuse("min_version", f"accepted is one of {' '.join(VERSIONS)}")

    def users(self) -> dict[str, Secret]:
        found = {}
        for name, text in self._texts("basic_auth_users"):
            hashed, key = _HASH.fullmatch(text), f"basic_auth_users.{clean(name, 40)}"
            if not _USER.fullmatch(name):
                self.mistakes.append(f"{key}: a name has no colon and no control character")
            elif hashed is None:
                self.mistakes.append(f"{key}: is no bcrypt hash; make one with htpasswd -nBC 10 NAME")
            elif not 4 <= int(hashed["cost"]) <= COSTLIEST:
                self.mistakes.append(f"{key}: accepted is a cost of 4 to {COSTLIEST}")
            else:
                found[name] = Secret(text)
        return found

    def _texts(self, section: str) -> Iterator[tuple[str, str]]:
        values = self._values.get(section, {})
        if not isinstance(values, dict):
            self.mistakes.append(f"{section}: accepted is a section")
            return
        for key, value in values.items():
            if isinstance(value, str):
                yield key, value
            else:
                self.mistakes.append(f"{section}.{clean(key, 40)}: accepted is a text in quotes")

    def _file(self, key: str, text: str) -> Path:
        path = self._folder / Path(text).expanduser()
        try:
            if not self._read(path):
                self._refuse(key, f"{path} does not exist, or is empty")
        except ConfigError as error:
            self._refuse(key, str(error))
        return path

    def _refuse(self, key: str, why: str) -> None:
        self.mistakes.append(f"tls_server_config.{clean(key, 40)}: {why}")
