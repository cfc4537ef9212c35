"""What is being fetched right now.

Owns how far the runs of this process are, series by series, for those who want to see it. Refuses to draw.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from marketd.meter import Meter, Reading
from marketd.model import Series, Tally
from marketd.ports import Progress


@dataclass(frozen=True, slots=True)
class Filling:
    """A series that a run works on: of at most ``requests`` that were planned, what is left says ``reading``."""

    requests: int
    reading: Reading


@dataclass(slots=True)
class Fillings(Progress):
    _meters: dict[Series, Meter] = field(default_factory=dict)
    _now: dict[Series, Filling] = field(default_factory=dict)

    @property
    def now(self) -> Mapping[Series, Filling]:
        return self._now

    def began(self, series: Series, intervals: int, requests: int) -> None:
        self._meters[series] = Meter(series, intervals, requests, asyncio.get_running_loop().time())
        self.advanced(series, intervals, Tally())

    def advanced(self, series: Series, left: int, tally: Tally) -> None:
        meter = self._meters.get(series)
        if meter is not None:
            reading = meter.read(left, tally, asyncio.get_running_loop().time())
            self._now[series] = Filling(meter.requests, reading)

    def ended(self, series: Series, tally: Tally) -> None:
        self._meters.pop(series, None)
        self._now.pop(series, None)
