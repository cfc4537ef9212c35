"""What the daemon tells commands on the same host.

Owns two files in the run directory: a lock that is held while the daemon lives, and a bulletin that says which process
it is, how many reloads it has begun and what came of the last one. Refuses directories that other users may write.
"""

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from marketd.clock import at
from marketd.errors import ConfigError

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
WAITING: Final = "waiting"
SERVICE_DIR: Final = Path("/run/marketd")
_LOCK: Final = "daemon.lock"
_PAGE: Final = "daemon.json"
_TRIES: Final = 10
_TRY_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of reload ``number``: accepted, refused, or waiting for the database.

    ``reason`` says why it was not accepted; ``said`` is the difference in words, ``changes`` the same as lists of
    sentences.
    """

    number: int
    outcome: str
    at_ms: int
    reason: str | None = None
    said: str = ""
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def shape(self) -> dict[str, object]:
        return {
            "number": self.number, "outcome": self.outcome, "at": at(self.at_ms).isoformat(), "reason": self.reason,
            "changes": {kind: list(sentences) for kind, sentences in self.changes.items()},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class News:
    """``begun`` counts the reloads that have begun; ``last`` is the verdict on the newest one that has one."""

    pid: int
    begun: int = 0
    last: Verdict | None = None


def folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a daemon of this user, or the service, may have its run directory; a new one takes the first."""
    if environ.get("MARKETD_RUN_DIR"):
        return (Path(environ["MARKETD_RUN_DIR"]),)
    service = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if service:
        return (Path(service),)
    user = environ.get("XDG_RUNTIME_DIR")
    own = Path(user) / "marketd" if user else Path(tempfile.gettempdir()) / f"marketd-{os.getuid()}"
    return own, SERVICE_DIR


class Bulletin:
    """The daemon's side: a context that holds the lock. ``problem`` says why nothing is posted, where that is so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem: str | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_strangers(self.folder)
            self._lock = self._taken()
        except (OSError, ConfigError) as error:
            self.problem = str(error)
        return self

    def _taken(self) -> int | None:
        """The lock, which a reader may have for a moment to see whether anybody has it."""
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        for _ in range(_TRIES):
            if _locked(lock):
                return lock
            time.sleep(_TRY_EVERY_S)
        os.close(lock)
        self.problem = f"another daemon has {self.folder}: name another directory with MARKETD_RUN_DIR"
        return None

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / _PAGE).unlink()
            os.close(self._lock)
            self._lock = None

    @property
    def posting(self) -> bool:
        return self._lock is not None

    def post(self, news: News) -> None:
        """Replace the bulletin whole; readers see the old one or the new one."""
        if not self.posting:
            return
        draft = self.folder / f"{_PAGE}.new"
        draft.write_text(json.dumps(asdict(news)))
        draft.replace(self.folder / _PAGE)


def read(folder: Path) -> News | None:
    """The bulletin of the daemon that lives in ``folder``; None where none does."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ConfigError(f"{folder}: belongs to another user; run this as that user or as root") from error
    try:
        if _locked(lock):
            return None
        return _parsed((folder / _PAGE).read_text())
    except FileNotFoundError:
        return None
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parsed(text: str) -> News:
    page: dict[str, Any] = json.loads(text)
    last = page["last"]
    return News(page["pid"], page["begun"], None if last is None else Verdict(**last))


def _refuse_strangers(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0) or stat.S_IMODE(found.st_mode) & 0o022:
        raise ConfigError(f"{folder}: others may write there; name another directory with MARKETD_RUN_DIR")


def living(environ: Mapping[str, str]) -> Iterator[tuple[Path, News]]:
    """Every daemon that this environment may speak to."""
    for folder in folders(environ):
        news = read(folder)
        if news is not None:
            yield folder, news
