"""Answers of a few candles, several in one transaction.

Owns the writing of what a cycle of continuous runs brings: many series, each with its newest candles. Each answer is
compared with the rows that are there, and changes exactly what it would have changed by itself; whatever stands in the
way of one is left out, and written alone. What changes is decided by ``ledger``; ``pages`` writes the larger ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from marketd import ledger
from marketd.blocks import Change, Held
from marketd.model import Answer, Series
from marketd.ports import Stored, Writing
from marketd.ranges import Ranges
from marketd.store import closing, codec, held, offspring
from marketd.store.held import Stretch
from marketd.store.offspring import Changed
from marketd.store.queries import sql
from marketd.store.session import Connection
from marketd.store.together import LeftOut

_FIELDS = ("open_ms", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that waits to be written, as ``Pages.record`` was given it."""

    answer: Answer
    writing: Writing
    owe: Ranges
    first: int | None

    @property
    def series(self) -> Series:
        return self.answer.ask.series


class _Decided(NamedTuple):
    """An entry by its place, what is held about it, and what it changes."""

    at: int
    entry: Entry
    held: Held
    change: Change


async def write(connection: Connection, entries: Sequence[Entry]) -> list[Stored | LeftOut]:
    """Write answers of one exchange, within a transaction; those are left out whose series somebody else is writing
    to, and those that speak of what has been retired.
    """
    outcome: list[Stored | LeftOut] = [LeftOut() for _ in entries]
    decided = await _decided(connection, await _free(connection, entries))
    if not decided:
        return outcome
    counts = await _merge(connection, decided)
    await held.write(connection, [(one.entry.series, one.change) for one in decided])
    for one in decided:
        await held.note_vanished(connection, one.entry.answer, one.held, one.change)
    changed = [Changed(one.entry.series, one.change.covered, one.entry.answer.at_ms) for one in decided]
    built = await offspring.follow(connection, changed)
    told = [
        (one.entry.writing, closing.counted(one.entry.writing.tally, one.entry.answer, one.change, count, derived))
        for one, count, derived in zip(decided, counts, built, strict=True)
    ]
    tallies = await closing.close(connection, decided[0].entry.series.exchange, told)
    for one, tally, count in zip(decided, tallies, counts, strict=True):
        outcome[one.at] = Stored(one.change, tally, *count)
    return outcome


async def _free(connection: Connection, entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
    """The first entry of each series whose turn is free, with its place; the turns are taken."""
    first = dict[Series, tuple[int, Entry]]()
    for at, entry in enumerate(entries):
        first.setdefault(entry.series, (at, entry))
    rows = await connection.fetch(sql("try_lock_series"), *codec.names(first))
    return [one for one, row in zip(first.values(), rows, strict=True) if row["free"]]


async def _decided(connection: Connection, free: Sequence[tuple[int, Entry]]) -> list[_Decided]:
    if not free:
        return []
    stretches = [Stretch(one.series, one.answer.covered.hull | one.owe, one.first) for _, one in free]
    before = await held.read(connection, stretches)
    there = await held.present(connection, [Stretch(one.series, one.answer.covered) for _, one in free])
    decided = list[_Decided]()
    for (at, entry), known, present in zip(free, before, there, strict=True):
        if not held.retired(known, entry.answer.covered):
            now = replace(known, present=present)
            change = ledger.apply(now, entry.answer, settle_ms=entry.writing.settle_ms, owe=entry.owe)
            decided.append(_Decided(at, entry, now, change))
    return decided


async def _merge(connection: Connection, decided: Sequence[_Decided]) -> list[tuple[int, int]]:
    """Write the candles, each compared with the row that is there; how many of each entry were new, and changed."""
    answers = [one.entry.answer for one in decided]
    lines = [(at, line) for at, answer in enumerate(answers, 1) for line in answer.csv.decode("ascii").splitlines()]
    counts = [(0, 0) for _ in decided]
    if not lines:
        return counts
    rows = await connection.fetch(
        sql("merge_batch"), *codec.names(one.entry.series for one in decided),
        [codec.step(one.entry.series) for one in decided],
        [codec.moment(answer.at_ms) for answer in answers],
        [codec.moment(one.held.heard_ms) for one in decided],
        [one.held.heard_after(one.entry.answer.at_ms) for one in decided],
        *map(list, zip(*lines, strict=True)),
        [answers[0].columns.index(name) + 1 for name in _FIELDS],
    )  # fmt: skip
    for row in rows:
        counts[row["number"] - 1] = (row["inserted"], row["updated"])
    return counts
