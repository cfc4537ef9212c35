"""What came of many runs.

Owns the words and the JSON of the report, and the one digest over all of them.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.run import Result


@dataclass(frozen=True)
class Report:
    seed: int
    results: Sequence[Result]
    wall_s: float

    @property
    def violations(self) -> list[str]:
        return [line for result in self.results for line in result.violations]

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(result.digest for result in self.results).encode()).hexdigest()

    def shape(self) -> dict[str, Any]:
        events: Counter[str] = sum((result.events for result in self.results), Counter())
        troubles: Counter[str] = sum((result.troubles for result in self.results), Counter())
        liveness = [seconds for result in self.results for seconds in result.liveness_s]
        return {
            "seed": self.seed,
            "worlds": len(self.results),
            "exchanges": len({result.plan.exchange for result in self.results}),
            "days": round(sum(result.days for result in self.results), 1),
            "series": max((result.plan.series for result in self.results), default=0),
            "requests": sum(result.requests for result in self.results),
            "pages": sum(result.pages for result in self.results),
            "runs": events["begin"],
            "takeovers": events["lease"],
            "intervals_compared": sum(result.held for result in self.results),
            "troubles": dict(sorted(troubles.items())),
            "storms": len(liveness),
            "liveness_worst_s": round(max(liveness, default=0.0)),
            "liveness_bound_s": round(max((result.bound_s for result in self.results), default=0.0)),
            "lateness_worst_s": max((result.lateness_s for result in self.results), default=0.0),
            "violations": len(self.violations),
            "wall_s": round(self.wall_s, 1),
            "events_sha256": self.digest,
        }

    def lines(self) -> list[str]:
        """For people: what was done, what was wrong, and how to see it again."""
        shape = self.shape()
        troubles = shape.pop("troubles")
        said = [f"{name.replace('_', ' '):20}{value}" for name, value in shape.items()]
        said.append("troubles            " + " ".join(f"{name}={count}" for name, count in troubles.items()))
        for result in self.results:
            if result.violations:
                said += ["", *result.violations[:10], "", "the last events:", *result.last]
                said += ["", "again: " + again(result)]
        return said


def again(result: Result) -> str:
    """The command that replays one run."""
    plan = result.plan
    return f"make simulate EXCHANGE={plan.exchange} WORLD={plan.seed} DAYS={plan.days:g} SERIES={plan.series}"
