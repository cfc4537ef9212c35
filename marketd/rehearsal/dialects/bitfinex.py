"""Bitfinex's wire format."""

import json
from collections.abc import Iterable, Mapping, Sequence

from marketd.rehearsal.accounts import REHEARSED, Account, Accounts, Signed
from marketd.rehearsal.damage import Body
from marketd.rehearsal.dialect import Allowance, Bounds, Call, Candle, Dialect, RefusalError, Traded, Word
from marketd.rehearsal.market import Window
from marketd.rehearsal.said import Said
from marketd.rehearsal.stats import Asked
from marketd.timeframe import Timeframe

DEFAULT_LIMIT = 100
MOST_ROWS = 10_000
PAIR_LIST = "pub:list:pair:exchange"
SCOPES = (
    "account", "history", "orders", "positions", "funding", "settings", "wallets", "withdraw", "ui_withdraw", "bfxpay",
)  # fmt: skip
_WORDS = {"window": "time_interval", "old": "time_interval"}
_UNSIGNED = {
    "key": (10100, "apikey: invalid"), "signature": (10100, "apikey: digest invalid"), "nonce": (10114, "nonce: small"),
}  # fmt: skip

_SPELLINGS = {
    "1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "3h": "3h", "4h": "4h", "6h": "6h", "12h": "12h",
    "1D": "1d", "1W": "1w", "7D": "1w", "14D": "2w", "1M": "1M",
}  # fmt: skip


class Bitfinex(Dialect):
    name = "bitfinex"
    symbols = ("BTCUSD", "ETHUSD", "LTCUSD")
    prefix = "/v2"
    spellings = _SPELLINGS
    allowance = Allowance(30)

    def __init__(self, accounts: Iterable[Account] = REHEARSED) -> None:
        self._accounts = Accounts(accounts)

    def asked(self, call: Call, at_ms: int) -> Asked:
        parts = call.path.strip("/").split("/")
        match parts:
            case ["candles", key, "hist"]:
                return candles_asked(key, call.query, at_ms)
            case ["conf", keys]:
                return Asked(at_ms, "symbols", query=(*call.query, ("keys", keys)))
            case ["platform", "status"]:
                return Asked(at_ms, "status")
            case ["auth", "r", "permissions"]:
                return Asked(at_ms, "account", signed=_signed(call))
        return Asked(at_ms, "other")

    def bounds(self, asked: Asked) -> Bounds:
        given = dict(asked.query)
        sort = given.get("sort", "-1")
        if sort not in ("1", "-1"):
            raise RefusalError(self.troubled(500, 10020, "sort: invalid"))
        return Bounds(
            self.whole(given.get("start")), self.whole(given.get("end")), self.whole(given.get("limit"), "limit"),
            newest_first=sort == "-1",
        )  # fmt: skip

    def window(self, bounds: Bounds, frame: Timeframe, now_ms: int) -> Window:
        limit = DEFAULT_LIMIT if bounds.limit is None else bounds.limit
        if not 1 <= limit <= MOST_ROWS:
            raise self.refuse("limit")
        start_ms, end_ms = bounds.start_ms, bounds.end_ms
        if end_ms is not None and (end_ms > now_ms or (start_ms is not None and start_ms >= end_ms)):
            raise self.refuse("window")
        return Window(start_ms, end_ms, limit, newest_first=bounds.newest_first is not False)

    def page(self, asked: Asked, candles: Sequence[Candle]) -> bytes:
        rows = (f"[{ms},{opened},{close},{high},{low},{volume}]" for ms, opened, high, low, close, volume in candles)
        return f"[{','.join(rows)}]".encode()

    def listing(self, asked: Asked, symbols: Mapping[str, Traded]) -> bytes:
        """What is delisted disappears."""
        listed = ",".join(f'"{symbol}"' for symbol, traded in symbols.items() if traded != "delisted")
        keys = dict(asked.query)["keys"].split(",")
        return f"[{','.join(f'[{listed}]' if key == PAIR_LIST else '[]' for key in keys)}]".encode()

    def other(self, asked: Asked, symbols: Mapping[str, Traded], operative: bool) -> Said:
        if asked.kind == "status":
            return Said(Body(b"[1]" if operative else b"[0]"))
        if asked.signed is not None:
            return self._permissions(asked.signed)
        return self.refused("path")

    def _permissions(self, signed: Signed) -> Said:
        found = self._accounts.judged(signed)
        if not isinstance(found, Account):
            return self.troubled(500, *_UNSIGNED[found])
        scopes = [[scope, 1, int(scope in found.writes)] for scope in SCOPES]
        return Said(Body(json.dumps(scopes).encode()))

    def refused(self, word: Word) -> Said:
        if word == "path":
            # the path is not repeated: what came from outside is never put into a page
            return Said(Body(b"<pre>Cannot GET /api/v2/</pre>", "text/html"), 404)
        return self.troubled(500, 10020, f"{_WORDS.get(word, word)}: invalid")

    def throttled(self, wait_s: float, now_ms: int) -> Said:
        return self.troubled(429, 11010, "ratelimit: error")

    def troubled(self, status: int, code: int, text: str) -> Said:
        return Said(Body(f'["error",{code},"{text}"]'.encode()), status)


def candles_asked(key: str, query: Sequence[tuple[str, str]], at_ms: int) -> Asked:
    """The ask for candles whose path holds ``key``, such as ``trade:1m:tBTCUSD``."""
    timeframe, symbol = _split_key(key)
    given = dict(query)
    first = given.get("limit") == "1" and given.get("sort") == "1" and "end" not in given
    return Asked(at_ms, "first" if first else "candles", symbol, timeframe, tuple(query))


def _signed(call: Call) -> Signed:
    """What is signed has a prefix that the address lacks."""
    key, nonce, signature = (call.headers.get(f"bfx-{name}", "") for name in ("apikey", "nonce", "signature"))
    return Signed(key, nonce, signature, (f"/api/v2{call.path}", call.body.decode("utf-8", "replace")))


def _split_key(key: str) -> tuple[str, str]:
    """(timeframe, pair) of ``trade:1m:tDOGE:USD``; whatever is wrong becomes an unknown symbol or timeframe."""
    kind, _, rest = key.partition(":")
    timeframe, _, symbol = rest.partition(":")
    return timeframe, symbol[1:] if kind == "trade" and symbol.startswith("t") else f"?{symbol}"


DIALECT = Bitfinex
