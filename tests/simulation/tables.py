"""The database as it would be: rows in memory.

Owns what the tables hold, and how a decided change is written into them. Decides nothing: what changes is said by
``marketd.ledger`` and checked by ``watch``.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from marketd.blocks import BLOCK, Block, Held, blocks_of
from marketd.model import Gap, RunStatus, Series, Tally
from marketd.ranges import NOTHING, Ranges, Span

Row = dict[str, Any]


@dataclass
class ClosedGap:
    gap: Gap
    owed: Ranges


@dataclass
class SeriesTable:
    """One series: its candles (interval -> line of text), its ledger and its gaps."""

    series: Series
    derived_from: str | None = None
    first: int | None = None
    first_asked_ms: int | None = None
    retired: int | None = None
    """Intervals below were taken away by retention, at ``retired_ms``."""

    retired_ms: int = 0

    candles: dict[int, bytes] = field(default_factory=dict)
    present: dict[int, Ranges] = field(default_factory=dict)
    blocks: dict[int, Block] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    audited: dict[int, int] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    owed: dict[int, Ranges] = field(default_factory=dict)
    closed: list[ClosedGap] = field(default_factory=list)
    revisions: int = 0
    numbers: list[int] = field(default_factory=list)
    """The blocks that have a row, ascending."""

    filled: list[int] = field(default_factory=list)
    """The blocks that have candles, ascending."""

    def held(self, span: Ranges, first: int | None) -> Held:
        touched = blocks_of(span)
        blocks = {number: self.blocks[number] for number in self.between(touched)}
        return Held(blocks=blocks, gaps=self.open_gaps(span), first=first, retired=self.retired)

    def between(self, touched: range) -> list[int]:
        if not touched:
            return []
        return self.numbers[bisect_left(self.numbers, touched.start) : bisect_left(self.numbers, touched.stop)]

    def open_gaps(self, span: Ranges | None = None) -> tuple[Gap, ...]:
        found = [gap for gap in self.gaps.values() if span is None or gap.missing & span]
        return tuple(sorted(found, key=lambda gap: (gap.missing.start, gap.id)))

    def rows_within(self, span: Ranges) -> Ranges:
        """The intervals of ``span`` that have a candle row."""
        found = NOTHING
        for number in blocks_of(span):
            found = found | self.present.get(number, NOTHING)
        return found & span

    def edges(self, span: Span) -> tuple[int | None, int | None]:
        """The nearest candles below ``span`` and at or above its end; none that is about to be taken away."""
        below = self._below(span[0] - 1)
        gone = below is not None and self.retired is not None and below < self.retired
        return None if gone else below, self._above(span[1])

    def _below(self, number: int) -> int | None:
        for block in reversed(self.filled[: bisect_right(self.filled, number // BLOCK)]):
            found = self.present[block].at_or_before(number)
            if found is not None:
                return found
        return None

    def _above(self, number: int) -> int | None:
        for block in self.filled[bisect_left(self.filled, number // BLOCK) :]:
            found = self.present[block].at_or_after(number)
            if found is not None:
                return found
        return None

    def put(self, lines: dict[int, bytes]) -> None:
        """Insert or replace candles."""
        self.candles |= lines
        added = Ranges.from_numbers(sorted(lines))
        for block in blocks_of(added):
            here = added & Ranges.of((block * BLOCK, (block + 1) * BLOCK))
            if not here:
                continue
            if block not in self.present:
                insort(self.filled, block)
            self.present[block] = self.present.get(block, NOTHING) | here

    def write(self, block: Block) -> None:
        if block.number not in self.blocks:
            insort(self.numbers, block.number)
        self.blocks[block.number] = block
        self.stored[block.number] = block.stored.size

    def retire(self, kept: int, at_ms: int) -> None:
        """Nothing is known any more of the blocks below ``kept``, which is the border of one."""
        self.retired, self.retired_ms = kept, at_ms
        for number in self.between(range(-(2**31), kept // BLOCK)):
            self.numbers.remove(number)
            del self.blocks[number], self.stored[number]
            self.audited.pop(number, None)

    def sweep(self) -> None:
        """Take the candles of what is retired away."""
        kept = -(2**31) if self.retired is None else self.retired
        self.candles = {number: line for number, line in self.candles.items() if number >= kept}
        self.filled = [block for block in self.filled if block >= kept // BLOCK]
        self.present = {block: self.present[block] for block in self.filled}

    def write_gap(self, gap: Gap, number: int) -> Ranges:
        """A gap of a change, with the ``number`` of a new one; all that it was opened for."""
        known = number if gap.id is None else gap.id
        owed = (self.owed.get(known, NOTHING) | gap.missing) - gap.unwanted
        if gap.open:
            self.owed[known] = owed
            self.gaps[known] = replace(gap, id=known, unwanted=NOTHING)
        else:
            self.gaps.pop(known)
            self.owed.pop(known)
            self.closed.append(ClosedGap(gap, owed))
        return owed

    def answered_edges(self) -> tuple[int | None, int | None]:
        first = next((b.answered.start for n in self.numbers if (b := self.blocks[n]).answered), None)
        last = next((b.answered.end for n in reversed(self.numbers) if (b := self.blocks[n]).answered), None)
        return first, last


@dataclass
class Run:
    id: int
    job_id: int
    scheduled_ms: int
    epoch: int
    status: RunStatus
    started_ms: int
    tally: Tally = field(default_factory=Tally)
    error: str | None = None
    ended_ms: int | None = None


@dataclass
class LeaseRow:
    holder: str
    epoch: int
    expires_ms: int
    blocked_until_ms: int = 0


@dataclass
class Tables:
    series: dict[Series, SeriesTable] = field(default_factory=dict)
    jobs: dict[int, Row] = field(default_factory=dict)
    jobs_version: int = 0
    runs: dict[int, Run] = field(default_factory=dict)
    slots: dict[int, dict[int, int]] = field(default_factory=dict)
    """Job -> scheduled time -> run."""

    running: dict[int, int] = field(default_factory=dict)
    """Job -> its running run."""

    lease: LeaseRow | None = None
    gap_ids: int = 0

    def of(self, series: Series) -> SeriesTable:
        return self.series.setdefault(series, SeriesTable(series))

    def known(self, exchange: str) -> Iterator[SeriesTable]:
        return (table for series, table in sorted(self.series.items()) if series.exchange == exchange)

    def add_job(self, created: datetime, **row: Any) -> int:
        number = len(self.jobs) + 1
        self.jobs[number] = {
            "id": number, "exchange": "bitfinex", "symbol": None, "timeframe": None, "schedule": None, "enabled": True,
            "start_time": None, "end_time": None, "status": None, "last_error": None, "created_at": created,
            "origin": "sql", "owner": None, "catch_up": "one", "timeout_s": None, "freshness_s": None,
            "jitter_s": None, "paused_until": None, "caused_by": None, "refetch": False, "oldest_first": False,
            "most_gaps": None,
        } | row  # fmt: skip
        self.jobs_version += 1
        return number

    def change_job(self, number: int, **row: Any) -> None:
        self.jobs[number] |= row
        self.jobs_version += 1

    def close_run(self, run: Run, status: RunStatus, error: str | None, at_ms: int) -> None:
        run.status, run.error, run.ended_ms = status, error, at_ms
        if self.running.get(run.job_id) == run.id:
            del self.running[run.job_id]
