"""The transport against replies as hostile as a loopback server can make them."""

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aioresponses import aioresponses

from marketd import __version__
from marketd.address import is_public
from marketd.clock import Clock, ScaledClock, at
from marketd.errors import BadReply, ExchangeError, Refused, Unreachable
from marketd.exchanges.facts import Reply, Request
from marketd.transport import GuardedResolver, Transport, date_of, retry_after, url_of

NOW_MS = 1_767_225_600_000  # 2026-01-01
BASE = "https://api.example.com/v2"
PAGE = Request("/candles/trade:1m:tBTCUSD/hist", (("start", "1"), ("end", "2")))
QUICK = aiohttp.ClientTimeout(total=1.0, connect=0.5, sock_connect=0.5, sock_read=0.25)

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


class NoDns(AbstractResolver):
    """Leads every name to the addresses it was given."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return ScaledClock(NOW_MS, speed=0)


@pytest.fixture
async def transport(clock: Clock) -> AsyncIterator[Transport]:
    async with Transport(clock, timeout=QUICK) as made:
        yield made


@asynccontextmanager
async def serving(respond: Respond, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """A loopback server that reads one request and then does what ``respond`` says; yields its base URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            await respond(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


def sends(*parts: bytes) -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return respond


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Respond:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return sends("\r\n".join(head).encode(), body)


async def failure(transport: Transport, respond: Respond) -> ExchangeError:
    async with serving(respond) as base:
        with pytest.raises(ExchangeError) as caught:
            await transport.send(base, PAGE)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) <= 200
    assert "127.0.0.1" in text
    return caught.value


class TestReply:
    async def test_carries_what_came_back_undecoded(self, transport: Transport) -> None:
        respond = whole(
            b"[[1]]", "Content-Type: application/json; charset=utf-8", "Date: Thu, 01 Jan 2026 00:00:05 GMT", "Age: 4"
        )
        async with serving(respond) as base:
            reply = await transport.send(base, PAGE)
        assert reply == Reply(200, b"[[1]]", "application/json", NOW_MS + 5000, 4.0, None)

    async def test_of_any_status_is_handed_on(self, transport: Transport) -> None:
        respond = whole(b'["error",11010,"x"]', "Retry-After: 60", "Content-Type: text/html", status="429 Slow")
        async with serving(respond) as base:
            reply = await transport.send(base, PAGE)
        assert (reply.status, reply.retry_after_s, reply.content_type) == (429, 60.0, "text/html")

    async def test_is_unpacked(self, transport: Transport) -> None:
        async with serving(whole(gzip.compress(b"[]"), "Content-Encoding: gzip")) as base:
            assert (await transport.send(base, PAGE)).body == b"[]"

    async def test_retry_after_a_date_is_measured_by_the_exchange_s_own_time(self, transport: Transport) -> None:
        respond = whole(
            b"", "Date: Thu, 01 Jan 2015 00:00:00 GMT", "Retry-After: Thu, 01 Jan 2015 00:01:30 GMT", status="418 I"
        )
        async with serving(respond) as base:
            assert (await transport.send(base, PAGE)).retry_after_s == 90.0

    async def test_retry_after_a_date_without_a_date_is_measured_by_the_host_s(self, transport: Transport) -> None:
        respond = whole(b"", "Retry-After: Thu, 01 Jan 2026 00:01:30 GMT", status="429 Slow")
        async with serving(respond) as base:
            assert (await transport.send(base, PAGE)).retry_after_s == 90.0


