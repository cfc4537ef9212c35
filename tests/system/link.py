"""A link between two network namespaces of this host that can be cut without either end being told.

Owns the far namespace and the pair of interfaces; the near end is this host's. Packets are lost because they are sent
to a card that nobody has, so nothing on the way answers them: what a pulled cable, a dead switch or a firewall that has
forgotten a connection look like. Needs root.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

NEAR, FAR, FAR_LATER = "10.213.7.1", "10.213.7.2", "10.213.7.3"
_NOBODY = "02:00:00:00:00:99"
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Link:
    """``name`` is that of the namespace and of the near interface."""

    name: str

    def cut(self) -> None:
        """From now on nothing arrives, in either direction."""
        self._near("neigh", "replace", FAR, "lladdr", _NOBODY, "dev", self.name, "nud", "permanent")
        self._far("neigh", "replace", NEAR, "lladdr", _NOBODY, "dev", "far", "nud", "permanent")

    def mend(self) -> None:
        self._near("neigh", "del", FAR, "dev", self.name)
        self._far("neigh", "del", NEAR, "dev", "far")

    def forget(self) -> None:
        """What is connected gets no answer any more; who connects from now on does."""
        self._near("neigh", "replace", FAR, "lladdr", _NOBODY, "dev", self.name, "nud", "permanent")
        self._far("address", "add", f"{FAR_LATER}/29", "dev", "far")
        self._far("route", "replace", "10.213.7.0/29", "dev", "far", "src", FAR_LATER)

    def from_afar(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, done at the far end, by a thread of its own."""

        def go_and_work() -> T:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(there, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {self.name}")
            finally:
                os.close(there)
            return work()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(go_and_work).result()

    def _near(self, *words: str) -> None:
        # Whoever calls this may be at the far end; this process as a whole is not.
        _run("nsenter", f"--net=/proc/{os.getpid()}/ns/net", "ip", *words)

    def _far(self, *words: str) -> None:
        _run("ip", "-netns", self.name, *words)


@contextmanager
def laid() -> Iterator[Link]:
    link = Link(f"mkt{os.getpid()}")
    _run("ip", "netns", "add", link.name)
    try:
        _run("ip", "link", "add", link.name, "type", "veth", "peer", "name", "far", "netns", link.name)
        _run("ip", "address", "add", f"{NEAR}/29", "dev", link.name)
        _run("ip", "link", "set", link.name, "up")
        _run("ip", "-netns", link.name, "address", "add", f"{FAR}/29", "dev", "far")
        _run("ip", "-netns", link.name, "link", "set", "far", "up")
        yield link
    finally:
        _run("ip", "link", "del", link.name)  # at once; with its namespace it would go some time later
        _run("ip", "netns", "del", link.name)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
