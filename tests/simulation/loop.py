"""Virtual time.

Owns an event loop in which nobody waits: where it would sleep until the next timer, its time leaps there. No sockets,
no threads, so that one seed makes one run. Time is counted from 0 in seconds; a host's clock adds what it believes.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION_S = 1e-6
"""Sums of floats may fall short of a timer by less than this."""


class Stuck(AssertionError):
    """Nothing is left that could ever happen."""


class VirtualSelector(selectors.BaseSelector):
    """Nothing ever arrives from outside. The leap is made here and not from the head of the loop's timers, which may
    be a cancelled one: what the loop asks to wait is right in every case.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is left that could happen")
        self.now_s += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self._virtual.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """At once, here: a thread would end whenever it likes."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (as an executor hands on whatever was raised)
            done.set_exception(error)
        return done


class HostClock:
    """What a host believes the time to be: ``epoch_ms`` at the loop's 0, and ``offset_ms`` of its own error."""

    def __init__(self, epoch_ms: int, offset_ms: int = 0) -> None:
        self._epoch_ms = epoch_ms
        self.offset_ms = offset_ms
        self._loop = asyncio.get_running_loop()

    def now_ms(self) -> int:
        return self._epoch_ms + round(self._loop.time() * 1000) + self.offset_ms

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
