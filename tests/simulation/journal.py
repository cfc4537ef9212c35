"""What happened, in order.

Owns the log of events and its digest: the same seed must write the same log, to the byte. Keeps only the last events;
what is wrong is kept whole.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

KEPT = 50


@dataclass
class Journal:
    """``now_ms`` is the true time, which no host knows."""

    now_ms: Callable[[], int] = lambda: 0
    events: Counter[str] = field(default_factory=Counter)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    violations: list[str] = field(default_factory=list)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def note(self, kind: str, *what: object) -> None:
        line = f"{self.now_ms()} {kind} {' '.join(map(str, what))}"
        self.events[kind] += 1
        self.last.append(line)
        self._hash.update(line.encode() + b"\n")

    def wrong(self, promise: str, *what: object) -> None:
        """A promise is broken."""
        self.note("violation", promise, *what)
        self.violations.append(self.last[-1])

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
