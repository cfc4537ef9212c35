"""``python -m tests.conformance.ccxt``: asks ccxt what it makes of the recorded replies, and keeps that for the tests.

Run by ``make second-opinion`` in an environment of its own, since ccxt wants an older uvloop than marketd. Owns the way
into ccxt: its exchanges get one spot market, a clock that stands and, instead of the network, a recorded reply.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tests.conformance.ccxt.opinion import COUNT, NOW_MS, START_MS, Opinion, Row, keep
from tests.conformance.recorded import replies
from tests.conformance.spec import SPECS

_CCXT: Any = import_module("ccxt")  # it has no types, and is not there where types are checked
_PAIR = "BASE/QUOTE"
_SPOT = {"symbol": _PAIR, "base": "BASE", "quote": "QUOTE", "type": "spot", "spot": True, "contract": False}


class Unplugged:
    """ccxt's exchange ``name``, without a network."""

    def __init__(self, name: str) -> None:
        self.called = SPECS[name].ccxt or name
        self._body = "{}"
        self._asked: list[tuple[str, str]] = []
        self._costs: list[float] = []
        self._exchange = getattr(_CCXT, self.called)()
        market = {**_SPOT, "id": SPECS[name].sent(SPECS[name].symbol)}
        self._exchange.set_markets([self._exchange.safe_market_structure(market)])
        self._exchange.milliseconds = lambda: NOW_MS
        self._exchange.throttle = self._costs.append
        self._exchange.fetch = self._answer

    def _answer(self, url: str, method: str = "GET", headers: object = None, body: str | None = None) -> Any:
        self._asked.append((url, body or ""))
        return self._exchange.parse_json(self._body)

    @property
    def timeframes(self) -> dict[str, str]:
        return {name: str(spelling) for name, spelling in self._exchange.timeframes.items()}

    def rows(self, body: bytes) -> Sequence[Row]:
        """As its users get them when this is the reply."""
        self._body = body.decode()
        found: Sequence[Row] = self._exchange.fetch_ohlcv(_PAIR)
        return found

    def ask(self, timeframe: str) -> tuple[str, str]:
        """What it asks for ``COUNT`` candles from ``START_MS`` on."""
        self._body = "{}"
        self._exchange.fetch_ohlcv(_PAIR, timeframe, START_MS, COUNT)
        return self._asked[-1]

    def requests_per_minute(self) -> float:
        """In the long run, by what the last request cost."""
        apart_ms: float = self._exchange.rateLimit * self._costs[-1]
        return round(60_000 / apart_ms, 1)


def opinion(name: str) -> Opinion:
    exchange = Unplugged(name)
    asks = {timeframe: exchange.ask(timeframe) for timeframe in exchange.timeframes}
    rows = {reply: exchange.rows(body) for reply, body in replies(name).items()}
    return Opinion(_CCXT.__version__, exchange.called, exchange.requests_per_minute(), exchange.timeframes, asks, rows)


def main() -> None:
    for name in (name for name, spec in SPECS.items() if spec.ccxt is not None):
        found = opinion(name)
        keep(name, found)
        print(f"{name}: {sum(map(len, found.rows.values()))} rows of {len(found.rows)} replies")


if __name__ == "__main__":
    main()
