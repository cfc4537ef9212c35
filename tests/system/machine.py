"""A booted Debian to test in: systemd as process 1 of a container, reached through its namespaces.

Owns the container's life: nothing of it is written to disk, it has no network but its own loopback, and it ends with
this process, however that ends. Needs root. Refuses to know anything about marketd.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BOOT_S = 60.0
PREFIX = "marketd-test-"  # of machines and their control groups; then a name and the number of this process
PROGRAMS = ("systemd-nspawn", "nsenter", "unshare", "setpriv", "ip", "mmdebstrap", "lintian")


def missing() -> str | None:
    """What this host lacks to boot a machine; None if nothing."""
    if os.geteuid() != 0:
        return "root"
    return next((name for name in PROGRAMS if shutil.which(name) is None), None)


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Machine:
    """A running container; ``pid`` is its process 1 as this host numbers it."""

    pid: int

    def __call__(self, *words: str, stdin: str = "", timeout_s: float = 60) -> Said:
        """Run a command in it as root, whatever comes of it."""
        done = subprocess.run(
            [*self._enter(), *words], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def do(self, *words: str, stdin: str = "", timeout_s: float = 60) -> str:
        """Run a command that has to succeed; returns what it printed."""
        said = self(*words, stdin=stdin, timeout_s=timeout_s)
        assert said.code == 0, f"{' '.join(words)}: {said.code}\n{said.out}{said.err}"
        return said.out.strip()

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.do("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def properties(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in the order of ``names``."""
        out = self.do("systemctl", "show", unit, *(f"--property={name}" for name in names))
        found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        return [found.get(name, "") for name in names]

    def journal(self, unit: str, *words: str) -> str:
        self("journalctl", "--sync")
        return self("journalctl", "--no-pager", "--quiet", f"--unit={unit}", "--output=short-precise", *words).out

    def _enter(self) -> list[str]:
        return [
            "nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            "env", "-i", "--chdir=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive",
        ]  # fmt: skip


def eventually(look: Callable[[], T | None], within_s: float, what: str = "") -> T:
    """Wait until ``look`` finds something true; nothing in a container can be awaited."""
    end_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end_s, f"not within {within_s} s: {what or look}"
        time.sleep(0.05)
    return found


@contextmanager
def booted(rootfs: Path, name: str, packages: Path) -> Iterator[Machine]:
    """Boot ``rootfs``, which is not written to; the machine sees the folder ``packages`` as ``/packages``."""
    group = f"{PREFIX}{name}-{os.getpid()}"
    nspawn = [
        "systemd-nspawn", "--quiet", f"--directory={rootfs}", "--volatile=overlay", "--private-network",
        "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        f"--machine={group}", f"--hostname={name}", "--console=pipe", "--boot", f"--bind-ro={packages}:/packages",
    ]  # fmt: skip
    # The first command dies with this process, takes the process namespace with it, and so the whole machine.
    leash = ["setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    folders = [root / group for root in _cgroup_roots()]
    for folder in folders:
        _sweep(folder.parent)
        folder.mkdir()
    join = "".join(f"echo $$ >{folder}/cgroup.procs; " for folder in folders)
    process = subprocess.Popen(
        ["sh", "-c", join + 'exec "$@"', "sh", *leash, *nspawn],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        machine = Machine(eventually(lambda: _first_process(process), BOOT_S, "process 1"))
        eventually(lambda: machine("systemctl", "is-system-running").out.strip() == "running", BOOT_S, "the boot")
        yield machine
    finally:
        for child in _children(process.pid):  # its parent reaps it and ends
            os.kill(child, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.communicate()
        for folder in folders:
            eventually(lambda folder=folder: _emptied(folder), 10, f"the end of {folder}")  # type: ignore[misc]
        _forget(group)


def _first_process(outer: subprocess.Popen[bytes]) -> int | None:
    """``outer`` starts nspawn as its child, whose child becomes process 1 of the machine."""
    assert outer.poll() is None, (outer.communicate()[0] or b"").decode()
    pid = outer.pid
    for _ in range(2):
        children = _children(pid)
        if not children:
            return None
        pid = children[0]
    return pid if Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == "systemd" else None


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def _cgroup_roots() -> list[Path]:
    """Where systemd keeps its groups: the unified hierarchy, and beside it its own of the older kind."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return [
        Path(where) for _, where, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(","))
    ]  # fmt: skip


def _sweep(root: Path) -> None:
    """Take away what a machine left that ended with a killed process."""
    for folder in root.glob(f"{PREFIX}*"):
        if not Path("/proc", folder.name.rpartition("-")[2]).exists():
            _emptied(folder)
            _forget(folder.name)


def _forget(group: str) -> None:
    """What nspawn keeps on this host of a machine, an empty folder."""
    shutil.rmtree(f"/run/systemd/nspawn/propagate/{group}", ignore_errors=True)


def _emptied(folder: Path) -> bool:
    """Take away a control group whose processes are gone, inner ones first."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
    return not folder.exists()


if __name__ == "__main__":
    if (lacking := missing()) is not None:
        sys.exit(f"a machine cannot be booted here for want of {lacking}")
