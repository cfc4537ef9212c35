"""The web configuration: what is read, and everything that is refused, at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from marketd.config import build
from marketd.errors import ConfigError
from marketd.webconfig import Tls, WebConfig, web_config

HASH = "$2b$04$SOgPvnuYiU.s/J6mOJzlpO8XP0dI52V2EiN5QM7u8.7m73DHND8vu"  # of x
FOLDER = Path("/etc/marketd")
PEMS = {"server.pem": "certificate", "server.key": "key", "clients.pem": "authority", "empty.pem": ""}
OPEN = '[http]\nlisten = "0.0.0.0:8000"\nweb_config = "web.toml"\n'
TLS = '[tls_server_config]\ncert_file = "server.pem"\nkey_file = "server.key"\n'
MUTUAL = f'{TLS}client_auth_type = "RequireAndVerifyClientCert"\nclient_ca_file = "clients.pem"\n'
USERS = f'[basic_auth_users]\nprometheus = "{HASH}"\n'


def reading(text: str) -> Mapping[Path, str]:
    return {FOLDER / name: content for name, content in {**PEMS, "web.toml": text}.items()}


def read(text: str) -> WebConfig:
    return web_config(FOLDER / "web.toml", reading(text).get)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    said = str(caught.value)
    assert all(line.isprintable() for line in said.splitlines())
    assert HASH not in said
    return said


def test_all_of_it() -> None:
    found = read(MUTUAL + 'min_version = "TLS13"\n' + USERS)
    assert found.tls == Tls(
        FOLDER / "server.pem", FOLDER / "server.key", "RequireAndVerifyClientCert", FOLDER / "clients.pem", "TLS13"
    )
    assert {name: hashed.reveal() for name, hashed in found.users.items()} == {"prometheus": HASH}
    assert HASH not in repr(found)


@pytest.mark.parametrize(
    ("text", "authenticates"),
    [("", False), (TLS, False), (USERS, True), (TLS + USERS, True), (MUTUAL, True),
     (MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), False)],
)  # fmt: skip
def test_who_has_to_say_who_it_is(text: str, authenticates: bool) -> None:
    assert read(text).authenticates is authenticates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not TOML"),
        (
            "[http_server_config]\nhttp2 = true",
            "http_server_config: unknown section; known are tls_server",
        ),
        ("tls_server_config = 1", "tls_server_config: accepted is a section"),
        (TLS + "cipher_suites = ['X']", "cipher_suites: accepted is a text in quotes"),
        (TLS + "curve = 'X'", "tls_server_config.curve: unknown key; known are cert_file"),
        (TLS.replace("server.key", "none.key"), "/etc/marketd/none.key does not exist, or is empty"),
        (TLS.replace("server.pem", "empty.pem"), "/etc/marketd/empty.pem does not exist, or is empty"),
        ("[tls_server_config]\ncert_file = 'server.pem'", "key_file: is missing"),
        (TLS + "min_version = 'TLS11'", "min_version: accepted is one of TLS12 TLS13"),
        (
            TLS + "client_auth_type = 'RequireAnyClientCert'",
            "RequireAnyClientCert does not verify anything; use",
        ),
        (TLS + "client_auth_type = 'Yes'", "'Yes': accepted is one of NoClientCert"),
        (TLS + "client_auth_type = 'RequireAndVerifyClientCert'", "client_ca_file: goes with"),
        (TLS + "client_ca_file = 'clients.pem'", "client_ca_file: goes with"),
        ("[basic_auth_users]\nme = 'secret'", "basic_auth_users.me: is no bcrypt hash"),
        (f"[basic_auth_users]\nme = '{HASH.replace('$04$', '$20$')}'", "accepted is a cost of 4 to 14"),
        (f"[basic_auth_users]\n'a:b' = '{HASH}'", "a name has no colon"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


def test_every_mistake_is_named() -> None:
    assert len(refused("[x]\n" + TLS + "min_version = 'SSL3'\n[basic_auth_users]\na = '1'\nb = '2'").splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TLS, "lets everybody read, and 0.0.0.0:8000 is open to the network: name users in basic_auth_users"),
        ("", "lets everybody read"),
        (USERS.replace(HASH, "secret"), "http.web_config: /etc/marketd/web.toml: basic_auth_users.prometheus"),
    ],
)
def test_an_open_address_needs_more_than_a_file(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="configuration refused") as caught:
        build(OPEN, {}, FOLDER / "marketd.toml", reading(text).get, need_database=False)
    assert said in str(caught.value)


def test_an_open_address_with_users_is_accepted() -> None:
    config = build(OPEN, {}, FOLDER / "marketd.toml", reading(USERS).get, need_database=False)
    assert config.web.authenticates
    trusting = build(OPEN + "trust_network = true", {}, FOLDER / "marketd.toml", reading(TLS).get, need_database=False)
    assert trusting.web.tls is not None


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"http.web_config: /etc/marketd/web.toml: there is no such file"):
        build(OPEN, {}, FOLDER / "marketd.toml", lambda path: None, need_database=False)
