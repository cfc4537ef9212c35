"""How fast one exchange may be asked.

Owns the budget of an exchange: one evenly spaced bucket behind a queue ordered by claim, then by arrival. What the
first claim does not use is free for the others. Refuses bursts, to let anybody pass while the exchange has asked for
silence, and to start tasks: whoever waits first drives the bucket for all.
"""

import asyncio
from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from aiolimiter import AsyncLimiter

from marketd.model import Claim

MINUTE_S: Final = 60.0


@dataclass(slots=True, eq=False)
class _Waiter:
    """``left`` passes are still needed; ``woken`` says: served, or yours to drive."""

    claim: Claim
    number: int
    left: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def rank(self) -> tuple[int, int]:
        return self.claim, self.number


class Budget:
    """Requests a minute, evenly spaced, in order of claim. Times are the running loop's, in seconds.

    A pass costs one unit of the bucket, ``slow_down`` makes it cost more; a request of weight ``w`` needs ``w`` passes.
    """

    def __init__(self, requests_per_minute: float) -> None:
        self._full_rate = requests_per_minute
        self._bucket = AsyncLimiter(1, MINUTE_S / requests_per_minute)
        self._paid = 0.0
        self._queue: list[_Waiter] = []
        self._numbers = count()
        self._driver: _Waiter | None = None
        self._passed: deque[float] = deque()
        self._blocked_until = 0.0
        self._slow_factor = 1.0
        self._slow_until = 0.0

    async def acquire(self, claim: Claim, weight: int = 1) -> None:
        """Wait for the turn of a request of ``weight``. A waiter that is cancelled leaves its turn to the next one."""
        waiter = _Waiter(claim, next(self._numbers), weight)
        insort(self._queue, waiter, key=_rank)
        arrived = False
        try:
            while waiter.left > 0:
                if self._driver is None:
                    self._driver = waiter
                if self._driver is waiter:
                    await self._next_pass()
                    self._serve()
                else:
                    await waiter.woken.wait()
                    waiter.woken.clear()
            arrived = True
        finally:
            self._leave(waiter, arrived)

    def block(self, delay_s: float) -> None:
        """Nobody passes for ``delay_s``; of overlapping blocks the one that ends later holds."""
        self._blocked_until = max(self._blocked_until, self._now() + delay_s)

    def slow_down(self, factor: float, for_s: float) -> None:
        """Pass ``factor`` times as slowly for ``for_s``; of overlapping ones the slower and the longer hold."""
        now = self._now()
        if now >= self._slow_until:
            self._slow_factor = 1.0
        self._slow_factor = max(self._slow_factor, factor)
        self._slow_until = max(self._slow_until, now + for_s)

    def set_rate(self, requests_per_minute: float) -> None:
        """Another rate from the next pass on (a reload); whoever waits keeps its place."""
        if requests_per_minute != self._full_rate:
            self._full_rate = requests_per_minute
            self._bucket = AsyncLimiter(1, MINUTE_S / requests_per_minute)
            self._paid = -1.0  # a new bucket would let one through at once, right behind the last of the old one

    @property
    def per_minute(self) -> float:
        """Requests a minute that pass now: the configured rate, less what a slow-down takes."""
        return self._full_rate / self._price

    @property
    def used_last_minute(self) -> int:
        """Passes of the last sixty seconds."""
        self._forget(self._now())
        return len(self._passed)

    @property
    def blocked_for_s(self) -> float:
        """Seconds until somebody may pass again; 0 where nothing blocks."""
        return max(0.0, self._blocked_until - self._now())

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def _price(self) -> float:
        return self._slow_factor if self._now() < self._slow_until else 1.0

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _next_pass(self) -> None:
        """Pay for one pass. What is paid stays with the budget, so a driver that is cancelled wastes nothing."""
        while (delay_s := self.blocked_for_s) > 0 or self._paid < self._price:
            if delay_s > 0:
                self._paid = min(self._paid, 0.0)  # the bucket fills up meanwhile: two would pass at once
                await asyncio.sleep(delay_s)
                continue
            bucket, part = self._bucket, min(1.0, self._price - self._paid)
            await bucket.acquire(part)
            if bucket is self._bucket:
                self._paid += part
        self._paid = 0.0

    def _serve(self) -> None:
        """One pass to whoever is first now: it may have come after the driver."""
        now = self._now()
        self._forget(now)
        self._passed.append(now)
        self._give(self._queue[0])

    def _give(self, waiter: _Waiter) -> None:
        waiter.left -= 1
        if waiter.left == 0:
            self._queue.remove(waiter)
            waiter.woken.set()

    def _leave(self, waiter: _Waiter, arrived: bool) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
        elif not arrived and self._queue:
            self._give(self._queue[0])  # served, but cancelled before it ran: the pass is the next one's
        if self._driver is waiter:
            self._driver = None
        if self._driver is None and self._queue:
            self._queue[0].woken.set()

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0] <= now - MINUTE_S:
            self._passed.popleft()


def _rank(waiter: _Waiter) -> tuple[int, int]:
    return waiter.rank
