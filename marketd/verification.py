"""Holding the promises: all of them against everything, or against as much as fits into a given time.

Owns the order in which pieces are looked at, the choice of a sample, and the adding up of what is found. Refuses to
know a statement (see ``store.oracle``) and to show anything.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from marketd.figures import Totals, Verification
from marketd.store.oracle import STATE, Found, Oracle, Piece, is_violation
from marketd.store.queries import Query

FULL: Final = "full"
SAMPLE: Final = "sample"
SAMPLE_S: Final = 5.0

Seen = Callable[[Piece, int, int], None]
"""Told before each piece: the piece, how many were looked at, and of how many."""


@dataclass(frozen=True, slots=True)
class Which:
    """Whose rows are looked for; rows that name no series concern everybody."""

    exchange: str | None = None
    symbol: str | None = None
    timeframe: str | None = None

    def concerns(self, row: Mapping[str, Any]) -> bool:
        wanted = (("exchange", self.exchange), ("symbol", self.symbol), ("timeframe", self.timeframe))
        return all(value is None or row.get(key) is None or row[key] == value for key, value in wanted)


EVERYTHING: Final = Which()


@dataclass(frozen=True, slots=True)
class Sampling:
    """Pieces by chance, the same ones for the same ``seed``, for as long as ``seconds`` last."""

    seed: int
    seconds: float = SAMPLE_S


@dataclass(frozen=True, slots=True)
class Finding:
    """What one statement found: the first ``rows`` and how many there are in all."""

    query: Query
    rows: tuple[Mapping[str, Any], ...]
    total: int

    @property
    def violation(self) -> bool:
        return is_violation(self.query.name)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, over how much, in how many seconds."""

    findings: tuple[Finding, ...]
    totals: Totals
    pieces: int
    pieces_known: int
    began_ms: int
    seconds: float
    sampling: Sampling | None = None

    @property
    def kind(self) -> str:
        return FULL if self.sampling is None else SAMPLE

    @property
    def violations(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.violation)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.violation)

    @property
    def summary(self) -> Verification:
        """What is kept of it."""
        return Verification(
            self.began_ms, self.began_ms + round(self.seconds * 1000), self.kind, self.pieces, self.pieces_known,
            {finding.query.name: finding.total for finding in self.violations},
        )  # fmt: skip


@dataclass(slots=True)
class _Tally:
    """What has been found so far; of each finding the first ``most`` rows are kept."""

    which: Which
    most: int
    pieces: int = 0
    queries: dict[str, Query] = field(default_factory=dict)
    rows: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)

    def add(self, found: Sequence[Found]) -> None:
        self.pieces += 1
        for each in found:
            name = each.query.name
            rows = [row for row in each.rows if self.which.concerns(row)]
            if rows:
                self.queries[name] = each.query
                kept = self.rows.setdefault(name, [])
                kept += rows[: max(0, self.most - len(kept))]
                self.totals[name] = self.totals.get(name, 0) + len(rows)

    def findings(self) -> Iterator[Finding]:
        for name in sorted(self.queries):
            yield Finding(self.queries[name], tuple(self.rows[name]), self.totals[name])


def _unseen(piece: Piece, done: int, known: int) -> None:
    pass


async def hold(
    oracle: Oracle, now_ms: int, *, which: Which = EVERYTHING, sampling: Sampling | None = None, most: int = 20,
    seen: Seen = _unseen,
) -> Verdict:  # fmt: skip
    """Hold the promises against all that concerns ``which``, or a sample of it; ``now_ms`` is the host's time."""
    began_s = _now_s()
    pieces = [piece for piece in await oracle.pieces() if which.concerns(piece.where)]
    if sampling is not None:
        pieces = _shuffled(pieces, sampling.seed)
    tally = _Tally(which, most)
    longest_s = 0.0
    for number, piece in enumerate(pieces):
        looked_s = _now_s()
        if sampling is not None and piece.kind != STATE and looked_s - began_s + longest_s >= sampling.seconds:
            break  # another one might not end in time
        seen(piece, number, len(pieces))
        tally.add(await oracle.look(piece))
        longest_s = max(longest_s, _now_s() - looked_s)
    totals = await oracle.totals()
    return Verdict(tuple(tally.findings()), totals, tally.pieces, len(pieces), now_ms, _now_s() - began_s, sampling)


def _shuffled(pieces: Sequence[Piece], seed: int) -> list[Piece]:
    """By chance, but what is said of everything first."""
    order = random.Random(seed)  # noqa: S311  (which ones is no secret)
    return sorted(pieces, key=lambda piece: (piece.kind != STATE, order.random()))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
