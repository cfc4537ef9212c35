"""A toy exchange and a store in memory, for tests of the pure heart.

The exchange is a set of candles that it shows or hides, with a page limit that it may lower in silence; the store
keeps blocks, gaps and rows as the database does, and decides nothing. Numbers are intervals of ``FRAME``.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from marketd import ledger, page
from marketd.blocks import BLOCK, Block, Change, Held, blocks_of, union
from marketd.exchanges.bitfinex import EXCHANGE as BITFINEX
from marketd.model import Answer, Ask, Cause, Gap, Rows, Series
from marketd.planner import Edges
from marketd.ranges import NOTHING, Ranges, Span

SERIES = Series("bitfinex", "BTCUSD", "1m")
FRAME = SERIES.frame
COLUMNS = ("open_ms", "open", "close", "high", "low", "volume")
MINUTE_MS = 60_000
SETTLE_MS = 2 * MINUTE_MS


def numbers(intervals: Iterable[int]) -> Ranges:
    return Ranges.from_numbers(sorted(intervals))


def closed_at(end: int, later_ms: int = 0) -> int:
    """The time at which all intervals below ``end`` are closed, and ``later_ms`` more."""
    return end * MINUTE_MS + later_ms


def rows(opens: Iterable[int], *, price: float = 5.0, bad: Iterable[int] = (), late_ms: int = 0) -> Rows:
    """Rows of the intervals ``opens``, in that order; those in ``bad`` have a low above their high."""
    opens, bad = list(opens), set(bad)
    open_ms = [FRAME.open_ms(number) + late_ms for number in opens]
    lows = [price * 2 if number in bad else price for number in opens]
    flat = [price] * len(opens)
    lines = [f"{ms},{price},{price},{price},{low},1".encode() for ms, low in zip(open_ms, lows, strict=True)]
    return Rows(open_ms, flat, flat, lows, flat, [1.0] * len(opens), lines)


def answer_of(
    ask: Ask, sent: Rows, at_ms: int, *, grace_s: float = 0, strays: bool = False, sizes: Collection[int] = ()
) -> Answer:
    speaks = replace(BITFINEX, grace_s=grace_s, strays=strays, page_limits=tuple(sizes) or BITFINEX.page_limits)
    return page.check(ask, sent, speaks, at_ms=at_ms)


def answered(
    start: int, end: int, opens: Iterable[int] = (), *, at_ms: int | None = None, known: Ranges = NOTHING
) -> Answer:
    """The answer to a whole ask ``[start, end)`` with candles at ``opens``; a day after its close, unless ``at_ms``."""
    ask = Ask(SERIES, start, end, newest_first=False, known=known)
    there = numbers(opens)
    at_ms = closed_at(end, ledger.DAY_MS) if at_ms is None else at_ms
    return Answer(ask, Ranges.of((start, end)), there, NOTHING, b"", COLUMNS, at_ms, there.size)


@dataclass
class Toy:
    """An exchange: ``candles`` that it has, ``hidden`` ones that it does not show, ``bad`` ones that it garbles."""

    candles: set[int] = field(default_factory=set)
    limit: int = 10_000
    hidden: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    sizes: tuple[int, ...] = ()
    """Pages that it is known to have had."""

    cut_at_start: bool | None = None
    """On which side pages are cut, whatever the ask says; None: as it says."""

    @property
    def visible(self) -> set[int]:
        return self.candles - self.hidden

    def send(self, ask: Ask) -> tuple[list[int], Ranges]:
        """Intervals of the rows sent, in order, and the part of ``ask`` that was not cut away with them."""
        newest_first = ask.newest_first if self.cut_at_start is None else self.cut_at_start
        there = sorted((n for n in self.visible if ask.start <= n < ask.end), reverse=newest_first)
        sent = there[: self.limit]
        if len(there) <= self.limit:
            return sent, Ranges.of(ask.span)
        return sent, Ranges.of((sent[-1], ask.end) if newest_first else (ask.start, sent[-1] + 1))

    def answer(self, ask: Ask, at_ms: int) -> Answer:
        return answer_of(ask, rows(self.send(ask)[0], bad=self.bad), at_ms, sizes=self.sizes)


@dataclass
class Book:
    """The store of one series, in memory: what it is told by the ledger, it keeps."""

    blocks: dict[int, Block] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    table: set[int] = field(default_factory=set)
    first: int | None = None

    @property
    def open_gaps(self) -> list[Gap]:
        return [gap for gap in self.gaps.values() if gap.open]

    @property
    def answered(self) -> Ranges:
        return union(block.answered for block in self.blocks.values())

    @property
    def once(self) -> Ranges:
        return union(block.empty_once for block in self.blocks.values())

    @property
    def confirmed(self) -> Ranges:
        return union(block.empty_confirmed for block in self.blocks.values())

    @property
    def unsettled(self) -> Ranges:
        return union(block.unsettled for block in self.blocks.values())

    @property
    def stored(self) -> Ranges:
        return self.answered - self.once - self.confirmed

    @property
    def owed(self) -> Ranges:
        return union(gap.missing for gap in self.open_gaps)

    def present(self, span: Ranges) -> Ranges:
        return numbers(self.table) & span.hull

    def held(self, span: Ranges, *, present: bool = False) -> Held:
        return Held(
            blocks={at: self.blocks[at] for at in blocks_of(span) if at in self.blocks},
            gaps=tuple(gap for gap in self.open_gaps if gap.missing & span),
            present=self.present(span) if present else NOTHING,
            first=self.first,
        )

    def edges(self, span: Span) -> Edges:
        return Edges(
            max((n for n in self.table if n < span[0]), default=None),
            min((n for n in self.table if n >= span[1]), default=None),
        )

    def record(self, answer: Answer, *, owe: Ranges = NOTHING) -> Change:
        """One page; rows are looked up only where the range was asked before, or where a row is in the way."""
        held = self.held(answer.covered.hull | owe)
        touched = union(block.answered for block in held.blocks.values()) & answer.covered
        asked = bool(touched - answer.rows) or any(gap.missing & answer.covered for gap in held.gaps)
        change = ledger.apply(held, answer, settle_ms=SETTLE_MS, owe=owe)
        if asked or change.contradicted or set((answer.rows - touched).numbers()) & self.table:
            held = replace(held, present=self.present(answer.covered))
            change = ledger.apply(held, answer, settle_ms=SETTLE_MS, owe=owe)
        self.table.update(answer.rows.numbers())
        return self.write(change)

    def audit(self, span: Ranges, at_ms: int) -> Change:
        return self.write(ledger.audit(self.held(span, present=True), span, at_ms=at_ms))

    def rebuild(self, span: Ranges, at_ms: int) -> Change:
        return self.write(ledger.rebuild(self.held(span, present=True), span, at_ms=at_ms))

    def fail(self, span: Ranges, at_ms: int, owe: Ranges = NOTHING) -> Change:
        return self.write(ledger.fail(self.held(span | owe), span, at_ms=at_ms, error="no", owe=owe))

    def doubt(self, *runs: Ranges, at_ms: int) -> Change:
        span = union(Ranges.of((run.start - 1, run.end + 1)) for run in runs)
        return self.write(ledger.doubt(self.held(span), runs, at_ms=at_ms))

    def narrow(self, wanted: Ranges, at_ms: int) -> Change:
        everything = Ranges.of((-(10**6), 10**6))
        return self.write(ledger.narrow(self.held(everything), wanted, at_ms=at_ms))

    def write(self, change: Change) -> Change:
        for block in change.blocks:
            self.blocks[block.number] = block
        for gap in change.gaps:
            kept = gap if gap.id is not None else replace(gap, id=len(self.gaps) + 1)
            assert kept.id is not None
            self.gaps[kept.id] = kept
        return change


OLD = closed_at(BLOCK, ledger.DAY_MS)
"""A time long after everything in block 0 has closed and settled."""


def book(start: int = 0, end: int = 100, opens: tuple[int, ...] = (), *, at_ms: int = OLD) -> Book:
    """A book that has heard one answer for ``[start, end)``."""
    made = Book()
    made.record(answered(start, end, opens, at_ms=at_ms))
    return made


def with_gap(cause: Cause, missing: Ranges) -> Book:
    """A book that knows nothing but an open gap."""
    return Book(gaps={1: Gap(cause, missing, OLD, id=1, next_attempt_ms=OLD)})


def suspect(start: int, end: int) -> Book:
    """A book with a silence ``[start, end)`` between two candles that was confirmed, and is doubted now."""
    made = book(start - 1, end + 1, (start - 1, end), at_ms=OLD - ledger.HOUR_MS)
    made.record(answered(start - 1, end + 1, (start - 1, end), at_ms=OLD))
    made.doubt(Ranges.of((start, end)), at_ms=OLD)
    return made
