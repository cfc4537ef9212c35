"""What happened, in order.

Owns the log of events and its digest: the same seed must write the same log, to the byte. Keeps only the last events;
what is wrong is kept whole.
"""

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

KEPT = 50


class Listener(logging.Handler):
    """Hears what the engine logs: an error that nobody expected breaks a promise, all else is as it is."""

    def __init__(self, journal: "Journal") -> None:
        super().__init__(logging.ERROR)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            self._journal.wrong("unexpected", record.getMessage(), repr(record.exc_info[1]))


@contextmanager
def listening(journal: "Journal") -> Iterator[None]:
    """The engine's log goes to the journal and nowhere else."""
    listener = Listener(journal)
    loggers = [logging.getLogger(name) for name in ("marketd", "stamina")]
    kept = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, kept, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)
            logger.propagate = propagate


@dataclass
class Journal:
    """``now_ms`` is the true time, which no host knows."""

    now_ms: Callable[[], int] = lambda: 0
    events: Counter[str] = field(default_factory=Counter)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    troubles: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def note(self, kind: str, *what: object) -> None:
        line = f"{self.now_ms()} {kind} {' '.join(map(str, what))}"
        self.events[kind] += 1
        self.last.append(line)
        self._hash.update(line.encode() + b"\n")

    def trouble(self, kind: str, *what: object) -> None:
        """Something goes wrong on purpose."""
        self.troubles[kind] += 1
        self.note("trouble", kind, *what)

    def wrong(self, promise: str, *what: object) -> None:
        """A promise is broken."""
        self.note("violation", promise, *what)
        self.violations.append(self.last[-1])

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
