"""The ledger: what is known of every interval, and what one more answer changes.

Owns the state of intervals (design: the state of an interval): which are answered, which of those were empty, once or
confirmed, and which are owed as gaps. Pure: (blocks, open gaps, answer, times) in, (blocks, gaps) out, over ranges of
interval numbers. Refuses to know a database or a clock; the store reads and writes what is decided here.

Kept for every block, and asked by ``marketd verify`` in SQL:

* ``answered`` leaves out the intervals of open gaps, but for suspect ones;
* a stored candle is exactly an answered interval that is in neither set of empties;
* ``empty_once`` and ``empty_confirmed`` are disjoint, and within ``answered`` or an open gap.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

from marketd.model import Answer, Cause, Gap, Resolution
from marketd.ranges import NOTHING, Ranges, Span

BLOCK = 1440
"""Intervals a block: a day of minutes, so that an update of the newest block stays small."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LOOKS_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS, 90 * DAY_MS)
"""When a block with empties is looked at again, each counted from the look before; the last one repeats."""

RETRIES_MS = (5 * 60_000, 15 * 60_000, HOUR_MS, 4 * HOUR_MS, DAY_MS)
"""When an owed interval is tried again, by attempts; the last one repeats."""


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
    the candle table; ``first`` the first candle the exchange has, where known.
    """

    blocks: Mapping[int, Block] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    present: Ranges = NOTHING
    first: int | None = None


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


@dataclass(frozen=True, slots=True)
class _State:
    """The sets of several blocks joined, so that a page is computed once and not block by block."""

    answered: Ranges
    once: Ranges
    confirmed: Ranges
    unsettled: Ranges


def blocks_of(ranges: Ranges) -> range:
    """Numbers of the blocks that the hull of ``ranges`` touches."""
    if not ranges:
        return range(0)
    return range(ranges.start // BLOCK, (ranges.end - 1) // BLOCK + 1)


def union(parts: Iterable[Ranges]) -> Ranges:
    return reduce(or_, parts, NOTHING)


def owed(gaps: Iterable[Gap]) -> Ranges:
    """Intervals that open gaps take out of ``answered``: all but suspect ones."""
    return union(gap.missing for gap in gaps if gap.open and gap.cause is not Cause.SUSPECT)


def _joined(blocks: Iterable[Block]) -> _State:
    ordered = sorted(blocks, key=lambda block: block.number)
    return _State(
        answered=union(block.answered for block in ordered),
        once=union(block.empty_once for block in ordered),
        confirmed=union(block.empty_confirmed for block in ordered),
        unsettled=union(block.unsettled for block in ordered),
    )


def apply(held: Held, answer: Answer, *, settle_ms: int, owe: Ranges = NOTHING) -> Change:
    """What ``answer`` changes in what is ``held`` about its covered range (and about ``owe``).

    ``owe`` is a stretch that this answer's run skips: what of it is neither answered nor owed yet becomes a
    ``not_asked`` gap in the same change.
    """
    state = _joined(held.blocks.values())
    covered, contradicted = _believed(held, state, answer)
    kept = (held.present & covered) - answer.rows
    bad = (answer.dropped & covered) - held.present
    empty = covered - answer.rows - bad - kept
    confirmed_now = _confirmed_now(held, state, answer, empty, settle_ms)
    newly_once = empty - state.once - state.confirmed
    settled = Ranges.of((covered.start, _settled_end(answer, settle_ms))) & covered if covered else NOTHING
    gone = answer.rows | kept | bad  # no longer empty, whatever was thought
    once = (state.once - gone - confirmed_now) | newly_once
    confirmed = (state.confirmed - gone) | confirmed_now
    gaps = _gaps_after(held, answer, covered, answer.rows | kept, confirmed, once, settle_ms)
    still_owed = owed(gaps)
    fresh = _fresh_gaps(answer.at_ms, bad - still_owed, (owe - state.answered - covered) - still_owed)
    answered = (state.answered | covered) - still_owed - owed(fresh)
    after = _State(answered, once, confirmed, ((state.unsettled - settled) | (covered - settled)) & answered)
    touched = blocks_of(covered)
    return Change(
        blocks=tuple(_block(held.blocks.get(at), at, after, answer, covered, newly_once, settle_ms) for at in touched),
        gaps=tuple(gap for gap in gaps if gap not in held.gaps) + fresh,
        covered=covered,
        contradicted=contradicted,
        vanished=kept & state.answered,
        restored=answer.rows & (state.once | state.confirmed),
        emptied=newly_once.size,
    )


def _believed(held: Held, state: _State, answer: Answer) -> tuple[Ranges, bool]:
    """The range that the answer is believed for: an answer without any of the known candles proves only its rows."""
    covered = answer.covered
    stored = (state.answered - state.once - state.confirmed) | held.present
    known = (stored | answer.ask.known) & covered
    if held.first is not None and held.first in covered:
        known = known | Ranges.of((held.first, held.first + 1))
    if known and not (known & (answer.rows | answer.dropped)):
        return answer.rows, True
    return covered, False


def _settled_end(answer: Answer, settle_ms: int) -> int:
    return answer.ask.series.frame.closed_end(answer.at_ms - settle_ms)


def _confirmed_now(held: Held, state: _State, answer: Answer, empty: Ranges, settle_ms: int) -> Ranges:
    """Empties for which this is a second answer that counts: late enough after the close and after the first one."""
    again = empty & state.once
    if not again:
        return NOTHING
    again = again & Ranges.of((again.start, _settled_end(answer, settle_ms)))
    young = Ranges.of(*(
        (wait.start, wait.end)
        for block in held.blocks.values()
        for wait in block.pending
        if answer.at_ms - wait.at_ms < settle_ms
    ))
    suspects = [gap for gap in held.gaps if gap.open and gap.cause is Cause.SUSPECT]
    believed = union(gap.missing for gap in suspects if answer.at_ms - gap.detected_ms >= DAY_MS)
    doubted = union(gap.missing for gap in suspects) - believed
    return again - young - doubted


def _gaps_after(
    held: Held, answer: Answer, covered: Ranges, filled: Ranges, confirmed: Ranges, once: Ranges, settle_ms: int
) -> tuple[Gap, ...]:
    return tuple(
        _gap_after(gap, answer.at_ms, covered, filled, confirmed, once, settle_ms) if gap.missing & covered else gap
        for gap in held.gaps
    )


def _gap_after(
    gap: Gap, at_ms: int, covered: Ranges, filled: Ranges, confirmed: Ranges, once: Ranges, settle_ms: int
) -> Gap:
    """The gap after an answer that touched it: what is stored or confirmed empty leaves it, nothing else does."""
    stored, emptied = gap.missing & filled, gap.missing & confirmed
    missing = gap.missing - stored - emptied
    gap = replace(gap, filled=gap.filled + stored.size, emptied=gap.emptied + emptied.size, missing=missing)
    if not missing:
        return replace(gap, repaired_ms=at_ms, resolution=_resolution(gap), next_attempt_ms=None, last_error=None)
    tried = missing & covered
    if not tried or missing - covered - once:
        return gap  # the rest is due when it was before
    gap = replace(gap, attempts=gap.attempts + 1)
    if gap.cause is Cause.SUSPECT:
        return replace(gap, next_attempt_ms=max(gap.detected_ms + DAY_MS, at_ms + HOUR_MS))
    if once.covers(tried):
        return replace(gap, next_attempt_ms=at_ms + settle_ms)
    return replace(gap, next_attempt_ms=at_ms + _retry_ms(gap.attempts), last_error="the candle sent is unusable")


def _resolution(gap: Gap) -> Resolution:
    if not gap.emptied:
        return Resolution.STORED
    return Resolution.MIXED if gap.filled else Resolution.EMPTY


def _retry_ms(attempts: int) -> int:
    return RETRIES_MS[min(max(attempts, 1), len(RETRIES_MS)) - 1]


def _fresh_gaps(at_ms: int, failed: Ranges, not_asked: Ranges) -> tuple[Gap, ...]:
    fresh = []
    if failed:
        error = "the candle sent is misaligned or implausible"
        fresh.append(Gap(Cause.FAILED, failed, at_ms, attempts=1, next_attempt_ms=at_ms + _retry_ms(1), last_error=error))
    if not_asked - failed:
        fresh.append(Gap(Cause.NOT_ASKED, not_asked - failed, at_ms, next_attempt_ms=at_ms))
    return tuple(fresh)


def _block(
    before: Block | None, number: int, after: _State, answer: Answer, covered: Ranges, newly: Ranges, settle_ms: int
) -> Block:
    before = before or Block(number)
    here = Ranges.of(before.span)
    block = _cut(before, after)
    newly = newly & here
    pending = [wait for wait in before.pending if 0 <= answer.at_ms - wait.at_ms < settle_ms]
    if newly:
        pending.append(Pending(newly.start, newly.end, answer.at_ms))
    return replace(
        block,
        pending=tuple(pending),
        answered_ms=answer.at_ms if covered & here else before.answered_ms,
        **_look(before, block, covered, bool(newly), answer.at_ms),
    )


def _cut(block: Block, state: _State) -> Block:
    """``block`` with its share of ``state``."""
    here = Ranges.of(block.span)
    return replace(
        block,
        answered=state.answered & here,
        empty_once=state.once & here,
        empty_confirmed=state.confirmed & here,
        unsettled=state.unsettled & here,
    )


def _look(before: Block, block: Block, covered: Ranges, grew: bool, at_ms: int) -> dict[str, int | None]:
    """When to look again: an hour after the empties grew, else one step further once a due look covered the block."""
    if not block.empties:
        return {"look_ms": None, "look_step": 0}
    if grew or before.look_ms is None:
        return {"look_ms": at_ms + LOOKS_MS[0], "look_step": 0}
    if at_ms >= before.look_ms and covered.covers(before.answered):
        step = min(before.look_step + 1, len(LOOKS_MS) - 1)
        return {"look_ms": at_ms + LOOKS_MS[step], "look_step": step}
    return {"look_ms": before.look_ms, "look_step": before.look_step}


def fail(held: Held, span: Ranges, *, at_ms: int, error: str) -> Change:
    """``span`` was asked and not usably answered after all tries: what of it is unknown becomes a ``failed`` gap.

    Gaps already open there count the attempt and wait longer; looks that were due wait an hour. Nothing is proven.
    """
    state = _joined(held.blocks.values())
    gaps = tuple(
        replace(
            gap, attempts=gap.attempts + 1, last_error=error, next_attempt_ms=at_ms + _retry_ms(gap.attempts + 1)
        )
        for gap in held.gaps
        if gap.open and gap.missing & span
    )
    unknown = span - state.answered - union(gap.missing for gap in held.gaps if gap.open)
    if unknown:
        gaps += (
            Gap(Cause.FAILED, unknown, at_ms, attempts=1, next_attempt_ms=at_ms + _retry_ms(1), last_error=error),
        )
    blocks = tuple(
        replace(block, look_ms=at_ms + HOUR_MS)
        for block in held.blocks.values()
        if block.look_ms is not None and block.look_ms <= at_ms and Ranges.of(block.span) & span
    )
    return Change(blocks=blocks, gaps=gaps)


def audit(held: Held, span: Ranges, *, at_ms: int) -> Change:
    """Hold the ledger against the rows that are really ``present`` within ``span``.

    Stored candles whose row has disappeared become ``lost`` gaps, one for each stretch between rows that are there;
    rows that others put into empty or owed intervals are taken for stored.
    """
    state = _joined(held.blocks.values())
    lost = ((state.answered - state.once - state.confirmed) & span) - held.present
    found = held.present & (state.once | state.confirmed | union(gap.missing for gap in held.gaps))
    if not lost and not found:
        return Change()
    gaps = tuple(
        _gap_after(gap, at_ms, found, found, NOTHING, NOTHING, 0) for gap in held.gaps if gap.missing & found
    )
    fresh = tuple(Gap(Cause.LOST, run, at_ms, next_attempt_ms=at_ms) for run in _stretches(lost, held.present))
    answered = (state.answered | found) - owed(fresh)
    after = _State(answered, state.once - found, state.confirmed - found, state.unsettled & answered)
    changed = (_relooked(block, _cut(block, after)) for block in held.blocks.values())
    blocks = tuple(block for block in changed if block != held.blocks[block.number])
    return Change(blocks=blocks, gaps=gaps + fresh)


def _relooked(before: Block, after: Block) -> Block:
    return after if after.empties or before.look_ms is None else replace(after, look_ms=None, look_step=0)


def _stretches(lost: Ranges, present: Ranges) -> list[Ranges]:
    """``lost`` cut wherever a row that is there lies between two lost ones."""
    stretches: list[list[Span]] = []
    for span in lost:
        following = present.at_or_after(stretches[-1][-1][1]) if stretches else None
        if stretches and (following is None or following >= span[0]):
            stretches[-1].append(span)
        else:
            stretches.append([span])
    return [Ranges(tuple(spans)) for spans in stretches]


def doubt(held: Held, runs: Sequence[Ranges], *, at_ms: int) -> Change:
    """Open a ``suspect`` gap for each run of empties that looks wrong: its intervals go back to ``empty_once``.

    A silence that goes on makes its gap longer instead of opening another one, and its day begins anew.
    """
    state = _joined(held.blocks.values())
    others = union(gap.missing for gap in held.gaps if gap.open and gap.cause is not Cause.SUSPECT)
    open_suspects = [gap for gap in held.gaps if gap.open and gap.cause is Cause.SUSPECT]
    gaps = tuple(
        _doubted(run, open_suspects, at_ms)
        for run in ((run & (state.once | state.confirmed)) - others for run in runs)
        if run - union(gap.missing for gap in open_suspects)
    )
    doubted = union(gap.missing for gap in gaps)
    after = replace(state, once=state.once | (doubted & state.confirmed), confirmed=state.confirmed - doubted)
    changed = (_cut(block, after) for block in held.blocks.values())
    return Change(blocks=tuple(block for block in changed if block != held.blocks[block.number]), gaps=gaps)


def _doubted(run: Ranges, open_suspects: Sequence[Gap], at_ms: int) -> Gap:
    wider = Ranges.of((run.start - 1, run.end + 1))
    grown = next((gap for gap in open_suspects if gap.missing & wider), Gap(Cause.SUSPECT, NOTHING, at_ms))
    others = union(gap.missing for gap in open_suspects if gap is not grown)
    return replace(
        grown, missing=(grown.missing | run) - others, detected_ms=at_ms, next_attempt_ms=at_ms + DAY_MS
    )


def narrow(gaps: Iterable[Gap], wanted: Ranges, *, at_ms: int) -> tuple[Gap, ...]:
    """Open gaps after their job was narrowed to ``wanted``: what lies outside is no longer owed."""
    changed = []
    for gap in gaps:
        missing = gap.missing & wanted
        if missing == gap.missing:
            continue
        gap = replace(gap, missing=missing or gap.missing)
        if not missing:
            gap = replace(gap, repaired_ms=at_ms, resolution=Resolution.NOT_WANTED, next_attempt_ms=None)
        changed.append(gap)
    return tuple(changed)

