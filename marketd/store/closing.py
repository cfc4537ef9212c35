"""The end of a transaction that writes pages: the fence, and the counters of the runs.

Owns what every such transaction does last, and how the counters follow from what it has changed.
"""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from marketd.blocks import Change
from marketd.errors import LeaseLost
from marketd.model import ADDED, Answer, Tally
from marketd.ports import Writing
from marketd.ranges import highest
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Connection


async def close(connection: Connection, exchange: str, told: Sequence[tuple[Writing, Tally]]) -> list[Tally]:
    """The fence, and the runs' counters as the last statement before COMMIT: in the order in which a takeover locks.

    ``told`` are the counters of a run before and after each page. Returns them as they are in the run's row: a page
    whose answer to COMMIT was lost is in them. LeaseLost when another process has taken the exchange over.
    """
    for epoch in {writing.epoch for writing, _ in told}:
        if await connection.fetchval(sql("fence"), exchange, epoch) is None:
            raise LeaseLost(f"another process has taken {exchange} over; nothing of this page was written")
    of_run: dict[int, list[tuple[Tally, Tally]]] = {}
    for writing, after in told:
        of_run.setdefault(writing.run_id, []).append((writing.tally, after))
    columns = zip(*(_counts(run, pages) for run, pages in of_run.items()), strict=True)
    rows = {row["id"]: row for row in await connection.fetch(sql("count_runs"), *columns)}
    return [_as_kept(after, rows.get(writing.run_id)) for writing, after in told]


def _counts(run: int, pages: Sequence[tuple[Tally, Tally]]) -> tuple[object, ...]:
    """A run's part of ``count_runs``: totals of its own as they are after its last page, the rest as it was added."""
    last = pages[-1][1]
    added = (sum(getattr(after, name) - getattr(before, name) for before, after in pages) for name in ADDED)
    newest = highest(*(after.last_open_ms for _, after in pages))
    return run, last.requests, last.fetched, *added, codec.moment(newest), last.planned, last.left


def _as_kept(told: Tally, row: asyncpg.Record | None) -> Tally:
    if row is None:
        return told
    return replace(
        told, fetched=row["candles_fetched"], inserted=row["candles_inserted"], updated=row["candles_updated"],
        empties=row["empties"], gaps_opened=row["gaps_opened"], gaps_closed=row["gaps_closed"],
    )  # fmt: skip


def counted(tally: Tally, answer: Answer, change: Change, counts: tuple[int, int], derived: int) -> Tally:
    """The run's counters after a page, fetched already; ``counts`` are the candles inserted and updated."""
    newest = answer.ask.series.frame.open_ms(answer.rows.end - 1) if answer.rows else None
    return replace(
        gaps_counted(tally, change, derived),
        inserted=tally.inserted + counts[0],
        updated=tally.updated + counts[1],
        empties=tally.empties + change.emptied,
        dropped=tally.dropped + answer.dropped.size,
        last_open_ms=highest(tally.last_open_ms, newest),
    )


def gaps_counted(tally: Tally, change: Change, derived: int) -> Tally:
    """The run's counters after any change of the ledger."""
    return replace(
        tally,
        gaps_opened=tally.gaps_opened + change.opened,
        gaps_closed=tally.gaps_closed + change.closed,
        derived=tally.derived + derived,
    )
