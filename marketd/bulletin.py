"""What the daemon tells commands on the same host.

Owns two files in the run directory: a lock that is held while the daemon lives, and a bulletin that says which process
it is, how many reloads it has begun and what came of the last one. Refuses directories that other users may write.
"""

import contextlib
import fcntl
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from marketd.clock import at
from marketd.errors import ConfigError, PrivilegeError

log = logging.getLogger(__name__)

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
WAITING: Final = "waiting"
SERVICE_DIR: Final = Path("/run/marketd")
_LOCK: Final = "daemon.lock"
_PAGE: Final = "daemon.json"
_LONGEST: Final = 64 << 20  # bytes; a verdict names every job that has changed
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
    """The daemon's side: a context that holds the lock.

    ``problem`` says why nothing is posted, where that is so; the log says it once. A folder that was cleared away is
    made anew, unless another daemon was faster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem: str | None = None
        self._lock: int | None = None
        self._news: News | None = None
        self._yielded = False

    def __enter__(self) -> Self:
        with self._saying():
            self._hold()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._in_place():  # else the page is another daemon's
                (self.folder / _PAGE).unlink()
        self._let_go()

    @property
    def posting(self) -> bool:
        return self._lock is not None

    def post(self, news: News) -> None:
        """Replace the bulletin whole; readers see the old one or the new one."""
        self._news = news
        with self._saying():
            self._hold()
            if self.posting:
                draft = self.folder / f"{_PAGE}.new"
                draft.write_text(json.dumps(asdict(news)))
                draft.replace(self.folder / _PAGE)
                self.problem = None

    def tend(self) -> None:
        """Keep the files from whoever clears away what is old, and post anew what is gone all the same."""
        try:
            if self._lock is not None and self._in_place():
                os.utime(self._lock)
                os.utime(self.folder / _PAGE)
                return
        except OSError:
            pass  # what is wrong is said by the attempt to mend it
        if self._news is not None:
            self.post(self._news)

    def _hold(self) -> None:
        """Have the lock that readers find, which may be another one than at the start."""
        if self._yielded or self._in_place():
            return
        self._let_go()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _entered(self.folder) as place:
            if os.fstat(place).st_uid not in _trusted():
                raise _strange(self.folder)
            self._lock = self._taken(place)

    def _in_place(self) -> bool:
        """True where our lock is the one in the folder of today."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), (self.folder / _LOCK).lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _taken(self, place: int) -> int | None:
        """The lock in ``place``, which a reader may have for a moment to see whether anybody has it."""
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=place)
        for _ in range(_TRIES):
            if _locked(lock):
                return lock
            time.sleep(_TRY_EVERY_S)
        os.close(lock)
        self._yielded = True
        self._say(f"another daemon has {self.folder}: name another directory with MARKETD_RUN_DIR")
        return None

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _saying(self) -> Iterator[None]:
        """A daemon works all the same where it cannot post."""
        try:
            yield
        except (OSError, ConfigError, PrivilegeError) as error:
            self._say(str(error))

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("no bulletin", extra={"fields": {"reason": problem}})
        self.problem = problem


def read(folder: Path) -> News | None:
    """The bulletin of the daemon that lives in ``folder``; None where none does.

    ConfigError where others may write there. PrivilegeError where it is another user's: root believes it only about a
    process of that user, who may signal that one anyway.
    """
    try:
        with _entered(folder) as place:
            owner = os.fstat(place).st_uid
            if owner not in _trusted() and os.geteuid() != 0:
                raise _strange(folder)
            with _opened(_LOCK, os.O_RDWR, place) as lock:
                if _locked(lock):
                    return None
            with _opened(_PAGE, os.O_RDONLY, place) as page:
                news = _parsed(os.read(page, min(os.fstat(page).st_size, _LONGEST)), folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise _strange(folder) from error
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read safely: {error}") from error
    if owner not in _trusted() and owner != _user_of(news.pid):
        raise _strange(folder)
    return news


@contextlib.contextmanager
def _entered(folder: Path) -> Iterator[int]:
    """The folder, open: what is checked is what is used, whatever its name leads to a moment later."""
    if folder.lstat().st_uid not in _trusted() and folder.is_symlink():
        raise _strange(folder)
    with _opened(str(folder), os.O_RDONLY | os.O_DIRECTORY, None, follow=True) as place:
        if stat.S_IMODE(os.fstat(place).st_mode) & 0o022:
            raise ConfigError(f"{folder}: others may write there; name another directory with MARKETD_RUN_DIR")
        yield place


@contextlib.contextmanager
def _opened(name: str, flags: int, place: int | None, *, follow: bool = False) -> Iterator[int]:
    """A file in the directory ``place``; neither a link nor a pipe makes it another one, or wait."""
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    found = os.open(name, flags, dir_fd=place)
    try:
        yield found
    finally:
        os.close(found)


def _trusted() -> tuple[int, int]:
    return os.geteuid(), 0


def _strange(folder: Path) -> PrivilegeError:
    return PrivilegeError(f"{folder}: belongs to another user; run this as that user or as root")


def _user_of(pid: int) -> int | None:
    """The user that a process was started by, who may signal it; None where that is not known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parsed(text: bytes, folder: Path) -> News:
    try:
        page: dict[str, Any] = json.loads(text)
        last, pid = page["last"], page["pid"]
        if not isinstance(pid, int) or pid <= 0:  # to signal it would reach more than one process
            raise ValueError(pid)
        return News(pid, page["begun"], None if last is None else Verdict(**last))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / _PAGE}: no bulletin of this version; restart the daemon that wrote it") from error


def living(environ: Mapping[str, str]) -> Iterator[tuple[Path, News]]:
    """Every daemon that this environment may speak to; the first refusal comes out only after all of them."""
    refusals: list[ConfigError | PrivilegeError] = []
    for folder in folders(environ):
        try:
            news = read(folder)
        except (ConfigError, PrivilegeError) as error:  # whoever made that folder must not hide the others
            refusals.append(error)
            continue
        if news is not None:
            yield folder, news
    if refusals:
        raise refusals[0]
