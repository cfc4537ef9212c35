"""Who is let in at the port: by password, by certificate, and what a crowd of wrong ones costs. On both loops."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from marketd.errors import ConfigError
from marketd.metrics import Metrics
from marketd.secret import Secret
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.web.port import Port
from marketd.webconfig import Tls, WebConfig
from tests.certificates import Authority
from tests.integration.test_door import LOOPS
from tests.integration.test_web import READS
from tests.sites import AWAY
from tests.told import Told

pytestmark = pytest.mark.once

PASSWORD = "Sesame, open"
USERS = {"reader": Secret(bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode())}
RIGHT = aiohttp.encode_basic_auth("reader", PASSWORD)

Play = Callable[..., None]


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Runs a coroutine on one of the loops."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


@asynccontextmanager
async def port(access: WebConfig) -> AsyncIterator[str]:
    async with (
        Database(AWAY, size=2) as opened,
        Port("127.0.0.1:0", Reports(opened), Told(), Metrics().registry, access=access) as listening,
    ):
        yield listening.address


async def status(url: str, auth: str | None = None) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, headers={"Host": "localhost", "Authorization": auth or ""}) as response,
    ):
        return response.status


def test_only_who_knows_the_password_reads(play: Play) -> None:
    async def scene() -> None:
        async with port(WebConfig(users=USERS)) as address, aiohttp.ClientSession() as http:
            for path in [*READS, "/nothing"]:
                async with http.get(f"http://{address}{path}") as response:
                    assert response.status == (200 if path == "/livez" else 401), path
                    if path != "/livez":
                        assert response.headers["WWW-Authenticate"] == 'Basic realm="marketd"'
                        assert await response.json() == {"detail": "name and password are needed"}
            for wrong in (
                aiohttp.encode_basic_auth("reader", ""), aiohttp.encode_basic_auth("reader", PASSWORD.lower()),
                aiohttp.encode_basic_auth("nobody", PASSWORD), aiohttp.encode_basic_auth("reader", "x" * 2000),
                aiohttp.encode_basic_auth("reader", "\0"),
            ):  # fmt: skip
                assert await status(f"http://{address}/metrics", wrong) == 401
            assert await status(f"http://{address}/metrics", RIGHT) == 200
            assert await status(f"http://{address}/nothing", RIGHT) == 404

    play(scene())


@pytest.mark.parametrize("said", ["", "Basic", "Basic !!", "Basic cmVhZGVy", "Basic /w==", "Bearer x", "basic Og=="])
def test_a_header_that_says_nothing(play: Play, said: str) -> None:
    async def scene() -> None:
        async with port(WebConfig(users=USERS)) as address:
            assert await status(f"http://{address}/jobs", said) == 401

    play(scene())


def test_a_crowd_that_guesses_holds_up_nobody_who_is_known(play: Play) -> None:
    """fault_66: a look at a password costs a tenth of a second and more."""
    costly = {"reader": Secret(bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode())}

    async def scene() -> None:
        async with port(WebConfig(users=costly)) as address:
            assert await status(f"http://{address}/metrics", RIGHT) == 200
            wrong = [aiohttp.encode_basic_auth("reader", f"{number}") for number in range(40)]
            async with asyncio.TaskGroup() as group:
                guesses = [group.create_task(status(f"http://{address}/metrics", said)) for said in wrong]
                await asyncio.sleep(0.1)
                began_s = time.monotonic()
                assert await status(f"http://{address}/metrics", RIGHT) == 200
                assert await status(f"http://{address}/livez") == 200
                assert time.monotonic() - began_s < 2
            assert {guess.result() for guess in guesses} == {401, 503}

    play(scene())


@pytest.mark.parametrize("play", ["uvloop"], indirect=True)  # asyncio's own leaves refused handshakes unclosed
def test_certificates(play: Play, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path)
    cert, key = authority.issue("localhost", "127.0.0.1")
    tls = Tls(cert, key, "RequireAndVerifyClientCert", authority.file, "TLS12")

    def client(by: Authority | None = None, expired: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=authority.root.cert_pem.bytes().decode())
        if by is not None:
            context.load_cert_chain(*by.issue("me@example.com", expired=expired, key="me.key", cert="me.pem"))
        return context

    async def scene() -> None:
        async with port(WebConfig(tls)) as address:
            assert await asyncio.to_thread(asked, address, client(authority)) == 200
            for refused in (client(), client(stranger), client(authority, expired=True), None):
                with pytest.raises(Unanswered):
                    await asyncio.to_thread(asked, address, refused)
            old = client(authority)
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(Unanswered):
                await asyncio.to_thread(asked, address, old)
        async with port(WebConfig(tls, USERS)) as address:
            assert await asyncio.to_thread(asked, address, client(authority)) == 401
            assert await asyncio.to_thread(asked, address, client(authority), RIGHT) == 200

    play(scene())


class Unanswered(Exception):
    pass


def asked(address: str, tls: ssl.SSLContext | None, auth: str = "") -> int:
    """Status of /metrics, by sockets alone."""
    host, _, number = address.rpartition(":")
    head = b""
    said = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: {auth}\r\n\r\n"
    with (
        suppress(OSError),
        socket.create_connection((host, int(number)), timeout=5) as plain,
        plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(said.encode())
        head = line.recv(100)  # of TLS 1.3 a client learns only here that its certificate is refused
    if not head.startswith(b"HTTP/1.1 "):
        raise Unanswered
    return int(head.split()[1])


def test_a_handshake_that_never_comes_is_given_up(play: Play, tmp_path: Path) -> None:
    """fault_62."""
    cert, key = Authority(tmp_path).issue("localhost")

    async def scene() -> None:
        async with port(WebConfig(Tls(cert, key))) as address:
            host, _, number = address.rpartition(":")
            began_s = time.monotonic()
            reader, writer = await asyncio.open_connection(host, int(number))
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 6) == b""
            assert time.monotonic() - began_s < 5
            writer.close()

    play(scene())


@pytest.mark.parametrize("broken", ["cert", "key", "authority"])
async def test_files_that_hold_something_else(broken: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    files = {"cert": cert, "key": key, "authority": authority.file}
    files[broken].write_text("-----BEGIN CERTIFICATE-----\nrubbish\n")
    async with Database(AWAY, size=1) as opened:
        with pytest.raises(ConfigError, match="cannot be used for TLS"):
            Port(
                "127.0.0.1:0", Reports(opened), Told(), Metrics().registry,
                access=WebConfig(Tls(cert, key, "RequireAndVerifyClientCert", files["authority"])),
            )  # fmt: skip
