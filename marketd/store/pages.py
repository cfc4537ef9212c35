"""One transaction a page.

Owns the writing of an answer: candles, ledger, gaps, derived candles and the run's counters change together or not
at all, and only while this process still holds the exchange. What changes is decided by ``ledger`` and ``derive``;
here it is read and written.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO

import asyncpg

from marketd import derive, ledger
from marketd.blocks import Block, Change, Held, blocks_of, intervals_of, union
from marketd.errors import LeaseLost, StoreError
from marketd.model import Answer, Gap, Series, Tally
from marketd.ports import Stored, Writing
from marketd.ranges import NOTHING, Ranges
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Connection, Database

_EDGE_ROWS = 4  # known candles at the edges of a page for a range never asked before


class Pages:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, answer: Answer, writing: Writing, *, owe: Ranges, first: int | None) -> Stored:
        """Store ``answer`` and what it proves; see ``ledger.apply`` for ``owe``.

        Raises LeaseLost when another process has taken the exchange over, and then nothing is written.
        """
        series = answer.ask.series
        async with self._database.session() as connection, connection.transaction():
            held = await _held(connection, series, answer.covered.hull | owe, first)
            refuse_retired(series, held, answer.covered)
            change, counts = await _store_rows(connection, answer, held, writing, owe)
            await write_change(connection, series, change)
            before = next((block.answered_ms for block in held.blocks.values() if block.answered_ms), None)
            await _note_vanished(connection, series, change.vanished, answer.at_ms, before)
            derived = await follow(connection, series, change.covered, answer.at_ms)
            told = counted(writing.tally, answer, change, counts, derived)
            tally = await _finish(connection, series, writing, told)
        return Stored(change, tally, *counts)

    async def record_failure(
        self, series: Series, span: Ranges, writing: Writing, *, at_ms: int, error: str, owe: Ranges
    ) -> Stored:
        """Note that ``span`` was asked and not usably answered after all tries; see ``ledger.fail`` for ``owe``."""
        return await self._decide(
            series, span | owe, writing, at_ms, lambda held: ledger.fail(held, span, at_ms=at_ms, error=error, owe=owe),
            asked=span,
        )  # fmt: skip

    async def audit(self, series: Series, blocks: Sequence[int], writing: Writing, *, at_ms: int) -> Stored:
        """Hold the ledger of ``blocks`` against the rows that are there; what has disappeared becomes a gap."""
        span = intervals_of(blocks)
        return await self._decide(
            series, span, writing, at_ms, lambda held: ledger.audit(held, span, at_ms=at_ms), rows=True
        )

    async def rebuild(self, series: Series, blocks: Sequence[int], writing: Writing, *, at_ms: int) -> Stored:
        """Make the ledger of ``blocks`` anew from the rows that are there and had closed at ``at_ms``."""
        span = intervals_of(blocks)
        closed_end = series.frame.closed_end(at_ms)

        def decide(held: Held) -> Change:
            start = span.start if held.retired is None else max(span.start, held.retired)
            there = held.present & Ranges.of((min(start, closed_end), closed_end))
            return ledger.rebuild(replace(held, present=there), span, at_ms=at_ms)

        return await self._decide(series, span, writing, at_ms, decide, rows=True)

    async def doubt(self, series: Series, runs: Sequence[Ranges], writing: Writing, *, at_ms: int) -> Stored:
        """Open suspect gaps for ``runs`` of empty intervals, or make longer those that they border on."""
        span = union(Ranges.of((run.start - 1, run.end + 1)) for run in runs)
        return await self._decide(series, span, writing, at_ms, lambda held: ledger.doubt(held, runs, at_ms=at_ms))

    async def narrow(self, series: Series, wanted: Ranges, writing: Writing, *, at_ms: int) -> Stored:
        """Close what open gaps owe outside ``wanted``."""
        everything = Ranges.of((-(2**31), 2**31 - 1))
        return await self._decide(
            series, everything, writing, at_ms, lambda held: ledger.narrow(held, wanted, at_ms=at_ms)
        )

    async def rederive(self, series: Series, span: Ranges, writing: Writing, *, at_ms: int) -> Stored:
        """Build whatever can be built from ``span`` of ``series`` for the series derived from it."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_series"), *series)
            derived = await follow(connection, series, span, at_ms)
            told = replace(writing.tally, derived=writing.tally.derived + derived)
            tally = await _finish(connection, series, writing, told)
        return Stored(Change(), tally)

    async def _decide(
        self, series: Series, span: Ranges, writing: Writing, at_ms: int, decide: Callable[[Held], Change],
        *, rows: bool = False, asked: Ranges = NOTHING,
    ) -> Stored:  # fmt: skip
        async with self._database.session() as connection, connection.transaction():
            held = await _held(connection, series, span, None)
            refuse_retired(series, held, asked)
            if rows:
                held = replace(held, present=await _present(connection, series, span.hull))
            change = decide(held)
            await write_change(connection, series, change)
            touched = union(Ranges.of(block.span) for block in change.blocks) & span.hull
            derived = await follow(connection, series, touched, at_ms)
            tally = await _finish(connection, series, writing, gaps_counted(writing.tally, change, derived))
        return Stored(change, tally)


