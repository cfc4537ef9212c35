"""An event loop that counts its turns.

Owns asyncio's loop with a counter and a time that may run faster, and the look at what a main task leaves behind.
Refuses to know what happens at a turn: it is told by ``at_turn``. uvloop has no turns that could be counted.
"""

import asyncio
import selectors
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Turns:
    """The turns of all loops of a process; ``at_turn`` is called before each, with the loop and its number."""

    at_turn: Callable[["TurningLoop", int], None] = lambda loop, number: None
    count: int = 0
    left: list[str] = field(default_factory=list)
    """Tasks and connections that were there when a main task had ended."""

    def loop(self, hurry: float) -> "TurningLoop":
        return TurningLoop(self, hurry)


class _HurriedSelector(selectors.DefaultSelector):
    def __init__(self, hurry: float) -> None:
        super().__init__()
        self._hurry = hurry

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / self._hurry)


class TurningLoop(asyncio.SelectorEventLoop):
    """Its time runs ``hurry`` times as fast as the host's, so that waits are shorter; ``main`` is the first task."""

    main: "asyncio.Task[Any] | None" = None

    def __init__(self, turns: Turns, hurry: float) -> None:
        self._turns = turns
        self._hurry = hurry
        self._waits_on = _HurriedSelector(hurry)
        super().__init__(self._waits_on)
        self._own = frozenset(self._waits_on.get_map())

    def time(self) -> float:
        return super().time() * self._hurry

    def _run_once(self) -> None:
        self._turns.count += 1
        self._turns.at_turn(self, self._turns.count)
        super()._run_once()  # type: ignore[misc]  # what makes a turn has no public name

    def run_until_complete(self, future: Any) -> Any:
        first = self.main is None
        if first and isinstance(future, asyncio.Task):
            self.main = future
        try:
            return super().run_until_complete(future)
        finally:
            if first:
                self._turns.left += self._left_behind()

    def _left_behind(self) -> Sequence[str]:
        tasks = [f"task {task.get_coro()}" for task in asyncio.all_tasks(self)]
        watched = [key.fileobj for fd, key in self._waits_on.get_map().items() if fd not in self._own]
        return [*tasks, *(f"connection {one}" for one in watched)]
