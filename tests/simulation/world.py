"""A world: one exchange, one database, one or two hosts, and the jobs.

Owns how a world is made from a seed, and what it means that it is complete. Refuses to trouble it (see ``chaos``).
"""

from dataclasses import dataclass, field
from functools import partial
from random import Random

from marketd.blocks import union
from marketd.clock import at
from marketd.config import Config, build
from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Paging
from marketd.model import Series
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal.dialects import spoken
from marketd.rehearsal.sources import DAY_MS, Filled, Synthetic
from tests.conformance.spec import symbols_of
from tests.simulation.host import Host
from tests.simulation.journal import Journal
from tests.simulation.loop import HostClock
from tests.simulation.server import Line, Server
from tests.simulation.site import TIMEFRAME, Site, Wire
from tests.simulation.tables import SeriesTable
from tests.simulation.truth import MINUTE_MS, Lives, Truth
from tests.simulation.watch import Watch

COINS = ("BTC", "ETH", "LTC", "XRP", "EOS", "NEO", "ZEC", "ETC", "DSH", "SOL")
EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00Z
RECENT_ROWS = 720  # the exchange whose pages are its newest candles sends so many of them
REACH_MARGIN = 5  # intervals that may end between an ask and its look
LAG_MIN = 15  # a series whose newest answered interval is older than this and a step of its schedule is not complete


@dataclass(frozen=True)
class Plan:
    """What a world is like; drawn from its seed, or set by a test."""

    seed: int
    exchange: str = "bitfinex"
    series: int = 6
    days: float = 30.0
    history_days: int = 3
    every_min: int = 5
    """From one firing of a continuous job to the next: a divisor of an hour, or whole hours that divide a day."""

    no_trade: tuple[float, ...] = (0.02, 0.1, 0.3)
    per_minute: float = 24.0
    page_limit: int = 10_000
    settle_s: float = 120.0
    skew_ms: int = 0
    repair_all: bool = False
    live_all: bool = False
    """One continuous job for all series, which fetches some of them at once where the budget lets it."""

    lenient: bool = False
    only: tuple[str, ...] = ()
    """The kinds of trouble that there are; none named: all."""

    pause_s: float = 7200.0
    """How long it takes on the average from one trouble to the next."""

    slower: float = 60.0
    troubled: bool = True

    @property
    def schedule(self) -> str:
        return f"*/{self.every_min} * * * *" if self.every_min < 60 else f"0 */{self.every_min // 60} * * *"

    @property
    def lag_ms(self) -> int:
        return (self.every_min + LAG_MIN) * MINUTE_MS

    @classmethod
    def drawn(cls, seed: int, days: float, series: int = 6, exchange: str = "bitfinex") -> "Plan":
        dice = Random(f"plan {seed}")
        every_min = dice.choice([3, 5, 15, 60, 60, 240, 240])
        return cls(
            seed, exchange, series, days,
            history_days=dice.randint(1, 5),
            every_min=every_min,
            per_minute=dice.choice([24.0, 60.0, 240.0]),
            page_limit=min(dice.choice([120, 1000, 10_000]), EXCHANGES[exchange].page_limits[0]),
            skew_ms=dice.randint(0, 30_000),
            repair_all=dice.random() < 0.2,
            lenient=dice.random() < 0.5 and exchange == "bitfinex",
            live_all=dice.random() < 0.4,
        )  # fmt: skip


