"""Between rows and records.

Owns the translation of multiranges, times and ledger rows to and from the values that asyncpg carries.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from marketd.blocks import Block, Pending
from marketd.clock import at, ms_of
from marketd.model import Cause, Gap, Series
from marketd.ranges import Ranges


def ranges(value: Sequence["asyncpg.Range[int]"]) -> Ranges:
    """An ``int4multirange`` as Ranges; the server sends it normalised and half-open."""
    return Ranges(tuple((part.lower or 0, part.upper or 0) for part in value))


def multirange(intervals: Ranges) -> str:
    """Ranges as the text of an ``int4multirange``."""
    return "{" + ",".join(f"[{start},{end})" for start, end in intervals) + "}"


def moment(ms: int | None) -> datetime | None:
    return None if ms is None else at(ms)


def millis(value: datetime | None) -> int | None:
    return None if value is None else ms_of(value)


def opens(series: Series, number: int) -> datetime:
    """When interval ``number`` opens."""
    return at(series.frame.open_ms(number))


def number(series: Series, value: datetime | None) -> int | None:
    return None if value is None else series.frame.number(ms_of(value))


def names(series: Iterable[Series]) -> tuple[list[str], list[str], list[str]]:
    """Exchanges, symbols and timeframes, as statements about several series take them."""
    exchanges, symbols, timeframes = list[str](), list[str](), list[str]()
    for exchange, symbol, timeframe in series:
        exchanges.append(exchange)
        symbols.append(symbol)
        timeframes.append(timeframe)
    return exchanges, symbols, timeframes


def step(series: Series) -> timedelta:
    """The length of an interval as PostgreSQL adds it; derived months never pass here."""
    return timedelta(seconds=series.frame.step_s)


def step_s(series: Series) -> int:
    return series.frame.typical_s


def block(row: "asyncpg.Record") -> Block:
    return Block(
        number=row["block"],
        answered=ranges(row["answered"]),
        empty_once=ranges(row["empty_once"]),
        empty_confirmed=ranges(row["empty_confirmed"]),
        unsettled=ranges(row["unsettled"]),
        pending=tuple(Pending(*entry) for entry in json.loads(row["pending"])),
        answered_ms=millis(row["answered_at"]),
        look_ms=millis(row["look_at"]),
        look_step=row["look_step"],
    )


def block_columns(blocks: Sequence[Block]) -> tuple[list[Any], ...]:
    """Blocks as the arrays that ``write_blocks`` unnests."""
    return (
        [block.number for block in blocks],
        [multirange(block.answered) for block in blocks],
        [multirange(block.empty_once) for block in blocks],
        [multirange(block.empty_confirmed) for block in blocks],
        [multirange(block.unsettled) for block in blocks],
        [json.dumps([(wait.start, wait.end, wait.at_ms) for wait in block.pending]) for block in blocks],
        [block.stored.size for block in blocks],
        [moment(block.answered_ms) for block in blocks],
        [moment(block.look_ms) for block in blocks],
        [block.look_step for block in blocks],
    )


def gap(row: "asyncpg.Record") -> Gap:
    """An open gap."""
    return Gap(
        id=row["id"],
        cause=Cause(row["cause"]),
        missing=ranges(row["missing"]),
        detected_ms=ms_of(row["detected_at"]),
        filled=row["filled"],
        emptied=row["emptied"],
        attempts=row["attempts"],
        next_attempt_ms=millis(row["next_attempt_at"]),
        last_error=row["last_error"],
    )


def seconds_to_ranges(series: Series, seconds: Iterable[int]) -> Ranges:
    """Intervals that open at ``seconds`` since the epoch, ascending."""
    frame = series.frame
    if frame.step_s:
        return Ranges.from_numbers([(value - frame.anchor_s) // frame.step_s for value in seconds])
    return Ranges.from_numbers(frame.number(value * 1000) for value in seconds)
