"""Watching a run: bars in a terminal, plain lines elsewhere.

Owns what is said to standard error while pages come in. A plain line appears at most every few seconds, and once a
series at its end. Refuses to decide anything: it is told after every page.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from marketd import ports, words
from marketd.cli.output import talk
from marketd.meter import Meter, Reading
from marketd.model import Series, Tally

LINE_EVERY_S = 3.0


@contextmanager
def watching(*, terminal: bool | None = None) -> Iterator[ports.Progress]:
    """Bars where standard error is a terminal, lines elsewhere."""
    if not (sys.stderr.isatty() if terminal is None else terminal):
        yield Lines()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[said]}", style="dim"),
        console=Console(stderr=True),
        expand=True,
    ) as drawn:
        yield Bars(drawn)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def told(reading: Reading) -> str:
    """Rate, time and requests left, in words."""
    parts = [f"{words.count(round(reading.rate))} candles/s"]
    if reading.share < 1:
        parts.append(f"{words.duration(reading.left_s)} left")
        parts.append(f"{words.plural(reading.requests_left, 'request')} at most")
    return ", ".join(parts)


def summed(tally: Tally) -> str:
    parts = [words.plural(tally.requests, "request"), f"{words.count(tally.inserted)} stored"]
    parts += [f"{words.count(tally.derived)} built"] if tally.derived else []
    parts += [f"{words.count(tally.updated)} updated"] if tally.updated else []
    parts += [f"{words.count(tally.empties)} empty"] if tally.empties else []
    parts += [f"{words.plural(tally.gaps_opened, 'gap')} opened"] if tally.gaps_opened else []
    parts += [f"{words.plural(tally.gaps_closed, 'gap')} closed"] if tally.gaps_closed else []
    return ", ".join(parts)


@dataclass(slots=True)
class Bars(ports.Progress):
    """One bar a series."""

    drawn: Progress
    _meters: dict[Series, tuple[Meter, TaskID]] = field(default_factory=dict)

    def began(self, series: Series, intervals: int, requests: int) -> None:
        meter = Meter(series, intervals, requests, _now_s())
        if series in self._meters:
            self._meters[series] = (meter, self._meters[series][1])
        else:
            self._meters[series] = (meter, self.drawn.add_task(str(series), total=1.0, said=""))

    def advanced(self, series: Series, left: int, tally: Tally) -> None:
        if series in self._meters:
            meter, task = self._meters[series]
            reading = meter.read(left, tally, _now_s())
            self.drawn.update(task, completed=reading.share, said=told(reading))

    def ended(self, series: Series, tally: Tally) -> None:
        if series in self._meters:
            _, task = self._meters.pop(series)
            self.drawn.update(task, said=summed(tally))
            self.drawn.stop_task(task)


@dataclass(slots=True)
class Lines(ports.Progress):
    """A line now and then."""

    _meters: dict[Series, Meter] = field(default_factory=dict)
    _said_s: float = 0.0

    def began(self, series: Series, intervals: int, requests: int) -> None:
        now_s = self._said_s = _now_s()
        self._meters[series] = Meter(series, intervals, requests, now_s)

    def advanced(self, series: Series, left: int, tally: Tally) -> None:
        if series not in self._meters:
            return
        now_s = _now_s()
        reading = self._meters[series].read(left, tally, now_s)
        if now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            talk(f"{series}: {int(reading.share * 100)} %, {told(reading)}")

    def ended(self, series: Series, tally: Tally) -> None:
        self._meters.pop(series, None)
        talk(f"{series}: {summed(tally)}")
