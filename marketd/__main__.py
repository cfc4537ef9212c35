"""``marketd``, and ``python -m marketd``: the process, before anything else is known of it."""

import signal
import sys

# A reload may be signalled before the daemon can hear it, and what is imported below takes a while.
_ON_HANGUP = signal.signal(signal.SIGHUP, signal.SIG_IGN)

from marketd.cli import main  # noqa: E402


def process() -> int:
    """One command, as a process of its own."""
    return main(on_hangup=_ON_HANGUP)


if __name__ == "__main__":
    sys.exit(process())
