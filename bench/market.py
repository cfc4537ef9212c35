"""The markets of the benchmark, and the local exchange that serves one of them from a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from marketd.clock import ms_of
from marketd.rehearsal.market import Market, recorded, synthetic

DAY_MS: Final = 86_400_000
RECORDED: Final = "MARKETD_RECORDED_DATA"
_END_MS: Final = ms_of(datetime(2023, 9, 18, tzinfo=UTC))
_RECORDED_END_MS: Final = ms_of(datetime(2014, 1, 1, tzinfo=UTC))
_SETTLED_MS: Final = 600_000  # less than what is taken for an outage, with the time that a benchmark takes


@dataclass(frozen=True, slots=True)
class Place:
    """A made-up market of BTCUSD of so many ``days``, ``silent`` of whose minutes have no candle; or, with ``data``,
    the recorded one.
    """

    days: int
    silent: float
    seed: int = 1
    symbols: int = 1
    end_ms: int = _END_MS
    data: str = ""
    ahead: int = 0
    """Days that have not come yet when the exchange opens."""
    speed: float = 1.0

    @property
    def start_ms(self) -> int:
        return self.end_ms - self.days * DAY_MS

    @property
    def now_ms(self) -> int:
        """The exchange's time when it opens: a little later than what it has, less what has not come yet."""
        return self.end_ms + _SETTLED_MS - self.ahead * DAY_MS

    def names(self) -> tuple[str, ...]:
        return ("BTCUSD", *(f"S{number:05}USD" for number in range(1, self.symbols)))

    def market(self) -> Market:
        if self.data:
            return recorded(Path(self.data))
        return synthetic(self.seed, self.names(), self.start_ms, self.end_ms, self.silent)


DENSE: Final = Place(260, 0.02)
LONG: Final = Place(2600, 0.02)
THIN: Final = Place(30, 0.116)
"""As many silent minutes as a real month of 2013 had: 5000."""


def recorded_place(days: int) -> Place | None:
    """The recorded market, where this host has it."""
    folder = os.environ.get(RECORDED)
    return Place(days, 0, end_ms=_RECORDED_END_MS, data=folder) if folder else None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running exchange, as its operator sees it."""

    base_url: str
    http: aiohttp.ClientSession

    async def behave(self, *faults: Mapping[str, object]) -> None:
        """Forget what was asked, and be troubled by ``faults`` alone."""
        root = self.base_url.removesuffix("/v2")
        async with self.http.post(f"{root}/rehearsal/faults", json={"faults": list(faults), "replace": True}) as answer:
            answer.raise_for_status()
        async with self.http.post(f"{root}/rehearsal/reset", json={}) as answer:
            answer.raise_for_status()

    async def stats(self) -> Mapping[str, Any]:
        async with self.http.get(f"{self.base_url.removesuffix('/v2')}/rehearsal/stats?last=0") as answer:
            answer.raise_for_status()
            return dict(await answer.json())


@asynccontextmanager
async def exchange(place: Place) -> AsyncIterator[Exchange]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.exchange", json.dumps(asdict(place)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        base_url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            yield Exchange(base_url, http)
    finally:
        process.stdin.close()
        await process.wait()
