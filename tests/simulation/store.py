"""What the engine reads and writes, on tables in memory.

Owns the stand-ins for ``marketd.store``: each method is the transaction of the same name there, without SQL. Decides
nothing that ``marketd.ledger`` decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from marketd import ledger, planner
from marketd.blocks import BLOCK, Change, Held, intervals_of, union
from marketd.errors import ExchangeHeld, LeaseLost, StoreError
from marketd.model import ADDED, Answer, Gap, JobRow, RunStatus, Series, Tally
from marketd.planner import Edges
from marketd.ports import Facts, Stored, Writing
from marketd.ranges import NOTHING, Ranges, Span
from marketd.store import leases
from marketd.store.closing import counted, gaps_counted
from marketd.store.leases import Lease
from marketd.store.pages import never_asked, refuse_retired
from marketd.store.retirement import boundary
from tests.simulation.server import Line
from tests.simulation.tables import LeaseRow, Row, Run, SeriesTable, Tables
from tests.simulation.watch import Watch

_RECENT_BLOCKS = 3
_LATEST = 2**31 - 1


def holds(tables: Tables, epoch: int) -> bool:
    """The fence: false where another process has taken the exchange over."""
    return tables.lease is not None and tables.lease.epoch == epoch


def _fence(tables: Tables, epoch: int) -> None:
    if not holds(tables, epoch):
        raise LeaseLost("another process has taken bitfinex over; nothing of this page was written")


@dataclass
class SimPages:
    line: Line
    watch: Watch

    async def record(self, answer: Answer, writing: Writing, *, owe: Ranges, first: int | None) -> Stored:
        tables = await self.line.begin()
        table = tables.of(answer.ask.series)
        held = table.held(answer.covered.hull | owe, first)
        self._refuse_retired(table, held, answer.covered)
        change, fresh, changed = _rows(table, held, answer, writing, owe)
        _fence(tables, writing.epoch)
        counts = (len(fresh), len(changed))
        table.put(fresh | changed)
        table.revisions += len(changed) + change.vanished.size
        self._write(tables, table, held, change, writing.epoch, answer)
        tally = _count(tables, writing, counted(writing.tally, answer, change, counts, 0))
        self.watch.page(table, answer, change, fresh, changed, writing, older=held.heard_after(answer.at_ms))
        self.line.end()
        return Stored(change, tally, *counts)

    async def record_failure(
        self, series: Series, span: Ranges, writing: Writing, *, at_ms: int, error: str, owe: Ranges
    ) -> Stored:
        return await self._decide(
            series, span | owe, writing, lambda held: ledger.fail(held, span, at_ms=at_ms, error=error, owe=owe),
            asked=span,
        )  # fmt: skip

    async def audit(self, series: Series, blocks: Sequence[int], writing: Writing, *, at_ms: int) -> Stored:
        span = intervals_of(blocks)
        return await self._decide(series, span, writing, lambda held: ledger.audit(held, span, at_ms=at_ms), rows=True)

    async def doubt(self, series: Series, runs: Sequence[Ranges], writing: Writing, *, at_ms: int) -> Stored:
        span = union(Ranges.of((run.start - 1, run.end + 1)) for run in runs)
        return await self._decide(series, span, writing, lambda held: ledger.doubt(held, runs, at_ms=at_ms))

    async def narrow(self, series: Series, wanted: Ranges, writing: Writing, *, at_ms: int) -> Stored:
        everything = Ranges.of((-(2**31), _LATEST))
        return await self._decide(series, everything, writing, lambda held: ledger.narrow(held, wanted, at_ms=at_ms))

    async def rederive(self, series: Series, span: Ranges, writing: Writing, *, at_ms: int) -> Stored:
        raise NotImplementedError("no series of the simulation is derived")

    async def _decide(
        self, series: Series, span: Ranges, writing: Writing, decide: Callable[[Held], Change], *, rows: bool = False,
        asked: Ranges = NOTHING,
    ) -> Stored:  # fmt: skip
        tables = await self.line.begin()
        table = tables.of(series)
        held = table.held(span, None)
        self._refuse_retired(table, held, asked)
        if rows:
            held = replace(held, present=table.rows_within(span.hull))
        change = decide(held)
        _fence(tables, writing.epoch)
        self._write(tables, table, held, change, writing.epoch, None)
        tally = _count(tables, writing, gaps_counted(writing.tally, change, 0))
        self.line.end()
        return Stored(change, tally)

    def _refuse_retired(self, table: SeriesTable, held: Held, asked: Ranges) -> None:
        try:
            refuse_retired(table.series, held, asked)
        except StoreError:
            self.watch.refused(table)
            raise

    def _write(
        self, tables: Tables, table: SeriesTable, held: Held, change: Change, epoch: int, answer: Answer | None
    ) -> None:
        before = {block.number: table.blocks.get(block.number) for block in change.blocks}
        for block in change.blocks:
            table.write(block)
        written: list[tuple[Gap, Ranges]] = []
        for gap in sorted(change.gaps, key=lambda gap: gap.id is None):
            tables.gap_ids += gap.id is None
            written.append((gap, table.write_gap(gap, tables.gap_ids)))
        self.watch.changed(table, before, written, epoch, answer)


def _rows(
    table: SeriesTable, held: Held, answer: Answer, writing: Writing, owe: Ranges
) -> tuple[Change, dict[int, bytes], dict[int, bytes]]:
    """The change, and the candles to insert and to replace: plainly where never asked, compared first elsewhere."""
    lines = dict(zip(answer.rows.numbers(), answer.csv.split(b"\n"), strict=False))
    touched = union(block.answered for block in held.blocks.values()) & answer.covered
    if never_asked(held, answer, touched):
        change = ledger.apply(held, answer, settle_ms=writing.settle_ms, owe=owe)
        fresh = {number: line for number, line in lines.items() if table.candles.get(number) != line}
        if not change.contradicted and not any(number in table.candles for number in fresh):
            return change, fresh, {}
    held = replace(held, present=table.rows_within(answer.covered.hull))
    change = ledger.apply(held, answer, settle_ms=writing.settle_ms, owe=owe)
    older = held.heard_after(answer.at_ms)
    fresh = {number: line for number, line in lines.items() if number not in table.candles}
    revised = {number: line for number, line in lines.items() if not older and table.candles.get(number, line) != line}
    return change, fresh, revised


def _count(tables: Tables, writing: Writing, told: Tally) -> Tally:
    """The run's counters after a write, as its row has them."""
    run, before = tables.runs.get(writing.run_id), writing.tally
    if run is None or run.status is not RunStatus.RUNNING:
        return told
    added = {name: getattr(run.tally, name) + getattr(told, name) - getattr(before, name) for name in ADDED}
    run.tally = replace(told, fetched=max(run.tally.fetched, told.fetched), **added)
    return run.tally


