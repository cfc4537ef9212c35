"""Series that are built from others.

Owns the writing of candles and ledger rows of a coarser timeframe, within the transaction that has changed its parent.
What is built of what is decided by ``derive``.
"""

from collections.abc import Sequence
from typing import NamedTuple

from marketd import derive
from marketd.blocks import Change, union
from marketd.model import Series
from marketd.ranges import Ranges
from marketd.store import codec, held
from marketd.store.held import Stretch
from marketd.store.queries import sql
from marketd.store.session import Connection


class Changed(NamedTuple):
    """Where a series was changed, and the exchange's time of what has changed it."""

    series: Series
    span: Ranges
    at_ms: int


async def follow(connection: Connection, changed: Sequence[Changed]) -> list[int]:
    """Bring what is built from series of an exchange up to date, and what is built from that in turn.

    Returns how many candles were written on account of each.
    """
    written = [0 for _ in changed]
    parents = [(at, one) for at, one in enumerate(changed) if one.span]
    while parents:
        children = list[tuple[int, Changed]]()
        for row in await connection.fetch(sql("derived_series"), *codec.names(one.series for _, one in parents)):
            at, (parent, span, at_ms) = parents[row["number"] - 1]
            child = parent._replace(timeframe=row["timeframe"])
            within = derive.child_span(span, parent.frame, child.frame)
            lasting = derive.lasting(
                within, codec.number(parent, row["parent_retired_until"]), parent.frame, child.frame,
                own=codec.number(child, row["retired_until"]),
            )  # fmt: skip
            if lasting[0] < lasting[1]:
                written[at] += await _build(connection, parent, child, Ranges.of(lasting), at_ms)
            children.append((at, Changed(child, Ranges.of(within), at_ms)))
        parents = children
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
    before = (await held.ledger(connection, [Stretch(child, span)]))[0].blocks
    blocks = derive.ledger(before, children, built, at_ms)
    changed = tuple(block for block in blocks if block.answered or block.number in before)
    await held.write(connection, [(child, Change(blocks=changed))])
    return written


async def _parent(connection: Connection, parent: Series, span: Ranges) -> derive.Parent:
    blocks = (await held.ledger(connection, [Stretch(parent, span)]))[0].blocks.values()
    return derive.Parent(
        stored=union(block.stored for block in blocks) & span,
        confirmed=union(block.empty_confirmed & block.answered for block in blocks) & span,
        first=codec.number(parent, await connection.fetchval(sql("first_candle"), *parent)),
    )
