"""What happens in the demonstration, told as it happens.

Owns the chapters and their words. The work is done by the same orders, reports and statements as that of the commands.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from marketd import words
from marketd.cli.given import show_results
from marketd.cli.orders import Orders
from marketd.cli.output import say, talk
from marketd.cli.progress import watching
from marketd.cli.status import show_status
from marketd.cli.tables import console
from marketd.cli.verify import show_verdict
from marketd.clock import ScaledClock
from marketd.config import Config
from marketd.model import Claim, JobType, RunStatus, Series
from marketd.rehearsal import Faults, RehearsalServer
from marketd.rehearsal.faults import Lost, TimeframeRefused
from marketd.runner import Order
from marketd.store.damage import drop_range, drop_scattered
from marketd.store.oracle import Oracle
from marketd.store.session import Database
from marketd.verification import hold

SYMBOLS: Final = ("BTCUSD", "ETHUSD", "LTCUSD")
TIMEFRAMES: Final = ("1m", "5m", "1h", "4h", "1d", "1w")
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
BEGINS_MS: Final = 1_709_251_205_000  # 2024-03-01 00:00:05
_START_MS: Final = 1_706_486_400_000  # 2024-01-29, a Monday
_LOST_MS: Final = 1_707_890_400_000  # 2024-02-14 06:00
_AWAY_S: Final = 26 * 3600


@dataclass(slots=True)
class Story:
    """Five chapters; ``tell`` returns the exit code."""

    config: Config
    opened: Database
    clock: ScaledClock
    faults: Faults
    server: RehearsalServer

    async def tell(self) -> int:
        began_s = asyncio.get_running_loop().time()
        self._stage()
        for chapter in (self._backfill, self._damage, self._away):
            if not await chapter():
                talk("stopped")
                return 1
        code = await self._proof()
        took_s = asyncio.get_running_loop().time() - began_s
        say(f"\nThat took {took_s:.0f} s. Look around in what is left, or go on with real data:")
        say("  marketd --config .demo/marketd.toml status      (also: gaps --closed, runs, coverage, verify)")
        say("  marketd backfill --symbol BTCUSD --timeframe 1h --start 2024-01-01      (README.md: the real exchange)")
        return code

    def _stage(self) -> None:
        _heading("1. The stage")
        say(f"A local exchange speaks Bitfinex's wire format on {self.server.base_url}.")
        say(f"It makes up {', '.join(SYMBOLS)}. In one minute of ten nothing is traded, and then it sends no candle.")
        say("It refuses to send 4h candles. And it has lost twelve hours of LTCUSD, without a word.")
        say("A private PostgreSQL runs in ./.demo. No network is used. It is 2024-03-01 here.")
        self.faults.add(
            TimeframeRefused(timeframes=("4h",)),
            Lost(
                symbols=("LTCUSD",),
                timeframes=("1m", "5m", "1h"),
                start_ms=_LOST_MS,
                end_ms=_LOST_MS + 12 * _HOUR_MS,
            ),
        )

    async def _backfill(self) -> bool:
        _heading("2. A month of history")
        say("marketd backfill: every interval since 2024-01-29, newest first.")
        done = await self._order(
            Order(JobType.BACKFILL, _series(SYMBOLS, TIMEFRAMES), Claim.ORDER, start_ms=_START_MS), results=False
        )
        say("\nmarketd status: every interval is stored, or was answered empty, or is owed.")
        await show_status(self.opened, self.clock)
        say("\n1w is built from 1d, and 4h from 1h, since the exchange refused it: no request was spent on them.")
        say("LTCUSD was answered empty for twelve hours. That is far longer than usual, so it is not believed:")
        say("a suspect gap is open, and 4h waits for it.")
        return done

    async def _damage(self) -> bool:
        _heading("3. Damage")
        minutes, hours = Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "ETHUSD", "1h")
        scattered = await drop_scattered(self.opened, minutes, 997)
        ranged = await drop_range(self.opened, hours, _LOST_MS, _LOST_MS + 2 * _DAY_MS)
        say(f"Somebody deletes {scattered} candles of {minutes}, here and there, and {ranged} of {hours} in a row.")
        say("marketd repair-gaps: hold the ledger against the rows, then ask for what is missing.")
        return await self._order(Order(JobType.GAP_REPAIR, (minutes, hours), Claim.ORDER, by_hand=True))

    async def _away(self) -> bool:
        _heading("4. Twenty-six hours off")
        say("marketd is stopped. Meanwhile the exchange finds its lost candles again, and tells nobody.")
        self.clock.jump(_AWAY_S)
        self.faults.clear(Lost)
        series = _series(SYMBOLS, ("1m", "5m", "1h", "4h", "1d", "1w"))
        say("Started again, it first catches up with the newest candles ...")
        caught_up = await self._order(Order(JobType.CONTINUOUS, series, Claim.CONTINUOUS), results=False)
        say("... then tries what is due: the suspect gaps, and a second look at every empty interval.")
        looked = caught_up and await self._order(Order(JobType.GAP_REPAIR, series, Claim.GAP_REPAIR), results=False)
        return looked

    async def _proof(self) -> int:
        _heading("5. The proof")
        say("marketd status:")
        figures = await show_status(self.opened, self.clock)
        say("\nmarketd verify: every promise as an SQL statement that must find nothing.")
        verdict = await hold(Oracle(self.opened), self.clock.now_ms())
        show_verdict(verdict)
        whole = [each for each in figures if each.complete]
        say(
            f"\n{len(whole)} of {words.plural(len(figures), 'series')} complete."
            if len(whole) < len(figures)
            else f"\nAll {len(figures)} series are complete: each interval is a stored candle, or proven to have none."
        )
        return 0 if len(whole) == len(figures) and not verdict.violations else 1

    async def _order(self, order: Order, *, results: bool = True) -> bool:
        """Carry an order out, watched; False where it was stopped or failed."""
        orders = Orders(self.config, self.opened, self.clock, talk)
        with watching() as progress:
            await orders.carry_out(order, progress, wait=True)
        good = all(result.status is RunStatus.SUCCESS for result in orders.results)
        if results or not good:
            show_results(orders.results)
        return good and not orders.stopped


def _series(symbols: Sequence[str], timeframes: Sequence[str]) -> tuple[Series, ...]:
    return tuple(Series("bitfinex", symbol, timeframe) for symbol in symbols for timeframe in timeframes)


def _heading(text: str) -> None:
    say()
    console().print(Text(text, style="bold"))