def retire(tables: Tables, table: SeriesTable, horizon_ms: int, at_ms: int) -> bool:
    """What retention does in its first transaction; False where all of that is retired already."""
    kept = boundary(table.series, horizon_ms)
    if table.retired is not None and table.retired >= kept:
        return False
    held = Held(gaps=table.open_gaps(Ranges.of((-_LATEST, kept))))
    for gap in ledger.narrow(held, Ranges.of((kept, _LATEST)), at_ms=at_ms).gaps:
        table.write_gap(gap, tables.gap_ids)
    table.retire(kept, at_ms)
    return True


@dataclass
class SimReader:
    line: Line

    async def know(self, series: Series, derived_from: str | None) -> None:
        (await self.line.begin()).of(series).derived_from = derived_from

    async def facts(self, series: Series) -> Facts | None:
        tables = await self.line.begin()
        if series not in tables.series:
            return None
        table = tables.series[series]
        return replace(
            _facts(table),
            followed=any(_follows(job, series) for job in tables.jobs.values()),
            unsettled=union(table.blocks[number].unsettled for number in table.numbers[-_RECENT_BLOCKS:]),
        )

    async def known(self, exchange: str) -> Mapping[Series, Facts]:
        tables = await self.line.begin()
        return {table.series: _facts(table) for table in tables.known(exchange)}

    async def unfinished(self, wanted: Sequence[tuple[Series, int, int]]) -> frozenset[int]:
        tables = await self.line.begin()
        return frozenset(at for at, window in enumerate(wanted) if _unknown(tables.of(window[0]), window[1:]))

    async def note_first(self, series: Series, first: int | None, at_ms: int) -> None:
        table = (await self.line.begin()).of(series)
        table.first = min((known for known in (table.first, first) if known is not None), default=None)
        table.first_asked_ms = at_ms

    async def answered(self, series: Series, span: Span) -> Ranges:
        return _answered((await self.line.begin()).of(series), span)

    async def open_gaps(self, series: Series, span: Span | None = None) -> tuple[Gap, ...]:
        return (await self.line.begin()).of(series).open_gaps(None if span is None else Ranges.of(span))

    async def edges(self, series: Series, span: Span) -> Edges:
        return Edges(*(await self.line.begin()).of(series).edges(span))

    async def empties(self, series: Series, span: Span) -> Mapping[int, int]:
        table = (await self.line.begin()).of(series)
        blocks = (table.blocks[number] for number in table.between(_blocks(span)))
        return {block.number: block.empties.size for block in blocks if block.empties}

    async def due_looks(self, series: Series, now_ms: int) -> Sequence[Span]:
        table = (await self.line.begin()).of(series)
        blocks = (table.blocks[number] for number in table.numbers)
        return [
            (block.answered.start, block.answered.end)
            for block in blocks
            if block.look_ms is not None and block.look_ms <= now_ms and block.answered
        ]

    async def due_series(self, exchange: str, now_ms: int) -> Sequence[Series]:
        tables = await self.line.begin()
        return [table.series for table in tables.known(exchange) if _due(table, now_ms)]

    async def audit_plan(self, series: Series, most: int | None, before_ms: int | None) -> Sequence[int]:
        table = (await self.line.begin()).of(series)
        due = [n for n in table.numbers if before_ms is None or table.audited.get(n, 0) < before_ms]
        longest = sorted(due, key=lambda number: (table.audited.get(number, 0), -number))
        return sorted({*table.numbers[-1:], *longest[:most]})

    async def disagreeing(self, series: Series, blocks: Sequence[int], at_ms: int) -> Sequence[int]:
        table = (await self.line.begin()).of(series)
        wrong = [number for number in blocks if table.stored[number] != table.present.get(number, NOTHING).size]
        table.audited |= dict.fromkeys({*blocks} - {*wrong}, at_ms)
        return wrong

    async def empty_runs(self, series: Series, span: Span, least: int) -> Sequence[Span]:
        return _runs((await self.line.begin()).of(series), span, least)

    async def silences(self, series: Series, span: Span, least: int) -> Mapping[str, Sequence[Span]]:
        tables = await self.line.begin()
        return {
            table.series.symbol: _runs(table, span, least)
            for table in tables.known(series.exchange)
            if table.series.timeframe == series.timeframe and table.series != series and table.between(_around(span))
        }

    async def settled_suspects(self, series: Series, span: Span) -> Ranges:
        table = (await self.line.begin()).of(series)
        within = Ranges.of(span)
        return (
            union(closed.owed for closed in table.closed if closed.gap.cause == "suspect" and closed.owed & within)
            & within
        )


