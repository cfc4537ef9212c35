"""What systemd is told: ready, reloading, stopping, alive.

Owns the datagrams of sd_notify(3). Does nothing where ``NOTIFY_SOCKET`` is not set; a message that cannot be sent is
logged and otherwise ignored, since a service must not die of its supervisor. Refuses to decide when to speak.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

from marketd.text import clean

log = logging.getLogger(__name__)

_SEND_S = 1.0


class Notifier:
    """Speaks to the supervisor that ``environ`` names."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte with which abstract sockets begin.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environ) if address else None
        """Within which time ``alive`` must be called again and again; None where nobody watches."""

    def ready(self, status: str = "running") -> None:
        """Started, or done with a reload."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Systemd pairs this with the next ``ready`` by the monotonic time of the message."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", _status("reloading"))

    def stopping(self) -> None:
        self._send("STOPPING=1", _status("stopping"))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(_status(text))

    def alive(self) -> None:
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_SEND_S)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("supervisor not told: %s", error)


def _status(text: str) -> str:
    return f"STATUS={clean(text)}"


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The time-out meant for this process; a child that inherited the environment is not meant."""
    period, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period.isdecimal() or int(period) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(period) / 1_000_000
