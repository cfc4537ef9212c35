"""What a process takes, sample by sample, and whether that grows.

Owns the figures of ``/proc`` and their comparison. Growth is told from the second tenth of the time, when all that is
kept for good is there, to the last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

MOST_GROWTH = 0.05
"""Of memory; files and tasks come and go by a few, and may not have become more by more than these:"""
SPARE = 8
_TENTHS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    memory_mb: float
    files: int
    threads: int
    tasks: int


def taken(pid: int, at_s: float, tasks: int) -> Sample:
    """What process ``pid`` takes right now; ``tasks`` is what it says itself."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    memory_mb = int(status["VmRSS"].split()[0]) / 1000
    return Sample(at_s, memory_mb, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]), tasks)


@dataclass
class Meter:
    samples: list[Sample] = field(default_factory=list)

    def tenth(self, number: int) -> Sequence[Sample]:
        size = len(self.samples)
        return self.samples[size * number // _TENTHS : size * (number + 1) // _TENTHS]

    def ends(self, of: Callable[[Sample], float]) -> tuple[float, float]:
        """The middle value of the second tenth and of the last."""
        early, late = median(map(of, self.tenth(1))), median(map(of, self.tenth(_TENTHS - 1)))
        return early, late

    def growths(self) -> Sequence[str]:
        """What has grown more than it may."""
        if len(self.samples) < 2 * _TENTHS:
            return ("too few samples to tell growth",)
        early, late = self.ends(lambda sample: sample.memory_mb)
        found = [f"memory grew from {early:.1f} to {late:.1f} MB"] if late > early * (1 + MOST_GROWTH) else []
        for name, of in (("files", _files), ("threads", _threads), ("tasks", _tasks)):
            early, late = self.ends(of)
            found += [f"{name} grew from {early:g} to {late:g}"] if late > early + SPARE else []
        return found


def _files(sample: Sample) -> float:
    return sample.files


def _threads(sample: Sample) -> float:
    return sample.threads


def _tasks(sample: Sample) -> float:
    return sample.tasks
