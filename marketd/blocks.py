"""Blocks: the rows of the ledger, and what a decision about them takes and gives.

Owns the records that the ledger is kept in, and the cutting of sets along the borders of blocks. Refuses to decide
anything: what an answer changes is the business of ``ledger``.

Kept for every block, and asked by ``marketd verify`` in SQL:

* ``answered`` leaves out the intervals of open gaps, but for suspect ones;
* a stored candle is exactly an answered interval that is in neither set of empties;
* ``empty_once`` and ``empty_confirmed`` are disjoint, and within ``answered`` or an open gap.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

from marketd.model import Cause, Gap
from marketd.ranges import NOTHING, Ranges, Span

BLOCK = 1440
"""Intervals a block: a day of minutes, so that an update of the newest block stays small."""

CHUNK = 50
"""Blocks that are looked through in one transaction."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An empty answer younger than the settle time: a second one within it confirms nothing."""

    start: int
    end: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Block:
    """What is known of intervals ``[number * BLOCK, (number + 1) * BLOCK)``; one ledger row.

    ``unsettled`` are answered intervals that no answer covers which was taken at or after close + settle. ``look_ms``
    is when to look at the empties again, None where there are none; ``look_step`` counts the looks so far.
    """

    number: int
    answered: Ranges = NOTHING
    empty_once: Ranges = NOTHING
    empty_confirmed: Ranges = NOTHING
    unsettled: Ranges = NOTHING
    pending: tuple[Pending, ...] = ()
    answered_ms: int | None = None
    look_ms: int | None = None
    look_step: int = 0

    @property
    def span(self) -> Span:
        return self.number * BLOCK, (self.number + 1) * BLOCK

    @property
    def empties(self) -> Ranges:
        return self.empty_once | self.empty_confirmed

    @property
    def stored(self) -> Ranges:
        """The intervals that must have a candle row."""
        return self.answered - self.empties


@dataclass(frozen=True, slots=True)
class Held:
    """What is held about a stretch of a series before a change.

    ``blocks`` and open ``gaps`` are all that overlap the stretch; ``present`` the intervals of it that have a row in
    the candle table; ``first`` the first candle the exchange has, where known; intervals below ``retired`` were taken
    away by retention.
    """

    blocks: Mapping[int, Block] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    present: Ranges = NOTHING
    first: int | None = None
    retired: int | None = None

    @property
    def heard_ms(self) -> int | None:
        """When the one of its blocks was last answered of which nothing has been heard for longest."""
        return min((block.answered_ms for block in self.blocks.values() if block.answered_ms), default=None)

    def heard_after(self, at_ms: int) -> bool:
        """True where one of its blocks was answered later: what was said at ``at_ms`` is older than what is known."""
        return any((block.answered_ms or 0) > at_ms for block in self.blocks.values())


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision changes: only changed blocks and gaps (new ones without ``id``).

    ``covered`` is what the answer proved in the end. ``contradicted``: it contained none of the candles known to be
    there, so it proved no interval empty. ``vanished``: stored candles that the exchange no longer sends (they are
    kept). ``restored``: candles that came where the exchange had answered empty before.
    """

    blocks: tuple[Block, ...] = ()
    gaps: tuple[Gap, ...] = ()
    covered: Ranges = NOTHING
    contradicted: bool = False
    vanished: Ranges = NOTHING
    restored: Ranges = NOTHING
    emptied: int = 0

    @property
    def opened(self) -> int:
        """How many gaps it opens."""
        return sum(gap.id is None for gap in self.gaps)

    @property
    def closed(self) -> int:
        """How many gaps it closes."""
        return sum(not gap.open for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class State:
    """The sets of several blocks joined, so that a page is computed once and not block by block."""

    answered: Ranges
    once: Ranges
    confirmed: Ranges
    unsettled: Ranges

    @property
    def empties(self) -> Ranges:
        return self.once | self.confirmed

    @property
    def stored(self) -> Ranges:
        return self.answered - self.once - self.confirmed


def blocks_of(ranges: Ranges) -> range:
    """Numbers of the blocks that the hull of ``ranges`` touches."""
    if not ranges:
        return range(0)
    return range(ranges.start // BLOCK, (ranges.end - 1) // BLOCK + 1)


def intervals_of(numbers: Iterable[int]) -> Ranges:
    """All intervals of the blocks with these numbers."""
    return Ranges.of(*((number * BLOCK, (number + 1) * BLOCK) for number in numbers))


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The numbers of many blocks, so many at a time as one transaction takes."""
    return (numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK))


def union(parts: Iterable[Ranges]) -> Ranges:
    return reduce(or_, parts, NOTHING)


def owed(gaps: Iterable[Gap]) -> Ranges:
    """Intervals that open gaps take out of ``answered``: all but suspect ones."""
    return union(gap.missing for gap in gaps if gap.open and gap.cause is not Cause.SUSPECT)


def joined(held: Held) -> State:
    ordered = sorted(held.blocks.values(), key=lambda block: block.number)
    return State(
        answered=union(block.answered for block in ordered),
        once=union(block.empty_once for block in ordered),
        confirmed=union(block.empty_confirmed for block in ordered),
        unsettled=union(block.unsettled for block in ordered),
    )


def cut(block: Block, state: State) -> Block:
    """``block`` with its share of ``state``."""
    here = Ranges.of(block.span)
    return replace(
        block,
        answered=state.answered & here,
        empty_once=state.once & here,
        empty_confirmed=state.confirmed & here,
        unsettled=state.unsettled & here,
    )


def changed(held: Held, state: State, touched: Ranges = NOTHING) -> tuple[Block, ...]:
    """The blocks that are different in ``state``, new ones where ``touched``; without empties there is no look."""
    before = {number: Block(number) for number in blocks_of(touched)} | dict(held.blocks)
    after = (_relooked(block, cut(block, state)) for block in before.values())
    return tuple(block for block in after if block != before[block.number])


def _relooked(before: Block, after: Block) -> Block:
    return after if after.empties else replace(after, look_ms=None, look_step=0)
