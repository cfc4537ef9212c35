"""Derived timeframes: which coarser candles can be built, and what their ledger then says.

Owns the arithmetic between a parent series and the series built from it. Pure: sets of parent intervals in, sets of
child intervals out; the building itself is one SQL statement. A child interval counts only where every parent
interval of it is stored, confirmed empty, or before the first candle of the parent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from marketd.blocks import Block, blocks_of
from marketd.ranges import NOTHING, Ranges, Span
from marketd.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class Parent:
    """What is known of the parent over a stretch; ``first`` is its first candle, where known."""

    stored: Ranges
    confirmed: Ranges
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """Child intervals that can be built: ``stored`` have a candle, ``empty`` had no trade in any parent interval."""

    stored: Ranges = NOTHING
    empty: Ranges = NOTHING


def child_span(parents: Ranges, parent: Timeframe, child: Timeframe) -> Span:
    """Child intervals that overlap the hull of ``parents``."""
    return child.number(parent.open_ms(parents.start)), child.number(parent.open_ms(parents.end) - 1) + 1


def parent_span(children: Span, parent: Timeframe, child: Timeframe) -> Span:
    """Parent intervals that make up the child intervals of ``children``."""
    return parent.number(child.open_ms(children[0])), parent.number(child.open_ms(children[1]))


def lasting(
    children: Span, retired: int | None, parent: Timeframe, child: Timeframe, *, own: int | None = None
) -> Span:
    """Those of ``children`` that follow their parents: a child of which a parent is ``retired`` stays as it was proven,
    and those below ``own`` are retired themselves.
    """
    start = children[0] if own is None else max(children[0], own)
    if retired is not None:
        start = max(start, child.number(parent.open_ms(retired) - 1) + 1)
    return start, max(children[1], start)


def build(known: Parent, children: Span, parent: Timeframe, child: Timeframe) -> Built:
    """Which intervals of ``children`` are complete, and which of those hold no trade at all."""
    proven = known.stored | known.confirmed
    if known.first is not None:
        start = parent_span(children, parent, child)[0]
        proven = proven | Ranges.of((start, known.first))
    stored, empty = list[int](), list[int]()
    for number in range(*children):
        span = Ranges.of(parent_span((number, number + 1), parent, child))
        if not proven.covers(span):
            continue
        (stored if known.stored & span else empty).append(number)
    first = known.first
    if first is not None:
        # What lies wholly before the first candle is not part of the child's history either.
        born = child.number(parent.open_ms(first))
        empty = [number for number in empty if number >= born]
    return Built(Ranges.from_numbers(stored), Ranges.from_numbers(empty))


def ledger(before: Mapping[int, Block], children: Span, built: Built, at_ms: int) -> tuple[Block, ...]:
    """The child's blocks after its intervals in ``children`` follow their parents again."""
    here = Ranges.of(children)
    return tuple(_follow(before.get(number) or Block(number), here, built, at_ms) for number in blocks_of(here))


def _follow(block: Block, here: Ranges, built: Built, at_ms: int) -> Block:
    span = Ranges.of(block.span)
    return replace(
        block,
        answered=(block.answered - here) | ((built.stored | built.empty) & span),
        empty_once=block.empty_once - here,
        empty_confirmed=(block.empty_confirmed - here) | (built.empty & span),
        unsettled=block.unsettled - here,
        pending=(),
        answered_ms=at_ms,
        look_ms=None,
        look_step=0,
    )


def parents_of(timeframe: str, derived: Mapping[str, str]) -> list[str]:
    """The chain of timeframes that ``timeframe`` is built from, nearest first; empty for a native one."""
    chain: list[str] = []
    while timeframe in derived:
        timeframe = derived[timeframe]
        if timeframe in chain:
            raise ValueError(f"timeframe {timeframe} would be derived from itself")
        chain.append(timeframe)
    return chain
