"""One transaction a page.

Owns the writing of an answer: candles, ledger, gaps, derived candles and the run's counters change together or not
at all, and only while this process still holds the exchange. What changes is decided by ``ledger`` and ``derive``;
here it is read and written.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO

import asyncpg

from marketd import ledger
from marketd.blocks import Change, Held, intervals_of, union
from marketd.errors import StoreError
from marketd.model import Answer, Series
from marketd.ports import Stored, Writing
from marketd.ranges import NOTHING, Ranges
from marketd.store import batch, codec, held
from marketd.store.batch import Entry
from marketd.store.closing import close, counted, gaps_counted
from marketd.store.held import EVERYTHING, Stretch
from marketd.store.offspring import Changed, follow
from marketd.store.queries import sql
from marketd.store.session import Connection, Database
from marketd.store.together import LeftOut, Together

_SMALL = 1024  # bytes of candles up to which an answer is written with others; COPY is faster for more
_EDGE_ROWS = 4  # known candles at the edges of a page for a range never asked before


class Pages:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._small = defaultdict[str, Together[Entry, Stored]](partial(Together, self._record_all, self._record))

    async def record(self, answer: Answer, writing: Writing, *, owe: Ranges, first: int | None) -> Stored:
        """Store ``answer`` and what it proves; see ``ledger.apply`` for ``owe``.

        Raises LeaseLost when another process has taken the exchange over, and then nothing is written.
        """
        entry = Entry(answer, writing, owe, first)
        if len(answer.csv) > _SMALL:
            return await self._record(entry)
        return await self._small[entry.series.exchange](entry)

    async def _record_all(self, entries: Sequence[Entry]) -> Sequence[Stored | LeftOut]:
        async with self._database.session() as connection, connection.transaction():
            return await batch.write(connection, entries)

    async def _record(self, entry: Entry) -> Stored:
        answer, series = entry.answer, entry.series
        async with self._database.session() as connection, connection.transaction():
            before = await _held(connection, series, answer.covered.hull | entry.owe, entry.first)
            refuse_retired(series, before, answer.covered)
            change, counts = await _store_rows(connection, entry, before)
            await held.write(connection, [(series, change)])
            await held.note_vanished(connection, answer, before, change)
            (derived,) = await follow(connection, [Changed(series, change.covered, answer.at_ms)])
            told = counted(entry.writing.tally, answer, change, counts, derived)
            (tally,) = await close(connection, series.exchange, [(entry.writing, told)])
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
        return await self._decide(
            series, EVERYTHING, writing, at_ms, lambda held: ledger.narrow(held, wanted, at_ms=at_ms)
        )

    async def rederive(self, series: Series, span: Ranges, writing: Writing, *, at_ms: int) -> Stored:
        """Build whatever can be built from ``span`` of ``series`` for the series derived from it."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_series"), *series)
            (derived,) = await follow(connection, [Changed(series, span, at_ms)])
            told = replace(writing.tally, derived=writing.tally.derived + derived)
            (tally,) = await close(connection, series.exchange, [(writing, told)])
        return Stored(Change(), tally)

    async def _decide(
        self, series: Series, span: Ranges, writing: Writing, at_ms: int, decide: Callable[[Held], Change],
        *, rows: bool = False, asked: Ranges = NOTHING,
    ) -> Stored:  # fmt: skip
        async with self._database.session() as connection, connection.transaction():
            before = await _held(connection, series, span, None)
            refuse_retired(series, before, asked)
            if rows:
                (present,) = await held.present(connection, [Stretch(series, span)])
                before = replace(before, present=present)
            change = decide(before)
            await held.write(connection, [(series, change)])
            touched = union(Ranges.of(block.span) for block in change.blocks) & span.hull
            (derived,) = await follow(connection, [Changed(series, touched, at_ms)])
            told = gaps_counted(writing.tally, change, derived)
            (tally,) = await close(connection, series.exchange, [(writing, told)])
        return Stored(change, tally)


def refuse_retired(series: Series, before: Held, asked: Ranges) -> None:
    if held.retired(before, asked):
        raise StoreError(f"{series}: what was asked for has been retired meanwhile; nothing of this page was written")


async def _held(connection: Connection, series: Series, span: Ranges, first: int | None) -> Held:
    await connection.execute(sql("lock_series"), *series)
    return (await held.read(connection, [Stretch(series, span, first)]))[0]


async def _store_rows(connection: Connection, entry: Entry, before: Held) -> tuple[Change, tuple[int, int]]:
    """Write the candles: plainly where the range was never asked, compare first elsewhere."""
    answer, decide = entry.answer, partial(ledger.apply, settle_ms=entry.writing.settle_ms, owe=entry.owe)
    touched = union(block.answered for block in before.blocks.values()) & answer.covered
    if never_asked(before, answer, touched):
        change = decide(before, answer)
        if not change.contradicted:
            try:
                async with connection.transaction():
                    inserted = await _insert(connection, answer, touched)
                return change, (inserted, 0)
            except asyncpg.UniqueViolationError:
                pass  # rows by others, or a known one that was revised: compare first
    if answer.rows:
        await _copy(connection, answer)
    unchanged = await _unchanged(connection, answer, before)
    present = answer.rows
    if not unchanged:
        (present,) = await held.present(connection, [Stretch(entry.series, answer.covered)])
    change = decide(replace(before, present=present), answer)
    if unchanged or not answer.rows:
        return change, (0, 0)
    first, last = Stretch(entry.series, answer.rows).opens
    row = await connection.fetchrow(
        sql("merge_page"), *entry.series, codec.step(entry.series), codec.moment(answer.at_ms),
        codec.moment(before.heard_ms), first, last, before.heard_after(answer.at_ms),
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
