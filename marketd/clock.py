"""Time, passed in.

Owns the only calls of the host's clock. Everything else receives a ``Clock``; the engine never asks the host.
Wall times are integer milliseconds since the epoch, UTC (``_ms``); waits are seconds (``_s``).
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Clock(Protocol):
    def now_ms(self) -> int:
        """The host's wall clock."""

    async def sleep(self, delay_s: float) -> None: ...


class SystemClock:
    """The host's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class ScaledClock:
    """A clock that starts at ``start_ms`` and runs ``speed`` times as fast as the host's; for drills and tests."""

    def __init__(self, start_ms: int, speed: float = 1.0) -> None:
        self._start_ms = start_ms
        self._speed = speed
        self._began = time.monotonic()

    def now_ms(self) -> int:
        return self._start_ms + int((time.monotonic() - self._began) * 1000 * self._speed)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s / self._speed)

    def jump(self, delta_s: float) -> None:
        """Step the clock by ``delta_s`` seconds, as an operator or NTP would."""
        self._start_ms += int(delta_s * 1000)


def at(ms: int) -> datetime:
    """Aware UTC datetime of ``ms``."""
    return EPOCH + timedelta(milliseconds=ms)


def ms_of(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime; a naive one is refused with ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: write it with an offset, such as +00:00 or Z")
    return (moment - EPOCH) // _MS
