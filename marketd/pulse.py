"""Whether everything that must turn does turn.

Owns when each of the daemon's loops was last seen alive, by a clock that nobody sets. Feeds both the supervisor and
``/livez``; refuses to act on what it knows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pulse:
    """``now`` gives seconds of a monotonic clock."""

    now: Callable[[], float]
    _seen: dict[str, float] = field(default_factory=dict)

    def beat(self, name: str) -> None:
        """The loop ``name`` turns; from the first beat on it must go on."""
        self._seen[name] = self.now()

    def rest(self, name: str) -> None:
        """The loop ``name`` has ended, or waits for something that may take any time."""
        self._seen.pop(name, None)

    def age_s(self) -> float:
        """How long ago the loop turned that has not for longest; 0 where none is expected to."""
        return self.now() - min(self._seen.values(), default=self.now())

    def stuck(self, longest_s: float) -> list[str]:
        """Names of the loops that have not turned for ``longest_s``."""
        now = self.now()
        return [name for name, seen in self._seen.items() if now - seen > longest_s]
