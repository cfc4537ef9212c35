"""``python -m marketd.cli.sweeper FOLDER``: waits for the end of its standard input, then takes the folder away.

Owns what is left of ``marketd try`` when it is killed: the private PostgreSQL is stopped at once, since its data go.
Refuses every folder that is not one of its own.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "marketd-try-"
_PATIENCE_S: Final = 5.0


def main() -> int:
    folder = Path(sys.argv[1])
    if not folder.name.startswith(PREFIX):
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for file in list(folder.rglob("postmaster.pid")):
        _stop(int(file.read_text().partition("\n")[0]))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _stop(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
        ends = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
