"""Being asked to stop.

Owns the signals of a command that works: the first one stops the run at its next page border, the second one at once.
Refuses to hear a hang-up that ``nohup`` has silenced.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Stopper:
    """``tell`` hears what the signal did; ``ask`` makes what is under way stop at its next page border.

    ``leaving`` says that the work has ended and a moment is needed to clear up, which no signal cuts short.
    """

    tell: Callable[[str], None]
    ask: Callable[[], None] | None = None
    asked: bool = False
    leaving: bool = False
    _task: "asyncio.Task[object] | None" = field(default=None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the signals while the block runs; what they end is the current task."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        heard = []
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, self.stop)
                    heard.append(number)
        except (ValueError, RuntimeError):  # not the main thread: nobody can signal us there
            pass
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        if self.leaving:
            self.tell("taking the order back; a moment")
        elif self.ask is not None and not self.asked:
            self.ask()
            self.tell("stopping at the next page border (once more stops at once)")
        elif self._task is not None:
            self._task.cancel()
        self.asked = True
