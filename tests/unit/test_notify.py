"""What a supervisor receives, over a real datagram socket."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket and the NOTIFY_SOCKET that leads to it."""
    shown = (
        str(tmp_path / "notify") if request.param == "path" else f"@marketd-test-{os.getpid()}-{time.monotonic_ns()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + shown[1:] if shown.startswith("@") else shown)
        sock.settimeout(5)
        yield sock, shown


def test_messages(supervisor: tuple[socket.socket, str]) -> None:
    sock, address = supervisor
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.watchdog_s == 4.0
    notifier.ready("12 jobs")
    assert sock.recv(4096) == b"READY=1\nSTATUS=12 jobs"
    notifier.status("two\nlines\x1b[31m")
    assert sock.recv(4096) == b"STATUS=two lines"
    notifier.alive()
    assert sock.recv(4096) == b"WATCHDOG=1"
    notifier.stopping()
    assert sock.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_a_reload_tells_the_monotonic_time_of_the_kernel(supervisor: tuple[socket.socket, str]) -> None:
    sock, address = supervisor
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": address}).reloading()
    found = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=reloading", sock.recv(4096))
    assert found is not None
    assert before_us <= int(found[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_watches(supervisor: tuple[socket.socket, str], environ: dict[str, str]) -> None:
    sock, address = supervisor
    notifier = Notifier({"NOTIFY_SOCKET": address, **environ})
    assert notifier.watchdog_s is None
    notifier.alive()
    notifier.status("still here")
    assert sock.recv(4096) == b"STATUS=still here"


def test_a_watchdog_without_a_pid_is_meant_for_us() -> None:
    assert Notifier({"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "1500000"}).watchdog_s == 1.5


def test_without_a_supervisor_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    notifier = Notifier({"WATCHDOG_USEC": "1500000"})
    notifier.ready()
    notifier.alive()
    assert notifier.watchdog_s is None


def test_a_supervisor_that_is_gone_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "supervisor not told" in caplog.text