def refuse_retired(series: Series, held: Held, asked: Ranges) -> None:
    """It was planned before retention came by; the next plan knows better."""
    if held.retired is not None and asked and asked.start < held.retired:
        raise StoreError(f"{series}: what was asked for has been retired meanwhile; nothing of this page was written")


async def _held(connection: Connection, series: Series, span: Ranges, first: int | None) -> Held:
    retired = codec.number(series, await connection.fetchval(sql("lock_series"), *series))
    gaps = await connection.fetch(sql("read_open_gaps"), *series, codec.multirange(span))
    return Held(
        blocks=await _blocks(connection, series, span),
        gaps=tuple(map(codec.gap, gaps)),
        first=first,
        retired=retired,
    )


async def _blocks(connection: Connection, series: Series, span: Ranges) -> dict[int, Block]:
    touched = blocks_of(span)
    if not touched:
        return {}
    rows = await connection.fetch(sql("read_blocks"), *series, touched.start, touched.stop - 1)
    return {row["block"]: codec.block(row) for row in rows}


async def _present(connection: Connection, series: Series, span: Ranges) -> Ranges:
    if not span:
        return NOTHING
    start, end = codec.opens(series, span.start), codec.opens(series, span.end)
    return codec.seconds_to_ranges(series, await connection.fetchval(sql("present_opens"), *series, start, end))


async def _store_rows(
    connection: Connection, answer: Answer, held: Held, writing: Writing, owe: Ranges
) -> tuple[Change, tuple[int, int]]:
    """Write the candles: plainly where the range was never asked, compare first elsewhere."""
    series = answer.ask.series
    touched = union(block.answered for block in held.blocks.values()) & answer.covered
    if never_asked(held, answer, touched):
        change = ledger.apply(held, answer, settle_ms=writing.settle_ms, owe=owe)
        if not change.contradicted:
            try:
                async with connection.transaction():
                    inserted = await _insert(connection, answer, touched)
                return change, (inserted, 0)
            except asyncpg.UniqueViolationError:
                pass  # rows by others, or a known one that was revised: compare first
    if answer.rows:
        await _copy(connection, answer)
    unchanged = await _unchanged(connection, answer, held)
    present = answer.rows if unchanged else await _present(connection, series, answer.covered.hull)
    change = ledger.apply(replace(held, present=present), answer, settle_ms=writing.settle_ms, owe=owe)
    if unchanged or not answer.rows:
        return change, (0, 0)
    times = [block.answered_ms for block in held.blocks.values() if block.answered_ms]
    first, last = codec.opens(series, answer.rows.start), codec.opens(series, answer.rows.end - 1)
    row = await connection.fetchrow(
        sql("merge_page"), *series, codec.step(series), codec.moment(answer.at_ms),
        codec.moment(min(times, default=None)), first, last, max(times, default=0) > answer.at_ms,
    )  # fmt: skip
    assert row is not None  # noqa: S101  (an aggregate without GROUP BY always has one row)
    return change, (row["inserted"], row["updated"])


