"""What the key of a Bitfinex account may do: how it is asked, and what each reply means."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.errors import BadReply, MarketdError, Throttled, Unreachable
from marketd.exchanges import CREDENTIALS
from marketd.exchanges.facts import Powers, Reply
from marketd.secret import Secret

BITFINEX = CREDENTIALS["bitfinex"]
KEY = "the-key-of-the-test"
NOW_MS = 1_767_225_600_000
SIGNATURE = (  # printf '/api/v2/auth/r/permissions1767225600000{}' | openssl dgst -sha384 -hmac 'secret-of-the-test'
    "3ce1416a71536d29fcc4616592e983d26a037225f48640ee3f7cfed4c497c7f2b08e685bdfd76d2f1a914d7194f9e760"
)
SCOPES = (
    "account", "history", "orders", "positions", "funding", "settings", "wallets", "withdraw", "ui_withdraw", "bfxpay",
)  # fmt: skip


def read(status: int, body: bytes) -> Powers:
    return BITFINEX.read(Reply(status, body))


def listed(*writable: str) -> bytes:
    return json.dumps([[scope, 1, int(scope in writable)] for scope in SCOPES]).encode()


class TestRequest:
    def test_is_signed_over_path_nonce_and_body(self) -> None:
        request = BITFINEX.request(Secret(KEY), Secret("secret-of-the-test"), NOW_MS)
        assert (request.path, request.query, request.body) == ("/auth/r/permissions", (), b"{}")
        assert dict(request.headers) == {
            "bfx-nonce": str(NOW_MS), "bfx-apikey": KEY, "bfx-signature": SIGNATURE,
        }  # fmt: skip
        assert BITFINEX.base_url == "https://api.bitfinex.com/v2"

    def test_shows_neither_key_nor_signature_nor_nonce(self) -> None:
        shown = repr(BITFINEX.request(Secret(KEY), Secret("secret-of-the-test"), NOW_MS))
        assert "permissions" in shown
        assert not any(word in shown for word in (KEY, SIGNATURE, str(NOW_MS), "secret"))

    def test_the_smaller_nonce_is_tried_first(self) -> None:
        first, second = BITFINEX.nonces(NOW_MS)
        assert (first, second) == (NOW_MS, NOW_MS * 1000)
        assert second < 9_007_199_254_740_991


class TestScopes:
    def test_a_key_that_only_reads(self) -> None:
        assert read(200, listed()) == Powers()
        assert read(200, b'[["account",1,0],["history",1,0],["orders",1,0],["withdraw",0,0]]') == Powers()

    @pytest.mark.parametrize("scope", SCOPES)
    def test_each_that_can_write_is_named(self, scope: str) -> None:
        assert read(200, listed(scope)) == Powers(writes=(scope,), withdraws="withdraw" in scope)

    def test_several_are_named_in_their_order(self) -> None:
        assert read(200, listed("withdraw", "orders")) == Powers(writes=("orders", "withdraw"), withdraws=True)

    def test_one_that_is_not_known_counts_and_is_not_repeated(self) -> None:
        body = json.dumps([["account", 1, 0], [KEY, 0, 1, "more"], ["new", 0, 1]]).encode()
        assert read(200, body) == Powers(writes=("others",))

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{}", b'[["account"]]', b'[["account",1,"0"]]', b"<html>", b"[" * 100_000, b'["\xff"]']
    )
    def test_what_names_no_scopes_is_a_bad_reply(self, body: bytes) -> None:
        with pytest.raises(BadReply):
            read(200, body)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b'["error",10100,"apikey: invalid"]', "the key is not known there"),
        (500, b'["error",10100,"apikey: digest invalid"]', "the secret does not belong to the key"),
        (200, b'["error",10100,"apikey: invalid"]', "the key is not known there"),
        (500, b'["error",10111,"payload"]', "the secret does not belong to the key"),
        (500, b'["error",10112,"signature"]', "the secret does not belong to the key"),
        (500, b'["error",10113,"hmac"]', "the secret does not belong to the key"),
        (500, b'["error",10001,"api_key: permission invalid"]', "the key may not ask what it may do"),
    ],
)
def test_credentials_that_are_refused_for_good(status: int, body: bytes, reason: str) -> None:
    assert read(status, body) == Powers(rejected=reason)


@pytest.mark.parametrize("status", [500, 400])
def test_a_nonce_that_is_too_small(status: int) -> None:
    assert read(status, b'["error",10114,"nonce: small"]') == Powers(outrun=True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'["error",10001,"ERR_GENERIC"]'),
        (503, b'["error",20060,"maintenance"]'),
        (500, b'["error",11000,"not ready"]'),
        (200, b'["error",10020,"odd"]'),
        (502, b"<html>Bad gateway</html>"),
        (500, listed()),
    ],
)
def test_what_may_pass_says_nothing_of_the_key(status: int, body: bytes) -> None:
    with pytest.raises(Unreachable):
        read(status, body)


@pytest.mark.parametrize(
    ("status", "body"), [(429, b'["error",11010,"ratelimit: error"]'), (500, b'["error",11010,"x"]'), (429, b"<html>")]
)
def test_too_many_questions(status: int, body: bytes) -> None:
    with pytest.raises(Throttled) as caught:
        BITFINEX.read(Reply(status, body, retry_after_s=7.0))
    assert caught.value.retry_after_s == 7.0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["error", 10100, 10114, *SCOPES, KEY]),
    st.lists,
    max_leaves=12,
)


@given(st.sampled_from([200, 400, 429, 500]), ANYTHING)
def test_nothing_of_a_reply_is_repeated_and_nothing_but_a_failure_comes_of_it(status: int, body: object) -> None:
    with suppress(MarketdError):
        powers = read(status, json.dumps(body).encode())
        assert set(powers.writes) <= {*SCOPES, "others"}


@pytest.mark.parametrize("code", [10100, 10001, 10114, 11010, 11000])
@pytest.mark.parametrize("status", [200, 429, 500])
def test_a_reply_that_echoes_the_key_is_not_repeated(status: int, code: int) -> None:
    try:
        said = repr(read(status, json.dumps(["error", code, f"apikey {KEY} permission"]).encode()))
    except MarketdError as error:
        said = str(error)
    assert KEY not in said
