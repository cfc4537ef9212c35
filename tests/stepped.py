"""``python -m tests.stepped``: marketd as a process whose clock is told by a file, which may be rewritten meanwhile.

What a program waits by (the monotonic clock) is the host's own: it stands still where a host sleeps, as it does here.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from marketd.cli.app import App
from marketd.cli.root import root

FILE = "STEPPED_CLOCK"  # the variable of the environment that names the file


@dataclass(frozen=True, slots=True)
class SteppedClock:
    """It was ``now_ms`` at ``host_ms`` of the host's clock, and runs ``speed`` times as fast, says ``file``."""

    file: Path

    def set(self, now_ms: int, speed: float = 1.0) -> None:
        """It is ``now_ms`` from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"now_ms": now_ms, "host_ms": _host_ms(), "speed": speed}))
        fresh.replace(self.file)

    def now_ms(self) -> int:
        told = json.loads(self.file.read_text())
        return int(told["now_ms"] + (_host_ms() - told["host_ms"]) * told["speed"])

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s / json.loads(self.file.read_text())["speed"])


def _host_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> int:
    app = App(clock=SteppedClock(Path(os.environ[FILE])))
    code = root.main(args=sys.argv[1:], prog_name="marketd", standalone_mode=False, obj=app)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
