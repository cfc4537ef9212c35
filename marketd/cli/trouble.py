"""What goes wrong while ``marketd try`` runs, over and over.

Owns the troubles and their words. All of them are such as happen; each passes, and the daemon makes it good.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from marketd.clock import ScaledClock, at
from marketd.model import Series
from marketd.rehearsal import Faults
from marketd.rehearsal.faults import Delisted, Malformed, ServerError
from marketd.store.damage import drop_range
from marketd.store.session import Database

SYMBOLS: Final = ("BTCUSD", "ETHUSD", "LTCUSD", "XRPUSD", "EOSUSD", "NEOUSD", "ZECUSD")
_HOUR_MS: Final = 3_600_000
_PAUSE_S: Final = 20 * 60.0  # of the exchange's time
_FIRST_S: Final = 10 * 60.0


def first_day(ms: int) -> str:
    """Midnight before a time, as TOML writes it."""
    return f"{at(ms):%Y-%m-%d}T00:00:00Z"


@dataclass(slots=True)
class Troubles:
    opened: Database
    clock: ScaledClock
    faults: Faults
    tell: Callable[[str], None]

    async def go_on(self) -> None:
        await self.clock.sleep(_FIRST_S)
        for trouble in cycle((self._outage, self._deleted, self._nonsense, self._hours_deleted, self._unlisted)):
            self.tell(f"{at(self.clock.now_ms()):%H:%M}  {await trouble()}")
            await self.clock.sleep(_PAUSE_S)

    async def _outage(self) -> str:
        self.faults.add(ServerError(status=503, for_s=900))
        return "The exchange is away for a quarter of an hour: all series fall behind together, and catch up."

    async def _deleted(self) -> str:
        return await self._drop("BTCUSD", 1, "Somebody deletes an hour of BTCUSD from the table.")

    async def _hours_deleted(self) -> str:
        return await self._drop("ETHUSD", 4, "Somebody deletes four hours of ETHUSD.")

    async def _drop(self, symbol: str, hours: int, said: str) -> str:
        end_ms = self.clock.now_ms() - 2 * _HOUR_MS
        await drop_range(self.opened, Series("bitfinex", symbol, "1m"), end_ms - hours * _HOUR_MS, end_ms)
        return said

    async def _nonsense(self) -> str:
        self.faults.add(Malformed(how="nan", rows=3, symbols=("LTCUSD",), for_s=900))
        return "The exchange sends prices of LTCUSD that are no numbers: nothing of it is stored, all of it is owed."

    async def _unlisted(self) -> str:
        self.faults.add(Delisted(symbols=("XRPUSD",), candles=False, for_s=1_500))
        return "The exchange does not know XRPUSD any more: its jobs rest, and go on when it is back."