@dataclass
class World:
    plan: Plan
    journal: Journal = field(default_factory=Journal)
    hosts: dict[str, Host] = field(default_factory=dict)
    born: int = 0

    def __post_init__(self) -> None:
        plan = self.plan
        self.dice = Random(f"world {plan.seed}")
        self.start_ms = EPOCH_MS + self.dice.randrange(700) * DAY_MS + self.dice.randrange(DAY_MS)
        self.true = HostClock(self.start_ms)
        self.journal.now_ms = self.true.now_ms
        self.exchange = EXCHANGES[plan.exchange]
        self.symbols = symbols_of(plan.exchange, COINS[: plan.series])
        first_ms = (self.start_ms // DAY_MS - plan.history_days) * DAY_MS
        last_ms = self.start_ms + int((plan.days + 30) * DAY_MS)
        markets = {
            symbol: Synthetic(plan.seed, [symbol], first_ms - DAY_MS, last_ms, self.dice.choice(plan.no_trade))
            for symbol in self.symbols
        }
        lives = Lives(markets, dict.fromkeys(self.symbols, (first_ms, last_ms)))
        self.truth = Truth(Filled(lives) if spoken(plan.exchange).flat else lives, self.exchange.columns)
        self.server = Server(HostClock(self.start_ms, self._skew()), self.journal, self._dice("server"))
        self.watch = Watch(
            self.journal, self.truth, lambda: self.server.tables, plan.per_minute, int(plan.settle_s * 1000)
        )
        date = HostClock(self.start_ms, min(self._skew(), self.ahead_ms))
        self.site = Site(
            self.exchange, lives, HostClock(self.start_ms), date, self.truth, self.watch, self.journal, plan.lenient
        )
        self._jobs()

    @property
    def ahead_ms(self) -> int:
        """Of the host's clock and the exchange's one is never further ahead than this, which is within the grace: two
        wrong clocks prove nothing.
        """
        return int(self.exchange.grace_s * 1000) - 1000

    def _dice(self, name: str) -> Random:
        return Random(f"{name} {self.plan.seed}")

    def _skew(self) -> int:
        return self.dice.randint(-self.plan.skew_ms, self.plan.skew_ms)

    def _jobs(self) -> None:
        add = partial(self.server.tables.add_job, at(self.start_ms), exchange=self.plan.exchange)
        for symbol in self.symbols:
            named = {"symbol": symbol, "timeframe": TIMEFRAME}
            if not self.plan.live_all:
                add(**named, job_type="continuous", schedule=self.plan.schedule)
            add(**named, job_type="backfill")
            if not self.plan.repair_all:
                add(**named, job_type="gap_repair", schedule="0 2 * * *")
        if self.plan.live_all:
            add(job_type="continuous", schedule=self.plan.schedule)
        if self.plan.repair_all:
            add(job_type="gap_repair", schedule="0 2 * * *")

    def host(self) -> Host:
        """Another host, not started yet."""
        self.born += 1
        name = f"host{self.born}"
        clock, line = HostClock(self.start_ms, self._skew()), Line(self.server, name)
        wire = Wire(self.site, line, self.true, self._dice(name))
        host = Host(name, self.config(), clock, line, wire, self.watch, self.journal)
        self.hosts[name] = host
        return host

    def config(self, share: float = 1.0) -> Config:
        """The configuration; ``share`` of the budget may be used."""
        plan = self.plan
        text = (
            f"[engine]\nsettle_s = {plan.settle_s}\n[exchanges.{plan.exchange}]\nbase_url = 'http://127.0.0.1:1'\n"
            f"requests_per_minute = {plan.per_minute * share}\npage_limit = {plan.page_limit}\n"
        )
        return build(text, {}, None, lambda path: None, need_database=False)

    def close_market(self, symbol: str) -> None:
        """Nothing of it is traded from now on."""
        now_ms = self.true.now_ms() // MINUTE_MS * MINUTE_MS
        self.site.lives.lives[symbol] = (self.site.lives.bounds_ms(symbol)[0], now_ms)
        self.truth.forget(symbol, now_ms)
        self.site.open()

    # What it means to be complete

    def tables(self) -> dict[str, SeriesTable]:
        return {symbol: self.table(symbol) for symbol in self.symbols}

    def table(self, symbol: str) -> SeriesTable:
        return self.server.tables.of(Series(self.plan.exchange, symbol, TIMEFRAME))

    def incomplete(self) -> dict[str, str]:
        """What is missing of each series that the exchange still has, by the jobs as they are now."""
        found: dict[str, str] = {}
        for symbol, table in self.tables().items():
            wanted = self.wanted(symbol)
            unknown = wanted - self.answered(symbol)
            gaps = [gap for gap in table.gaps.values() if gap.missing & wanted - self.unserved]
            if gaps:
                found[symbol] = f"{len(gaps)} open gaps: {gaps[0]}"
            elif unknown:
                found[symbol] = f"{unknown.size} intervals unknown, from {unknown.start}"
        return found

    def wanted(self, symbol: str) -> Ranges:
        """From the first candle of the market, or of what is kept, to what has been closed for a while.

        Without what nobody could get any more, as it was not answered while the exchange served it, and what came after
        the close of the market.
        """
        first, kept, now = self.truth.first(symbol), self.table(symbol).retired, self.true.now_ms() // MINUTE_MS
        end = min(now - self.plan.lag_ms // MINUTE_MS, self.site.lives.bounds_ms(symbol)[1] // MINUTE_MS)
        whole = Ranges.of((first if kept is None else max(first, kept), end))
        return whole - (self.unserved - self.answered(symbol))

    def answered(self, symbol: str) -> Ranges:
        table = self.table(symbol)
        return union(table.blocks[number].answered for number in table.numbers)

    @property
    def unserved(self) -> Ranges:
        """What is too old for the exchange."""
        reach = RECENT_ROWS if self.exchange.paging is Paging.RECENT else self.exchange.reach
        if reach is None:
            return NOTHING
        return Ranges.of((0, self.true.now_ms() // MINUTE_MS - reach + REACH_MARGIN))

    def punctual(self, from_ms: int, until_ms: int) -> None:
        """Every due time of a continuous job within a time of the host's clock was fired, but for the last minute.

        The job of a market that has closed may rest.
        """
        closed = {symbol for symbol in self.symbols if self.site.lives.bounds_ms(symbol)[1] < self.true.now_ms()}
        step_ms = self.plan.every_min * MINUTE_MS
        expected = range(from_ms + -from_ms % step_ms, until_ms - 60_000, step_ms)
        for row in self.server.tables.jobs.values():
            if row["job_type"] == "continuous" and row["origin"] == "sql" and row["symbol"] not in closed:
                self.watch.slots(row["id"], expected)

    def compare(self) -> int:
        """Hold every wanted interval against what the exchange said when it was last heard; how many were held."""
        held = 0
        for symbol, table in self.tables().items():
            heard = self.watch.heard[symbol]
            for number in self.wanted(symbol).numbers():
                held += 1
                line, said_ms = table.candles.get(number), heard.last_ms.get(number)
                said = None if said_ms is None else self.truth.line(symbol, number, said_ms)
                if said_ms is None:
                    self.journal.wrong("unheard", symbol, number)
                elif line is None and said is not None and not self.truth.withheld(symbol, number, said_ms):
                    self.journal.wrong("missing", symbol, number, "was said at", said_ms)
                elif line is not None and said is not None and line != said:
                    self.journal.wrong("outdated", symbol, number, line, said)
        return held
