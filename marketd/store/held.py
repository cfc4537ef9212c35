"""What the database holds of series, in the records that decisions take and give.

Owns the reading of ledger rows, open gaps and candles that are there, and the writing of changes. Of one series or of
several of an exchange, each statement is one. Refuses to decide, and to begin a transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from marketd.blocks import Block, Change, Held, blocks_of
from marketd.model import Answer, Gap, Series
from marketd.ranges import Ranges
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Connection

EVERYTHING = Ranges.of((-(2**31), 2**31 - 1))
"""All intervals that a series can have."""


class Stretch(NamedTuple):
    """Of a series, the intervals that something is to be decided about, and its first candle where that is known."""

    series: Series
    span: Ranges
    first: int | None = None

    @property
    def opens(self) -> tuple[datetime, datetime] | tuple[None, None]:
        """When the first of its intervals opens and the last one ends."""
        if not self.span:
            return None, None
        return codec.opens(self.series, self.span.start), codec.opens(self.series, self.span.end)


async def read(connection: Connection, stretches: Sequence[Stretch]) -> list[Held]:
    """What is held about each stretch, without the rows that are there."""
    ledgers, gaps = await ledger(connection, stretches), await owed(connection, stretches)
    return [replace(one, gaps=of_it) for one, of_it in zip(ledgers, gaps, strict=True)]


async def owed(connection: Connection, stretches: Sequence[Stretch]) -> list[tuple[Gap, ...]]:
    """The open gaps that owe an interval of each stretch."""
    gaps: list[list[Gap]] = [[] for _ in stretches]
    within = [codec.multirange(one.span) for one in stretches]
    for row in await connection.fetch(sql("read_owed"), *codec.names(one.series for one in stretches), within):
        gaps[row["number"] - 1].append(codec.gap(row))
    return list(map(tuple, gaps))


async def ledger(connection: Connection, stretches: Sequence[Stretch]) -> list[Held]:
    """The same without the gaps that are owed."""
    touched = [blocks_of(one.span) for one in stretches]
    edges = [one.start for one in touched], [one.stop - 1 for one in touched]
    blocks: list[dict[int, Block]] = [{} for _ in stretches]
    retired: list[int | None] = [None for _ in stretches]
    for row in await connection.fetch(sql("read_blocks"), *codec.names(one.series for one in stretches), *edges):
        at = row["number"] - 1
        retired[at] = codec.number(stretches[at].series, row["retired_until"])
        if row["block"] is not None:
            blocks[at][row["block"]] = codec.block(row)
    return [Held(blocks=blocks[at], first=stretch.first, retired=retired[at]) for at, stretch in enumerate(stretches)]


async def present(connection: Connection, stretches: Sequence[Stretch]) -> list[Ranges]:
    """The intervals from the first to the last one of each stretch that have a candle."""
    starts, ends = ([one.opens[side] for one in stretches] for side in (0, 1))
    rows = await connection.fetch(sql("present_opens"), *codec.names(one.series for one in stretches), starts, ends)
    return [codec.seconds_to_ranges(one.series, row["opens"]) for one, row in zip(stretches, rows, strict=True)]


async def write(connection: Connection, changes: Iterable[tuple[Series, Change]]) -> None:
    """Ledger rows and gaps of changes. Gaps that shrink are written before new ones claim what they left."""
    changes = list(changes)
    blocks = [(series, block) for series, change in changes for block in change.blocks]
    if blocks:
        names = codec.names(series for series, _ in blocks)
        await connection.execute(sql("write_blocks"), *names, *codec.block_columns([block for _, block in blocks]))
    for series, change in changes:
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


async def note_vanished(connection: Connection, answer: Answer, before: Held, change: Change) -> None:
    """Keep that the exchange no longer sends candles which are stored."""
    if change.vanished:
        series = answer.ask.series
        opens = [codec.opens(series, number) for number in change.vanished.numbers()]
        heard = codec.moment(before.heard_ms)
        await connection.execute(sql("note_vanished"), *series, opens, codec.moment(answer.at_ms), heard)


def retired(held: Held, asked: Ranges) -> bool:
    """True where ``asked`` was planned before retention came by; the next plan knows better."""
    return held.retired is not None and bool(asked) and asked.start < held.retired
