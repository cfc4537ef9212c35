"""An exchange without sockets: the rehearsal exchange's own answers, straight to the fetcher.

Owns the way from a request to a reply, in whatever dialect. Time stands where it is put.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Exchange, Reply, Request
from marketd.fetcher import Asking, Fetcher
from marketd.model import Claim
from marketd.ports import Events
from marketd.rehearsal.answers import Answers
from marketd.rehearsal.damage import open_ms_of
from marketd.rehearsal.dialect import Call, Dialect
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.faults import Faults
from marketd.rehearsal.market import Market, Window
from marketd.rehearsal.rows import row_values
from marketd.rehearsal.said import Said
from marketd.rehearsal.sources import DAY_MS, Chunk, Source, chunk
from marketd.rehearsal.stats import Asked
from marketd.rehearsal.trouble import Trouble
from marketd.transport import retry_after
from tests.conformance.spec import SPECS

MINUTE_MS = 60_000


@dataclass
class StandingClock:
    """Sleeping is all that moves it."""

    ms: int

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class Minutes:
    """A source in which exactly these minutes of one symbol were traded; every candle can be told from the others."""

    def __init__(self, symbol: str, minutes: Collection[int], bounds: tuple[int, int] | None = None) -> None:
        self._symbol = symbol
        self._minutes = sorted(minutes)
        self._bounds = bounds or ((self._minutes[0], self._minutes[-1] + 1) if self._minutes else (0, 1))

    @property
    def symbols(self) -> tuple[str, ...]:
        return (self._symbol,)

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        return self._bounds[0] * MINUTE_MS, self._bounds[1] * MINUTE_MS

    def day(self, symbol: str, day: int) -> Chunk:
        opens = [minute * MINUTE_MS for minute in self._minutes if day == minute * MINUTE_MS // DAY_MS]
        return chunk(opens, [row_of(ms) for ms in opens])


def row_of(open_ms: int) -> bytes:
    """A candle whose fields all differ, and differ from those of its neighbours."""
    base = 100 + open_ms // MINUTE_MS % 1000
    return f"[{open_ms},{base}.5,{base}.25,{base}.75,{base}.125,{base % 7 + 1}.5]".encode()


def line_of(row: bytes, columns: Sequence[str]) -> bytes:
    """A candle as it is to be stored."""
    said = dict(zip(("open", "close", "high", "low", "volume"), row_values(row), strict=True))
    return ",".join((said | {"open_ms": str(open_ms_of(row))})[name] for name in columns).encode()


def decimals(row: bytes) -> tuple[int | Decimal, ...]:
    """(open ms, open, close, high, low, volume) of a candle."""
    return open_ms_of(row), *map(Decimal, row_values(row))


def call_of(request: Request) -> Call:
    """``request`` as it comes to the exchange."""
    return Call(request.path, request.query, request.body or b"", {"user-agent": "marketd"})


def reply_of(said: Said, now_ms: int, *more: tuple[str, str]) -> Reply:
    """What the exchange says as it comes to the fetcher, with ``more`` headers."""
    headers = {name.lower(): value for name, value in (*said.headers, *more)}
    return Reply(
        said.status, said.body.content, said.body.content_type, now_ms // 1000 * 1000,
        retry_after_s=retry_after(headers.get("retry-after"), now_ms), headers=headers,
    )  # fmt: skip


class Free:
    """A budget without end; counts what passes."""

    per_minute = 600_000.0
    blocked_for_s = 0.0

    def __init__(self) -> None:
        self.passed = 0

    async def acquire(self, claim: Claim, weight: int = 1) -> None:
        self.passed += weight

    def block(self, delay_s: float) -> None: ...

    def slow_down(self, factor: float, for_s: float) -> None: ...


@dataclass
class Counter:
    """A transport that has the exchange behind it."""

    dialect: Dialect
    clock: StandingClock
    answers: Answers
    trouble: Trouble
    asked: list[Asked] = field(default_factory=list)
    rows: int = 0

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        now_ms = self.clock.now_ms()
        asked = self.dialect.asked(call_of(request), now_ms)
        self.asked.append(asked)
        said = self.trouble.throttled(asked) or self.trouble.refused(asked) or self.answers.said(asked)
        self.rows += said.rows
        return reply_of(said, now_ms, *self.dialect.headers(lambda: 0, now_ms))

    def candle_asks(self) -> Sequence[Asked]:
        return [asked for asked in self.asked if asked.kind == "candles"]


@dataclass
class Stall:
    """One exchange with one symbol, and whoever asks it."""

    exchange: Exchange
    dialect: Dialect
    market: Market
    faults: Faults
    clock: StandingClock
    counter: Counter
    fetcher: Fetcher
    asking: Asking
    gate: Free

    @property
    def passed(self) -> int:
        """Passes of the budget that were used."""
        return self.gate.passed

    @property
    def symbol(self) -> str:
        return self.market.symbols[0]

    def truth(self, start_ms: int, end_ms: int, timeframe: str = "1m") -> Mapping[int, bytes]:
        """Rows by open time of what the exchange has by now."""
        spelled = self.exchange.timeframes[timeframe]
        window = Window(start_ms, end_ms - 1, 10**9, newest_first=False)
        overlay = self.faults.overlay(self.symbol, spelled)
        rows = self.market.page(self.symbol, timeframe, window, self.clock.now_ms(), overlay)
        return {open_ms_of(row): row for row in rows}


def stall(
    name: str, minutes: Collection[int], now_ms: int, *, page: int = 0, dialect: Dialect | None = None,
    bounds: tuple[int, int] | None = None, source: Source | None = None,
) -> Stall:  # fmt: skip
    """Exchange ``name`` in which these ``minutes`` were traded, at the time ``now_ms``; asked for pages of ``page``.

    Another ``source`` may be its market.
    """
    exchange, clock = EXCHANGES[name], StandingClock(now_ms)
    dialect = spoken(name) if dialect is None else dialect
    if bounds is None and dialect.flat and minutes:  # without trades there are still candles
        bounds = min(minutes), max(*minutes, now_ms // MINUTE_MS) + 1
    market = Market(source or Minutes(SPECS[name].symbol, minutes, bounds))
    market = market.filled() if dialect.flat else market
    faults = Faults(clock)
    trouble = Trouble(clock, faults, dialect)
    counter = Counter(dialect, clock, Answers(market, clock, faults, market.symbols, dialect), trouble)
    gate = Free()
    fetcher = Fetcher(exchange, exchange.base_url, counter, gate, clock, Events(), lambda _: None, page=page)
    fetcher.time.learn(now_ms, now_ms // 1000 * 1000)
    return Stall(exchange, dialect, market, faults, clock, counter, fetcher, Asking(fetcher, Claim.BACKFILL), gate)