class TestRequest:
    async def test_says_who_asks_and_keeps_colons_and_order(self, transport: Transport) -> None:
        seen: list[bytes] = []
        async with serving(whole(b"[]"), seen) as base:
            await transport.send(base, PAGE)
        assert seen[0].startswith(b"GET /v2/candles/trade:1m:tBTCUSD/hist?start=1&end=2 HTTP/1.1\r\n")
        assert f"User-Agent: marketd/{__version__}\r\n".encode() in seen[0]

    async def test_sends_no_cookie_back(self, transport: Transport) -> None:
        seen: list[bytes] = []
        async with serving(whole(b"[]", "Set-Cookie: who=me; Path=/"), seen) as base:
            await transport.send(base, PAGE)
            await transport.send(base, PAGE)
        assert len(seen) == 2
        assert b"cookie" not in seen[1].lower()

    async def test_takes_no_proxy_from_the_environment(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with serving(whole(b"[]")) as base:
            assert (await transport.send(base, PAGE)).status == 200

    async def test_goes_through_the_proxy_it_is_given(self, transport: Transport) -> None:
        seen: list[bytes] = []
        async with serving(whole(b"[]"), seen) as proxy:
            await transport.send("http://127.0.0.1:1/v2", PAGE, proxy=proxy.removesuffix("/v2"))
        assert seen[0].startswith(b"GET http://127.0.0.1:1/v2/candles/")

    def test_is_percent_encoded_where_it_must_be(self) -> None:
        assert str(url_of(BASE, Request("/a b?#%2F/ü:x", (("q", "1&2=3"),)))) == (
            "https://api.example.com/v2/a%20b%3F%23%252F/%C3%BC:x?q=1%262%3D3"
        )

    @pytest.mark.parametrize("path", ["/a/../b", "/a/./b", "/..", "no-slash", "/\ud800"])
    def test_with_a_path_that_would_arrive_as_another_is_refused(self, path: str) -> None:
        with pytest.raises(Refused, match="cannot be sent"):
            url_of(BASE, Request(path))


class TestBody:
    async def test_over_the_cap_is_cut(self, transport: Transport) -> None:
        """fault_46."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
        error = await failure(transport, sends(head, *[b"x" * 1_048_576] * 9))
        assert isinstance(error, BadReply)
        assert "larger than 8388608 bytes" in str(error)

    async def test_the_cap_is_measured_after_unpacking(self, clock: Clock) -> None:
        """fault_46."""
        bomb = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=9)
        assert len(bomb) < 100_000
        async with Transport(clock, timeout=QUICK, max_body=1_000_000) as transport:
            assert isinstance(await failure(transport, whole(bomb, "Content-Encoding: gzip")), BadReply)

    async def test_of_exactly_the_cap_passes(self, clock: Clock) -> None:
        async with Transport(clock, timeout=QUICK, max_body=1000) as transport, serving(whole(b"x" * 1000)) as base:
            assert len((await transport.send(base, PAGE)).body) == 1000

    async def test_that_lies_about_its_packing(self, transport: Transport) -> None:
        assert isinstance(await failure(transport, whole(b"not gzip at all", "Content-Encoding: gzip")), Unreachable)

    async def test_that_is_shorter_than_it_said(self, transport: Transport) -> None:
        """fault_36."""
        error = await failure(transport, sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[[1,"))
        assert isinstance(error, Unreachable)

    async def test_whose_chunks_are_broken_off_or_malformed(self, transport: Transport) -> None:
        """fault_36."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for rest in (b"5\r\n[[1,", b"zz\r\nxx\r\n", b"-5\r\n[[1]]\r\n0\r\n\r\n"):
            assert isinstance(await failure(transport, sends(head, rest)), Unreachable), rest

    async def test_that_never_comes(self, transport: Transport) -> None:
        """fault_35."""

        async def stall(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[")
            await writer.drain()
            await writer.wait_closed()

        assert isinstance(await failure(transport, stall), Unreachable)

    async def test_that_trickles_meets_the_total_limit(self, transport: Transport) -> None:
        """fault_35."""

        async def trickle(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            for _ in range(500):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)

        error = await failure(transport, trickle)
        assert isinstance(error, Unreachable)
        assert "time limit" in str(error)


class TestUnreachable:
    @pytest.mark.parametrize(
        "reply",
        [
            b"\x16\x03\x01 this is no HTTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"",
        ],
        ids=["garbage", "header", "long header", "many headers", "two lengths", "nothing"],
    )
    async def test_by_a_reply_that_is_malformed(self, transport: Transport, reply: bytes) -> None:
        assert isinstance(await failure(transport, sends(reply)), Unreachable)

    @pytest.mark.parametrize("location", ["http://169.254.169.254/", "file:///etc/passwd", "/v2/elsewhere"])
    async def test_by_a_redirect_which_is_not_followed(self, transport: Transport, location: str) -> None:
        """fault_47."""
        seen: list[bytes] = []
        async with serving(whole(b"", f"Location: {location}", status="302 Found"), seen) as base:
            with pytest.raises(Unreachable, match="redirect"):
                await transport.send(base, PAGE)
        assert len(seen) == 1

    async def test_by_a_refused_connection(self, transport: Transport) -> None:
        """fault_34."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1: cannot connect"):
            await transport.send(f"http://127.0.0.1:{port}", PAGE)

    async def test_by_a_server_that_speaks_no_tls(self, transport: Transport) -> None:
        """fault_34."""
        async with serving(whole(b"[]")) as base:
            with pytest.raises(Unreachable):
                await transport.send(base.replace("http", "https"), PAGE)

    @pytest.mark.parametrize(
        "error",
        [
            TimeoutError(),
            ConnectionResetError("reset"),
            aiohttp.ServerDisconnectedError(),
            aiohttp.ClientPayloadError("cut\n2026 ERROR fake \x1b[2J" + "x" * 1000),
            OSError(24, "Too many open files"),
        ],
    )
    async def test_by_any_failure_of_the_client(self, transport: Transport, error: Exception) -> None:
        with aioresponses() as exchange:
            exchange.get(re.compile(".*"), exception=error)
            with pytest.raises(Unreachable) as caught:
                await transport.send(BASE, PAGE)
        text = str(caught.value)
        assert text.startswith("api.example.com: ")
        assert text.isprintable()
        assert len(text) <= 200
        assert caught.value.__cause__ is error

    async def test_a_refusing_proxy_does_not_tell_its_password(self, transport: Transport) -> None:
        async with serving(whole(b"", status="407 Proxy Authentication Required")) as proxy:
            with pytest.raises(Unreachable) as caught:
                await transport.send(BASE, PAGE, proxy=proxy.replace("//", "//user:S3cr3t-canary@"))
        assert "S3cr3t-canary" not in str(caught.value)

    async def test_cancelling_is_not_a_failure_of_the_exchange(self, transport: Transport) -> None:
        async def stall(writer: asyncio.StreamWriter) -> None:
            await writer.wait_closed()

        async with serving(stall) as base:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await transport.send(base, PAGE)


class TestPrivateAddresses:
    @pytest.mark.parametrize(
        "host", ["10.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]", "[fd00::1]", "[64:ff9b::a00:1]", "0.0.0.0"]
    )
    async def test_written_out_are_refused(self, transport: Transport, host: str) -> None:
        """fault_34."""
        with pytest.raises(Unreachable, match="private address"):
            await transport.send(f"https://{host}/v2", PAGE)

    @pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:192.168.0.1"])
    async def test_behind_a_name_are_refused(self, clock: Clock, address: str) -> None:
        """fault_34."""
        async with Transport(clock, timeout=QUICK, resolver=NoDns("93.184.215.14", address)) as transport:
            with pytest.raises(Unreachable, match="private address"):
                await transport.send(BASE, PAGE)

    async def test_a_number_that_only_dns_understands_is_refused(self, clock: Clock) -> None:
        async with Transport(clock, timeout=QUICK, resolver=NoDns("127.0.0.1")) as transport:
            with pytest.raises(Unreachable, match="private address"):
                await transport.send("https://0x7f.1/", PAGE)

    async def test_localhost_may_lead_to_the_loopback_only(self) -> None:
        """fault_34."""
        assert await GuardedResolver(NoDns("127.0.0.1"), set()).resolve("localhost")
        with pytest.raises(OSError, match="private"):
            await GuardedResolver(NoDns("10.0.0.1"), set()).resolve("localhost")

    async def test_a_proxy_of_the_configuration_may_be_private(self) -> None:
        assert await GuardedResolver(NoDns("10.0.0.1"), {"proxy.corp"}).resolve("proxy.corp")
        assert await GuardedResolver(NoDns("93.184.215.14"), set()).resolve("api.example.com")

    def test_addresses_inside_addresses_are_looked_at(self) -> None:
        assert is_public("64:ff9b::808:808")
        assert is_public("::ffff:8.8.8.8")
        assert not is_public("2002:a00:1::")
        assert not is_public("fe80::1%eth0")
        assert not is_public("224.0.0.1")


class TestTimesInHeaders:
    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (None, None),
            ("60", 60.0),
            ("0.5", 0.5),
            ("-5", 0.0),
            ("1000000000", 604_800.0),
            ("9" * 400, None),
            ("soon", None),
            ("", None),
            ("1e9", None),
            ("nan", None),
            ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
            ("Thu, 01 Jan 2015 00:02:00 GMT", 0.0),
            ("Thu, 01 Jan 2099 00:02:00 GMT", 604_800.0),
        ],
    )
    def test_retry_after(self, header: str | None, seconds: float | None) -> None:
        """fault_31."""
        assert retry_after(header, NOW_MS) == seconds

    @pytest.mark.parametrize("header", ["", "yesterday", "Thu, 99 Jan 2026 00:00:00 GMT", "1", "Thu, 01 Jan 99999999"])
    def test_a_date_that_is_none(self, header: str) -> None:
        assert date_of(header) is None

    def test_a_date_without_a_zone_is_utc(self) -> None:
        assert date_of("Thu, 01 Jan 2026 00:00:00 -0000") == NOW_MS
        assert at(NOW_MS).year == 2026
