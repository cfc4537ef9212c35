"""What the engine needs of the edges.

Owns the protocols by which engine and edges meet without knowing each other, and the records that pass between
them. The daemon and the commands introduce the real ones; tests may introduce others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from marketd.blocks import Change
from marketd.exchanges.facts import Reply, Request
from marketd.model import Answer, Claim, Drop, Gap, JobType, RunStatus, Series, Tally
from marketd.planner import Edges
from marketd.ranges import NOTHING, Ranges, Span


@dataclass(frozen=True, slots=True)
class Writing:
    """On whose account a page is written: the run, its counters so far, and the lease that must still hold."""

    epoch: int
    run_id: int
    tally: Tally
    settle_ms: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of a write: the change of the ledger, and the run's counters after it."""

    change: Change
    tally: Tally
    inserted: int = 0
    updated: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knows of a series.

    ``first`` is the first candle the exchange has, None while unknown; ``first_asked_ms`` when it was looked up;
    ``answered_start`` and ``answered_end`` the outer edges of its coverage; intervals below ``retired`` were taken away
    by retention; one that is ``followed`` is kept fresh by a continuous job; ``unsettled`` are such intervals of its
    newest blocks. The last two are known of a series that was asked for by itself.
    """

    derived_from: str | None = None
    first: int | None = None
    first_asked_ms: int | None = None
    answered_start: int | None = None
    answered_end: int | None = None
    retired: int | None = None
    followed: bool = False
    unsettled: Ranges = NOTHING


class Transport(Protocol):
    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply: ...


class Gate(Protocol):
    """The budget of an exchange."""

    @property
    def per_minute(self) -> float: ...

    @property
    def blocked_for_s(self) -> float:
        """Seconds until somebody may pass again; 0 where nothing blocks."""

    async def acquire(self, claim: Claim, weight: int = 1) -> None: ...

    def block(self, delay_s: float) -> None: ...

    def slow_down(self, factor: float, for_s: float) -> None: ...


class Pages(Protocol):
    """Writes of the engine; each is one transaction, fenced by the lease."""

    async def record(self, answer: Answer, writing: Writing, *, owe: Ranges, first: int | None) -> Stored: ...

    async def record_failure(
        self, series: Series, span: Ranges, writing: Writing, *, at_ms: int, error: str, owe: Ranges
    ) -> Stored: ...

    async def audit(self, series: Series, blocks: Sequence[int], writing: Writing, *, at_ms: int) -> Stored: ...

    async def doubt(self, series: Series, runs: Sequence[Ranges], writing: Writing, *, at_ms: int) -> Stored: ...

    async def narrow(self, series: Series, wanted: Ranges, writing: Writing, *, at_ms: int) -> Stored: ...

    async def rederive(self, series: Series, span: Ranges, writing: Writing, *, at_ms: int) -> Stored: ...


class SeriesReader(Protocol):
    """Reads of the engine, and the facts of a series."""

    async def know(self, series: Series, derived_from: str | None) -> None: ...

    async def facts(self, series: Series) -> Facts | None: ...

    async def known(self, exchange: str) -> Mapping[Series, Facts]: ...

    async def unfinished(self, wanted: Sequence[tuple[Series, int, int]]) -> frozenset[int]: ...

    async def note_first(self, series: Series, first: int | None, at_ms: int) -> None: ...

    async def answered(self, series: Series, span: Span) -> Ranges: ...

    async def open_gaps(self, series: Series, span: Span | None = None) -> tuple[Gap, ...]: ...

    async def edges(self, series: Series, span: Span) -> Edges: ...

    async def empties(self, series: Series, span: Span) -> Mapping[int, int]: ...

    async def due_looks(self, series: Series, now_ms: int) -> Sequence[Span]: ...

    async def audit_plan(self, series: Series, most: int | None, before_ms: int | None) -> Sequence[int]: ...

    async def disagreeing(self, series: Series, blocks: Sequence[int], at_ms: int) -> Sequence[int]: ...

    async def empty_runs(self, series: Series, span: Span, least: int) -> Sequence[Span]: ...

    async def silences(self, series: Series, span: Span, least: int) -> Mapping[str, Sequence[Span]]: ...

    async def settled_suspects(self, series: Series, span: Span) -> Ranges: ...


class Events:
    """What is worth counting. As it stands nobody counts, which suits commands; metrics override it."""

    def request_done(self, exchange: str, outcome: str, duration_s: float) -> None: ...

    def gate_waited(self, exchange: str, claim: Claim, wait_s: float) -> None: ...

    def page_stored(
        self, series: Series, inserted: int, updated: int, revised: int, empties: int, drops: Mapping[Drop, int],
        duration_s: float,
    ) -> None: ...  # fmt: skip

    def page_refused(self, exchange: str, reason: Drop, rows: int) -> None: ...

    def month_read(self, exchange: str, outcome: str) -> None: ...

    def gaps_changed(self, series: Series, opened: int, closed: int) -> None: ...

    def run_finished(self, job_type: JobType, status: RunStatus, duration_s: float) -> None: ...

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None: ...

    def circuit(self, exchange: str, is_open: bool) -> None: ...

    def markets_rest(self, exchange: str, counts: Mapping[str, int]) -> None: ...

    def store_failed(self, kind: str) -> None: ...

    def answered_until(self, series: Series, at_ms: int) -> None: ...

    def tick(self, exchange: str, at_ms: int) -> None: ...

    def turned(self, exchange: str, duration_s: float) -> None: ...

    def lease(self, exchange: str, held: bool) -> None: ...


class Progress:
    """Who watches a run: told after every page. As it stands nobody watches."""

    def began(self, series: Series, intervals: int, requests: int) -> None: ...

    def advanced(self, series: Series, left: int, tally: Tally) -> None: ...

    def ended(self, series: Series, tally: Tally) -> None: ...
