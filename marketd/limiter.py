"""How fast one exchange may be asked.

Owns the budget of an exchange: one evenly spaced bucket behind a queue ordered by claim, then by arrival. What the
first claim does not use is free for the others. Where other programs ask the exchange too, each pass is a turn that is
shared with them. Refuses bursts, to let anybody pass while the exchange has asked for silence, and to start tasks:
whoever waits first drives the bucket for all.
"""

import asyncio
import logging
from bisect import insort
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Final, TypeAlias

from aiolimiter import AsyncLimiter

from marketd.errors import StoreError
from marketd.model import Claim

log = logging.getLogger(__name__)

MINUTE_S: Final = 60.0
TICK_S: Final = 1e-6
"""No wait is shorter: where a clock counts in microseconds, a rest of 1e-16 would be waited for without end."""

_ASK_AGAIN_S: Final = 10.0

Turn: TypeAlias = Callable[[], Awaitable[float | None]]


@dataclass(slots=True, eq=False)
class _Waiter:
    """``left`` passes are still needed; ``woken`` says: served, or yours to drive."""

    claim: Claim
    number: int
    left: int
    begun: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Who has begun to be served is first: overtaken, it would leave right after who overtook it."""
        return not self.begun, self.claim, self.number


class Budget:
    """Requests a minute, evenly spaced, in order of claim. Times are the running loop's, in seconds.

    A request of weight ``w`` needs ``w`` passes, each a spacing after the one before. ``turn`` takes a turn that is
    shared with other programs and says in how many seconds it is, None where that is not soon; while it fails,
    ``share`` of the rate is used.
    """

    def __init__(self, requests_per_minute: float, turn: Turn | None = None, share: float = 1.0) -> None:
        self._turn = turn
        self._share = share
        self._turn_at: float | None = None
        self._full_rate = requests_per_minute
        self._bucket = AsyncLimiter(1, MINUTE_S / requests_per_minute)
        self._queue: list[_Waiter] = []
        self._numbers = count()
        self._driver: _Waiter | None = None
        self._passed: deque[tuple[float, Claim]] = deque()
        self._last_pass = -inf
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
                    self._hold_if_blocked(waiter)
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
        self._full_rate = requests_per_minute
        self._bucket = AsyncLimiter(1, MINUTE_S / requests_per_minute)

    @property
    def per_minute(self) -> float:
        """Requests a minute that pass now: the configured rate, less what a slow-down takes."""
        return self._full_rate / (self._slow_factor if self._now() < self._slow_until else 1.0)

    @property
    def used_last_minute(self) -> int:
        """Passes of the last sixty seconds."""
        self._forget(self._now())
        return len(self._passed)

    @property
    def used_by_claim(self) -> Mapping[Claim, int]:
        """The same, by what the requests were for."""
        self._forget(self._now())
        return Counter(claim for _, claim in self._passed)

    @property
    def blocked_for_s(self) -> float:
        """Seconds until somebody may pass again; 0 where nothing blocks."""
        left_s = self._blocked_until - self._now()
        return left_s if left_s > TICK_S else 0.0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def _free_at(self) -> float:
        """When the bucket has room again; two ticks later, since its own sums may be off by less than one."""
        return self._last_pass + MINUTE_S / self.per_minute + 2 * TICK_S

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _next_pass(self) -> None:
        """Wait until one may pass. Of our own bucket nothing is taken before, and a turn that was taken is kept for the
        next one: a driver that is cancelled here wastes nothing.

        The sleep is ours, because price and blocks may change during it; the bucket has room when it ends.
        """
        while (delay_s := await self._delay_s()) > TICK_S:  # noqa: ASYNC110  (not polling)
            await asyncio.sleep(delay_s)
        await self._bucket.acquire()

    async def _delay_s(self) -> float:
        """How long to wait before looking again; a turn is taken when nothing else is left to wait for."""
        delay_s = max(self.blocked_for_s, self._free_at - self._now())
        if delay_s > TICK_S or self._turn is None:
            return delay_s
        if self._turn_at is None or self._now() > self._turn_at + MINUTE_S / self._full_rate:  # a block came between
            self._turn_at = await self._taken(self._turn)
        return _ASK_AGAIN_S if self._turn_at is None else self._turn_at - self._now()

    async def _taken(self, turn: Turn) -> float | None:
        """When it is our turn; None where that is too far away to be taken."""
        try:
            wait_s = await turn()
        except StoreError as error:
            log.warning("budget not shared", extra={"fields": {"reason": str(error), "once": "budget"}})
            return self._last_pass + MINUTE_S / (self.per_minute * self._share)
        return None if wait_s is None else self._now() + wait_s

    def _serve(self) -> None:
        """One pass to whoever is first now: it may have come after the driver."""
        now = self._now()
        self._forget(now)
        self._passed.append((now, self._queue[0].claim))
        self._last_pass = now
        self._turn_at = None
        self._give(self._queue[0])

    def _give(self, waiter: _Waiter) -> None:
        waiter.left -= 1
        waiter.begun = waiter.left > 0
        if waiter.left == 0:
            self._queue.remove(waiter)
            waiter.woken.set()

    def _hold_if_blocked(self, waiter: _Waiter) -> None:
        """A block may fall between the serving of a waiter and its running: then it goes back to its place."""
        if waiter.left == 0 and self.blocked_for_s > 0:
            waiter.left = 1
            insort(self._queue, waiter, key=_rank)

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
        while self._passed and self._passed[0][0] <= now - MINUTE_S:
            self._passed.popleft()


def _rank(waiter: _Waiter) -> tuple[bool, int, int]:
    return waiter.rank