async def _unchanged(connection: Connection, answer: Answer, held: Held) -> bool:
    """True where the page, which was copied, holds what the table does; not looked at where the ledger knows better."""
    believed = union(block.stored for block in held.blocks.values()) & answer.covered
    if not answer.rows or believed != answer.rows:
        return False
    series, span = answer.ask.series, answer.covered.hull
    start, end = codec.opens(series, span.start), codec.opens(series, span.end)
    return bool(await connection.fetchval(sql("page_is_there"), *series, start, end))


def never_asked(held: Held, answer: Answer, touched: Ranges) -> bool:
    """True where of all that the answer covers only the anchors of the ask were answered before, and are settled.

    Whatever else was answered before is read again to be compared: that is what the second reading is for.
    """
    unsettled = union(block.unsettled for block in held.blocks.values())
    owed = union(gap.missing for gap in held.gaps)
    only_anchors = not touched - (answer.ask.known & answer.rows) and not touched & unsettled
    return only_anchors and not owed & answer.covered and touched.size <= _EDGE_ROWS


async def _insert(connection: Connection, answer: Answer, known: Ranges) -> int:
    series = answer.ask.series
    await _copy(connection, answer)
    edges = [series.frame.open_ms(number) for number in (known & answer.rows).numbers()]
    tag = await connection.execute(sql("insert_page"), *series, codec.step(series), edges, 1000 * codec.step_s(series))
    return int(tag.rpartition(" ")[2])


async def _copy(connection: Connection, answer: Answer) -> None:
    if answer.csv:
        await connection.copy_to_table(
            "marketd_page", source=BytesIO(answer.csv), columns=list(answer.columns), format="csv"
        )


async def write_change(connection: Connection, series: Series, change: Change) -> None:
    """Ledger rows and gaps of a change. Gaps that shrink are written before new ones claim what they left."""
    if change.blocks:
        await connection.execute(sql("write_blocks"), *series, *codec.block_columns(change.blocks))
    for gap in sorted(change.gaps, key=lambda gap: gap.id is None):
        await _write_gap(connection, series, gap)


async def _write_gap(connection: Connection, series: Series, gap: Gap) -> None:
    missing, due = codec.multirange(gap.missing), codec.moment(gap.next_attempt_ms)
    if gap.id is None:
        await connection.execute(
            sql("insert_gap"),
            *series,
            gap.cause,
            missing,
            codec.moment(gap.detected_ms),
            gap.attempts,
            due,
            gap.last_error,
        )
        return
    await connection.execute(
        sql("update_gap"), gap.id, missing, gap.filled, gap.emptied, gap.attempts, due, gap.last_error,
        codec.moment(gap.repaired_ms), gap.resolution, codec.moment(gap.detected_ms), codec.multirange(gap.unwanted),
    )  # fmt: skip


async def _note_vanished(
    connection: Connection, series: Series, vanished: Ranges, at_ms: int, before_ms: int | None
) -> None:
    if vanished:
        opens = [codec.opens(series, number) for number in vanished.numbers()]
        await connection.execute(sql("note_vanished"), *series, opens, codec.moment(at_ms), codec.moment(before_ms))


async def follow(connection: Connection, parent: Series, changed: Ranges, at_ms: int) -> int:
    """Bring the series derived from ``parent`` up to date where ``changed``, and theirs in turn.

    Returns how many derived candles were written.
    """
    if not changed:
        return 0
    written = 0
    rows = await connection.fetch(sql("derived_series"), parent.exchange, parent.symbol, parent.timeframe)
    for row in rows:
        child = Series(parent.exchange, parent.symbol, row["timeframe"])
        span = derive.child_span(changed, parent.frame, child.frame)
        lasting = derive.lasting(
            span, codec.number(parent, row["parent_retired_until"]), parent.frame, child.frame,
            own=codec.number(child, row["retired_until"]),
        )  # fmt: skip
        if lasting[0] < lasting[1]:
            written += await _build(connection, parent, child, Ranges.of(lasting), at_ms)
        written += await follow(connection, child, Ranges.of(span), at_ms)
    return written