def _facts(table: SeriesTable) -> Facts:
    start, end = table.answered_edges()
    return Facts(table.derived_from, table.first, table.first_asked_ms, start, end, retired=table.retired)


def _follows(job: Row, series: Series) -> bool:
    """Whether a continuous job keeps ``series`` fresh; nothing is built from others here."""
    return (
        job["enabled"] and job["job_type"] == "continuous" and job["origin"] != "order"
        and job["exchange"] == series.exchange and job["symbol"] in (None, series.symbol)
        and job["timeframe"] in (None, series.timeframe)
    )  # fmt: skip


def _blocks(span: Span) -> range:
    return range(span[0] // BLOCK, (span[1] - 1) // BLOCK + 1)


def _answered(table: SeriesTable, span: Span) -> Ranges:
    if span[0] >= span[1]:
        return NOTHING
    return union(table.blocks[number].answered for number in table.between(_blocks(span))) & Ranges.of(span)


def _unknown(table: SeriesTable, span: Span) -> Ranges:
    gaps = union(gap.missing for gap in table.gaps.values())
    return planner.backfill(wanted=Ranges.of(span), answered=_answered(table, span), gaps=gaps)


def _due(table: SeriesTable, now_ms: int) -> bool:
    attempts = [gap.next_attempt_ms for gap in table.gaps.values() if gap.next_attempt_ms is not None]
    if any(planner.is_due(attempt_ms, now_ms) for attempt_ms in attempts):
        return True
    return any(block.look_ms is not None and block.look_ms <= now_ms for block in table.blocks.values())


def _around(span: Span) -> range:
    return range(span[0] // BLOCK - 1, span[1] // BLOCK + 2)


def _runs(table: SeriesTable, span: Span, least: int) -> list[Span]:
    """Runs of empties, joined where the border of two blocks cuts them."""
    runs: list[Span] = []
    for number in table.between(_around(span)):
        spans = table.blocks[number].empties.spans
        if runs and spans and runs[-1][1] == spans[0][0]:
            runs[-1], spans = (runs[-1][0], spans[0][1]), spans[1:]
        runs += spans
    return [run for run in runs if run[1] - run[0] >= least]


@dataclass
class SimRuns:
    line: Line
    watch: Watch

    async def enabled_jobs(self) -> Sequence[Mapping[str, Any]]:
        tables = await self.line.begin()
        return [dict(row) for row in tables.jobs.values() if row["enabled"] and row["origin"] != "order"]

    async def jobs_digest(self) -> str:
        return str((await self.line.begin()).jobs_version)

    async def file_jobs(self, owner: str) -> Sequence[Mapping[str, Any]]:
        raise NotImplementedError("no host of the simulation has a job file")

    async def follow_file(self, added: Sequence[JobRow], changed: Mapping[int, JobRow], removed: Sequence[int]) -> None:
        raise NotImplementedError("no host of the simulation has a job file")

    async def backfill_rows(self) -> Sequence[Mapping[str, Any]]:
        tables = await self.line.begin()
        return [dict(r) for r in tables.jobs.values() if r["job_type"] == "backfill" and r["origin"] != "order"]

    async def keep_auto(self, create: Sequence[int], enable: Sequence[int], disable: Sequence[int]) -> None:
        raise NotImplementedError("every series of the simulation has its backfill row")

    async def note_refused(self, reasons: Mapping[int, str]) -> None:
        tables = await self.line.begin()
        for number, reason in reasons.items():
            tables.jobs[number] |= {"status": "refused", "last_error": reason}

    async def last_firings(self) -> dict[int, int]:
        tables = await self.line.begin()
        return {job: max(slots) for job, slots in tables.slots.items() if slots}

    async def begin(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int) -> dict[int, int]:
        tables = await self.line.begin()
        _fence(tables, epoch)
        now_ms, begun = self.line.server.now_ms, dict[int, int]()
        for job, _ in firings:
            running = tables.runs.get(tables.running.get(job, 0))
            if running is not None and running.epoch <= epoch:
                tables.close_run(running, RunStatus.INTERRUPTED, "its end was never recorded", now_ms)
        for job, at_ms in firings:
            if job not in tables.running and at_ms not in tables.slots.setdefault(job, {}):
                run = Run(len(tables.runs) + 1, job, at_ms, epoch, RunStatus.RUNNING, now_ms)
                tables.runs[run.id] = run
                tables.slots[job][at_ms] = tables.running[job] = begun[job] = run.id
        self.watch.begun(self.line.who, [tables.runs[number] for number in begun.values()])
        self.line.end()
        return begun

    async def under_way(self, exchange: str, epoch: int) -> dict[int, int]:
        tables = await self.line.begin()
        return {
            job: number
            for job, number in tables.running.items()
            if tables.runs[number].epoch == epoch and tables.jobs[job]["origin"] != "order"
        }

    async def skip(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int, reason: str) -> None:
        tables = await self.line.begin()
        _fence(tables, epoch)
        now_ms = self.line.server.now_ms
        for job, at_ms in firings:
            if at_ms not in tables.slots.setdefault(job, {}):
                run = Run(len(tables.runs) + 1, job, at_ms, epoch, RunStatus.SKIPPED, now_ms, Tally(), reason, now_ms)
                tables.runs[run.id] = run
                tables.slots[job][at_ms] = run.id

    async def finish(self, run: int, status: RunStatus, error: str | None, requests: int) -> None:
        tables = await self.line.begin()
        row = tables.runs[run]
        if row.status is RunStatus.RUNNING:
            tables.close_run(row, status, error, self.line.server.now_ms)
            row.tally = replace(row.tally, requests=max(row.tally.requests, requests))
            _note_job(tables, row.job_id, status, error)
        self.watch.finished(self.line.who, row, status, error)
        self.line.end()

    async def note_job(self, job: int, status: str, error: str | None) -> None:
        _note_job(await self.line.begin(), job, status, error)

    async def interrupt(self, exchange: str, epoch: int) -> None:
        _interrupt(await self.line.begin(), epoch + 1, self.line.server.now_ms)


def _note_job(tables: Tables, job: int, status: str, error: str | None) -> None:
    row = tables.jobs[job]
    row |= {"status": status, "last_error": error, "enabled": row["enabled"] and row["origin"] != "order"}


def _interrupt(tables: Tables, epoch: int, now_ms: int) -> None:
    for number in list(tables.running.values()):
        run = tables.runs[number]
        if run.epoch < epoch:
            tables.close_run(run, RunStatus.INTERRUPTED, "the process that ran it is gone", now_ms)
            row = tables.jobs[run.job_id]
            row["enabled"] = row["enabled"] and row["origin"] != "order"


@dataclass
class SimOrders:
    line: Line

    async def open(self, exchange: str) -> Sequence[Mapping[str, Any]]:
        tables = await self.line.begin()
        return [
            {**row, **_begun(tables, row["id"])}
            for row in tables.jobs.values()
            if row["enabled"] and row["origin"] == "order"
        ]


def _begun(tables: Tables, job: int) -> dict[str, Any]:
    runs = [tables.runs[number] for number in tables.slots.get(job, {}).values()]
    run = runs[0] if runs else None
    return {
        "run_id": None if run is None else run.id,
        "run_status": None if run is None else run.status,
        "epoch": None if run is None else run.epoch,
    }


def _lease_ms() -> int:
    return int(leases.LEASE_S * 1000)


@dataclass
class SimLeases:
    line: Line
    watch: Watch

    async def take(self, exchange: str) -> Lease:
        tables = await self.line.begin()
        now_ms, row = self.line.server.now_ms, tables.lease
        if row is not None and row.expires_ms > now_ms:
            raise ExchangeHeld(exchange, "daemon", row.holder)
        blocked_ms = 0 if row is None else row.blocked_until_ms
        epoch = 1 if row is None else row.epoch + 1
        tables.lease = LeaseRow(self.line.who, epoch, now_ms + _lease_ms(), blocked_ms)
        _interrupt(tables, epoch, now_ms)
        blocked_ms = max(0, blocked_ms - now_ms)
        self.watch.taken(self.line.who, epoch, blocked_ms)
        self.line.end()
        return Lease(exchange, epoch, blocked_ms / 1000)

    async def renew(self, lease: Lease) -> None:
        tables = await self.line.begin()
        if tables.lease is None or not holds(tables, lease.epoch):
            raise LeaseLost("another process has taken bitfinex over")
        tables.lease.expires_ms = self.line.server.now_ms + _lease_ms()

    async def release(self, lease: Lease) -> None:
        tables = await self.line.begin()
        if tables.lease is not None and holds(tables, lease.epoch):
            tables.lease.expires_ms = self.line.server.now_ms

    async def note_block(self, lease: Lease, seconds: float) -> None:
        tables = await self.line.begin()
        if tables.lease is not None and holds(tables, lease.epoch):
            until_ms = self.line.server.now_ms + int(seconds * 1000)
            tables.lease.blocked_until_ms = max(tables.lease.blocked_until_ms, until_ms)
