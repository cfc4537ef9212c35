"""The user a private PostgreSQL runs as, and the leash it runs on.

Owns the choice of that user when we are root (PostgreSQL refuses root) and the steps a child takes between fork and
exec. Refuses to create users or to change directories that marketd did not make.
"""

import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from marketd.errors import ConfigError

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2  # or access(2) would ignore what is kept, which initdb relies on
CAP_DAC_OVERRIDE = 1
CAP_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """``uid`` and ``gid`` of the server; ``drop`` says that we are root and must become them.

    ``climb``: binaries or data lie below a directory that is closed to that user (a checkout in /root), so the one
    capability to pass it is kept.
    """

    uid: int
    gid: int
    drop: bool = False
    climb: bool = False
    parent: int = 0

    def own(self, directory: Path) -> None:
        """Hand a directory of our making to the server's user."""
        if self.drop:
            os.chown(directory, self.uid, self.gid)

    def assume(self) -> None:
        """In the child, before exec: become the user, then ask to be stopped when the parent ends.

        The order matters: changing identity clears the request.
        """
        if self.drop:
            if self.climb:
                _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
            os.setgroups([])
            os.setgid(self.gid)
            os.setuid(self.uid)
            if self.climb:
                _keep_dac_override()
        if sys.platform == "linux":
            _prctl(PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != self.parent:  # it ended before the request was made
                os._exit(1)


def server_identity(cluster: Path, passes: Iterable[Path]) -> Identity:
    """Who runs the server of ``cluster``: we, or, as root, the data's owner, else ``postgres``, else ``nobody``."""
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid(), parent=os.getpid())
    entry = _owner(cluster) or _user("postgres") or _user("nobody")
    if entry is None:
        raise ConfigError("PostgreSQL refuses to run as root, and no user `postgres` or `nobody` exists: create one")
    climb = not all(_may_pass(directory, entry) for path in passes for directory in (path, *path.parents))
    return Identity(entry.pw_uid, entry.pw_gid, drop=True, climb=climb, parent=os.getpid())


def _owner(cluster: Path) -> pwd.struct_passwd | None:
    """The data's owner, by name: PostgreSQL's programs refuse a uid without one."""
    try:
        uid = cluster.stat().st_uid
        return pwd.getpwuid(uid) if uid != 0 else None
    except (FileNotFoundError, KeyError):
        return None


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _may_pass(directory: Path, user: pwd.struct_passwd) -> bool:
    facts = directory.stat()
    if facts.st_uid == user.pw_uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == user.pw_gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _keep_dac_override() -> None:
    """Keep this one of root's capabilities, over exec too, and no other."""
    mask = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAP_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if _libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)