async def _build(connection: Connection, parent: Series, child: Series, span: Ranges, at_ms: int) -> int:
    written = 0
    children = (span.start, span.end)
    known = await _parent(connection, parent, Ranges.of(derive.parent_span(children, parent.frame, child.frame)))
    built = derive.build(known, children, parent.frame, child.frame)
    if built.stored:
        numbers = list(built.stored.numbers())
        row = await connection.fetchrow(
            sql("derive_candles"), parent.exchange, parent.symbol, parent.timeframe, child.timeframe,
            [codec.opens(child, number) for number in numbers],
            [codec.opens(child, number + 1) for number in numbers], codec.moment(at_ms),
        )  # fmt: skip
        written = 0 if row is None else row["inserted"] + row["updated"]
    before = await _blocks(connection, child, span)
    blocks = derive.ledger(before, children, built, at_ms)
    changed = tuple(block for block in blocks if block.answered or block.number in before)
    await write_change(connection, child, Change(blocks=changed))
    return written


async def _parent(connection: Connection, parent: Series, span: Ranges) -> derive.Parent:
    blocks = (await _blocks(connection, parent, span)).values()
    row = await connection.fetchrow(sql("read_series"), *parent)
    return derive.Parent(
        stored=union(block.stored for block in blocks) & span,
        confirmed=union(block.empty_confirmed & block.answered for block in blocks) & span,
        first=None if row is None else codec.number(parent, row["first_open_time"]),
    )


async def _finish(connection: Connection, series: Series, writing: Writing, told: Tally) -> Tally:
    """The fence, and the run's counters as the last statement before COMMIT: in the order in which a takeover locks.

    Returns the counters as they are in the run's row: a page whose answer to COMMIT was lost is in them.
    """
    if await connection.fetchval(sql("fence"), series.exchange, writing.epoch) is None:
        raise LeaseLost(f"another process has taken {series.exchange} over; nothing of this page was written")
    before = writing.tally
    row = await connection.fetchrow(
        sql("count_run"), writing.run_id, told.requests, told.fetched, told.inserted - before.inserted,
        told.updated - before.updated, told.empties - before.empties, told.gaps_opened - before.gaps_opened,
        told.gaps_closed - before.gaps_closed, codec.moment(told.last_open_ms), told.planned, told.left,
    )  # fmt: skip
    if row is None:
        return told
    return replace(
        told, fetched=row["candles_fetched"], inserted=row["candles_inserted"], updated=row["candles_updated"],
        empties=row["empties"], gaps_opened=row["gaps_opened"], gaps_closed=row["gaps_closed"],
    )  # fmt: skip


def counted(tally: Tally, answer: Answer, change: Change, counts: tuple[int, int], derived: int) -> Tally:
    """The run's counters after a page; ``counts`` are the candles inserted and updated."""
    newest = answer.ask.series.frame.open_ms(answer.rows.end - 1) if answer.rows else None
    return replace(
        gaps_counted(tally, change, derived),
        fetched=tally.fetched + answer.fetched,
        inserted=tally.inserted + counts[0],
        updated=tally.updated + counts[1],
        empties=tally.empties + change.emptied,
        dropped=tally.dropped + answer.dropped.size,
        last_open_ms=max(filter(None, (tally.last_open_ms, newest)), default=None),
    )


def gaps_counted(tally: Tally, change: Change, derived: int) -> Tally:
    """The run's counters after any change of the ledger."""
    opened = sum(1 for gap in change.gaps if gap.id is None)
    closed = sum(1 for gap in change.gaps if not gap.open)
    return replace(
        tally,
        gaps_opened=tally.gaps_opened + opened,
        gaps_closed=tally.gaps_closed + closed,
        derived=tally.derived + derived,
    )
