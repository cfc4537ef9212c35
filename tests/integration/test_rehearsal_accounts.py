"""The rehearsal exchange's accounts over a real socket: who signs rightly is told what the key may do."""

import hashlib
import hmac
from typing import Any

import aiohttp
import pytest

from marketd.clock import ScaledClock
from marketd.rehearsal import RehearsalServer, synthetic
from marketd.rehearsal.accounts import LARGEST_NONCE, REHEARSED

pytestmark = pytest.mark.once

NOW_MS = 1_709_251_205_000
READ, TRADE, WITHDRAW, OUTRUN = REHEARSED


async def asked(*questions: tuple[str, str, object]) -> list[tuple[int, Any]]:
    """Status and body for each (key, secret, nonce)."""
    market = synthetic(3, ["BTCUSD"], NOW_MS - 86_400_000, NOW_MS + 86_400_000)
    replies = []
    async with RehearsalServer(market, ScaledClock(NOW_MS)) as server, aiohttp.ClientSession() as client:
        for key, secret, nonce in questions:
            signed = f"/api/v2/auth/r/permissions{nonce}{{}}".encode()
            headers = {
                "bfx-apikey": key, "bfx-nonce": str(nonce),
                "bfx-signature": hmac.new(secret.encode(), signed, hashlib.sha384).hexdigest(),
            }  # fmt: skip
            async with client.post(f"{server.base_url}/auth/r/permissions", data="{}", headers=headers) as reply:
                replies.append((reply.status, await reply.json()))
        assert server.stats.kinds["account"] == len(questions)
        assert not any(key in str(server.stats.as_dict()) for key, _, _ in questions)
    return replies


@pytest.mark.parametrize(
    ("account", "writes"), [(READ, []), (TRADE, ["orders", "positions"]), (WITHDRAW, ["orders", "withdraw"])]
)
async def test_each_key_may_do_what_it_is_there_for(account: Any, writes: list[str]) -> None:
    ((status, scopes),) = await asked((account.key, account.secret, NOW_MS))
    assert status == 200
    assert [scope for scope, _, write in scopes if write] == writes
    assert [name for name, read, _ in scopes if read][:2] == ["account", "history"]


async def test_what_is_wrong_is_said_as_bitfinex_says_it() -> None:
    unknown, unsigned, outrun = await asked(
        ("nobody", READ.secret, 1), (READ.key, TRADE.secret, 1), (OUTRUN.key, OUTRUN.secret, LARGEST_NONCE)
    )
    assert unknown == (500, ["error", 10100, "apikey: invalid"])
    assert unsigned == (500, ["error", 10100, "apikey: digest invalid"])
    assert outrun == (500, ["error", 10114, "nonce: small"])


async def test_a_nonce_has_to_be_larger_than_the_key_s_last_one() -> None:
    nonces: tuple[object, ...] = (5, 5, 4, 6, "x", "", LARGEST_NONCE + 1, "٧")
    replies = await asked(*((READ.key, READ.secret, nonce) for nonce in nonces))
    assert [status for status, _ in replies] == [200, 500, 500, 200, 500, 500, 500, 500]


async def test_a_refused_request_uses_no_nonce_up() -> None:
    replies = await asked((READ.key, "wrong", 9), (TRADE.key, TRADE.secret, 9), (READ.key, READ.secret, 5))
    assert [status for status, _ in replies] == [500, 200, 200]
