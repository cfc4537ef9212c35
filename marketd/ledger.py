"""The ledger: what is known of every interval, and what one more answer changes.

Owns the state of intervals (design: the state of an interval): which are answered, which of those were empty, once or
confirmed, and which are owed as gaps. Pure: (blocks, open gaps, answer, times) in, (blocks, gaps) out, over ranges of
interval numbers. Refuses to know a database or a clock; the store reads and writes what is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from marketd.blocks import Block, Change, Held, Pending, State, blocks_of, changed, cut, joined, owed, union
from marketd.model import Answer, Cause, Gap, Resolution
from marketd.ranges import NOTHING, Ranges, Span

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LOOKS_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS, 90 * DAY_MS)
"""When a block with empties is looked at again, each counted from the look before; the last one repeats."""

RETRIES_MS = (5 * 60_000, 15 * 60_000, HOUR_MS, 4 * HOUR_MS, DAY_MS)
"""When an owed interval is tried again, by attempts; the last one repeats."""

_BELIEVED_LATER = (Cause.SUSPECT, Cause.LATE)
"""Gaps that an empty answer ends only a day after they were opened."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What an answer is believed to prove, over the part of it that is believed: ``covered``.

    ``asked`` is the range of the ask (nothing where the answer was contradicted), ``filled`` what has a row after it,
    ``bad`` what was sent but cannot be used, ``once`` what is empty for the first time, ``confirmed`` for the second,
    ``waiting`` what had been answered empty before and waits for its second answer, ``later`` what has been heard of
    since: the answer is out of a cache.
    """

    at_ms: int
    settle_ms: int
    asked: Ranges
    covered: Ranges
    filled: Ranges
    bad: Ranges = NOTHING
    once: Ranges = NOTHING
    confirmed: Ranges = NOTHING
    waiting: Ranges = NOTHING
    later: Ranges = NOTHING
    counted: bool = False


def apply(held: Held, answer: Answer, *, settle_ms: int, owe: Ranges = NOTHING) -> Change:
    """What ``answer`` changes in what is ``held`` about its covered range (and about ``owe``).

    ``owe`` is a stretch that this answer's run skips: what of it has closed and is neither answered nor owed yet
    becomes a ``not_asked`` gap in the same change.
    """
    state = joined(held)
    if owe:  # planned by a clock that was ahead it reaches into the future
        owe = owe & Ranges.of((owe.start, answer.ask.series.frame.closed_end(answer.at_ms)))
    proof, contradicted = _proof(held, state, answer, settle_ms)
    covered, gone = proof.covered, proof.filled | proof.bad  # no longer empty, whatever was thought
    gaps = tuple(_gap_after(gap, proof) for gap in held.gaps)
    still_owed = owed(gaps)
    fresh = _fresh_gaps(answer.at_ms, proof.bad - still_owed, (owe - state.answered - covered) - still_owed)
    fresh += _missing(held, state, answer, proof)
    answered = (state.answered | covered) - still_owed - owed(fresh)
    settled = Ranges.of((covered.start, _settled_end(answer, settle_ms))) if covered else NOTHING
    after = State(
        answered=answered,
        once=(state.once - gone - proof.confirmed) | proof.once,
        confirmed=(state.confirmed - gone) | proof.confirmed,
        unsettled=((state.unsettled | (covered - state.answered)) - (settled & covered)) & answered,
    )
    touched = (held.blocks.get(number) or Block(number) for number in blocks_of(covered))
    return Change(
        blocks=tuple(_block(block, after, proof) for block in touched if Ranges.of(block.span) & covered),
        gaps=tuple(gap for gap in gaps if gap not in held.gaps) + fresh,
        covered=covered,
        contradicted=contradicted,
        vanished=(proof.filled - answer.rows - answer.dropped) & state.answered,
        restored=answer.rows & state.empties,
        emptied=proof.once.size,
    )


def _proof(held: Held, state: State, answer: Answer, settle_ms: int) -> tuple[_Proof, bool]:
    """What ``answer`` proves; True where it is contradicted by candles that are known to be there.

    An answer without any of the known candles proves only its rows.
    """
    covered = answer.covered
    known = (state.stored | held.present | answer.ask.known) & covered
    if held.first is not None and held.first in covered:
        known = known | Ranges.of((held.first, held.first + 1))
    if known and not (known & (answer.rows | answer.dropped)):
        return _Proof(answer.at_ms, settle_ms, NOTHING, answer.rows, answer.rows), True
    filled = answer.rows | (held.present & covered)
    bad = (answer.dropped & covered) - filled
    empty = covered - filled - bad
    # What comes out of a cache, older than what its block has heard since, cannot be compared with the first answer.
    later = Ranges.of(*(block.span for block in held.blocks.values() if (block.answered_ms or 0) > answer.at_ms))
    return _Proof(
        at_ms=answer.at_ms,
        settle_ms=settle_ms,
        asked=Ranges.of(answer.ask.span),
        covered=covered,
        filled=filled,
        bad=bad,
        once=empty - state.empties,
        confirmed=_confirmed(held, state, answer, empty - later, settle_ms),
        waiting=state.once,
        later=later,
        counted=answer.ask.counted,
    ), False


def _settled_end(answer: Answer, settle_ms: int) -> int:
    return answer.ask.series.frame.closed_end(answer.at_ms - settle_ms)


def _confirmed(held: Held, state: State, answer: Answer, empty: Ranges, settle_ms: int) -> Ranges:
    """Those of ``empty`` for which this second answer counts: late enough after the close and after the first one."""
    again = empty & state.once
    if not again:
        return NOTHING
    again = again & Ranges.of((again.start, _settled_end(answer, settle_ms)))
    young = Ranges.of(
        *(
            (wait.start, wait.end)
            for block in held.blocks.values()
            for wait in block.pending
            if answer.at_ms - wait.at_ms < settle_ms
        )
    )
    doubted = union(
        gap.missing for gap in held.gaps if gap.cause in _BELIEVED_LATER and answer.at_ms - gap.detected_ms < DAY_MS
    )
    return again - young - doubted


def _gap_after(gap: Gap, proof: _Proof) -> Gap:
    """The gap after an answer that touched it: what is stored or confirmed empty leaves it.

    So does, from a suspect gap, what came but cannot be used: it is no longer in doubt but failed.
    """
    suspect = gap.cause is Cause.SUSPECT
    if gap.detected_ms > proof.at_ms and not gap.missing & proof.later:
        gap = replace(gap, detected_ms=proof.at_ms)  # by a clock that was ahead: the wait begins now
    stored, emptied = gap.missing & proof.filled, gap.missing & proof.confirmed
    missing = gap.missing - stored - emptied - (proof.bad if suspect else NOTHING)
    gap = replace(gap, filled=gap.filled + stored.size, emptied=gap.emptied + emptied.size, missing=missing)
    if not missing:
        return replace(gap, repaired_ms=proof.at_ms, resolution=_resolution(gap), next_attempt_ms=None, last_error=None)
    tried = missing & proof.covered
    if not tried or missing - proof.covered - proof.waiting:
        return gap  # what was not asked this time is due when it was before
    gap = replace(gap, attempts=gap.attempts + 1)
    if suspect:
        return replace(gap, next_attempt_ms=max(gap.detected_ms + DAY_MS, proof.at_ms + HOUR_MS))
    if tried & proof.bad:
        error = "the candle sent is unusable"
        return replace(gap, next_attempt_ms=proof.at_ms + _retry_ms(gap.attempts), last_error=error)
    if gap.cause is Cause.LATE:
        return replace(gap, next_attempt_ms=proof.at_ms + _retry_ms(gap.attempts))
    return replace(gap, next_attempt_ms=proof.at_ms + proof.settle_ms)


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
        fresh.append(_failed(failed, at_ms, error))
    if not_asked:
        fresh.append(Gap(Cause.NOT_ASKED, not_asked, at_ms, next_attempt_ms=at_ms))
    return tuple(fresh)


def _missing(held: Held, state: State, answer: Answer, proof: _Proof) -> tuple[Gap, ...]:
    """Gaps for what did not come from an exchange that always sends something: ``late`` within a day, then ``suspect``.

    Like every silence that looks wrong it is believed by an answer a day later, not at once.
    """
    if not answer.always or held.first is None:
        return ()
    frame, at_ms, settled_end = answer.ask.series.frame, answer.at_ms, _settled_end(answer, proof.settle_ms)
    settled = Ranges.of((held.first + 1, settled_end))
    heard = proof.once | (state.once & proof.covered)
    missing = ((heard - proof.filled - proof.bad - proof.confirmed) & settled) - union(gap.missing for gap in held.gaps)
    recent = missing & Ranges.of((frame.closed_end(at_ms - DAY_MS), settled_end))
    found = ((Cause.LATE, recent, _retry_ms(1)), (Cause.SUSPECT, missing - recent, DAY_MS))
    return tuple(Gap(cause, run, at_ms, next_attempt_ms=at_ms + wait_ms) for cause, run, wait_ms in found if run)


def _failed(missing: Ranges, at_ms: int, error: str) -> Gap:
    return Gap(Cause.FAILED, missing, at_ms, attempts=1, next_attempt_ms=at_ms + _retry_ms(1), last_error=error)


def _block(before: Block, after: State, proof: _Proof) -> Block:
    block = cut(before, after)
    newly = proof.once & Ranges.of(before.span)
    pending = [wait for wait in before.pending if proof.at_ms - wait.at_ms < proof.settle_ms]
    if newly:
        pending.append(Pending(newly.start, newly.end, proof.at_ms))
    latest_ms = max(proof.at_ms, before.answered_ms or proof.at_ms)
    return _looked(before, replace(block, pending=tuple(pending), answered_ms=latest_ms), proof, grew=bool(newly))


def _looked(before: Block, block: Block, proof: _Proof, *, grew: bool) -> Block:
    """When to look again: an hour after the empties grew, else one step further once a due look has come."""
    if not block.empties:
        return replace(block, look_ms=None, look_step=0)
    if grew or before.look_ms is None:
        return replace(block, look_ms=proof.at_ms + LOOKS_MS[0], look_step=0)
    if proof.at_ms >= before.look_ms and _is_look(before, proof) and proof.covered & before.answered:
        return _later(block, proof.at_ms)
    return block


def _is_look(before: Block, proof: _Proof) -> bool:
    """A look is an ask for all that is answered of the block. It may take several pages: the first one counts.

    Where pages are counted so are asks: then that for the beginning is the first page.
    """
    return proof.asked.covers(before.answered) or (proof.counted and before.answered.start in proof.asked)


def _later(block: Block, at_ms: int) -> Block:
    """The next look of a block, one step further from this one."""
    step = min(block.look_step + 1, len(LOOKS_MS) - 1)
    return replace(block, look_ms=at_ms + LOOKS_MS[step], look_step=step)


def fail(held: Held, span: Ranges, *, at_ms: int, error: str, owe: Ranges = NOTHING) -> Change:
    """``span`` was asked and not usably answered after all tries: what of it is unknown becomes a ``failed`` gap.

    Gaps already open there count the attempt and wait longer, and so do looks that were due. Nothing is proven.
    ``owe`` as in ``apply``: whoever fills the gap makes the series answered beyond what lies before it.
    """
    tried = [gap for gap in held.gaps if gap.missing & span]
    gaps = tuple(
        replace(gap, attempts=gap.attempts + 1, last_error=error, next_attempt_ms=at_ms + _retry_ms(gap.attempts + 1))
        for gap in tried
    )
    known = joined(held).answered | owed(held.gaps)
    if unknown := span - known:
        gaps += (_failed(unknown, at_ms, error),)
    gaps += _fresh_gaps(at_ms, NOTHING, owe - known - span)
    blocks = tuple(
        _later(block, at_ms)
        for block in held.blocks.values()
        if block.look_ms is not None and block.look_ms <= at_ms and Ranges.of(block.span) & span
    )
    return Change(blocks=blocks, gaps=gaps)


def audit(held: Held, span: Ranges, *, at_ms: int) -> Change:
    """Hold the ledger against the rows that are really ``present`` within ``span``.

    Stored candles whose row has disappeared become ``lost`` gaps, one for each stretch between rows that are there;
    rows that others put into empty or owed intervals are taken for stored.
    """
    state = joined(held)
    lost = (state.stored & span) - held.present
    found = held.present & span & (state.empties | union(gap.missing for gap in held.gaps))
    if not lost and not found:
        return Change()
    proof = _Proof(at_ms, 0, NOTHING, found, found)
    gaps = tuple(_gap_after(gap, proof) for gap in held.gaps if gap.missing & found)
    fresh = tuple(Gap(Cause.LOST, run, at_ms, next_attempt_ms=at_ms) for run in _stretches(lost, held.present))
    answered = (state.answered | found) - owed(fresh)
    after = State(answered, state.once - found, state.confirmed - found, state.unsettled & answered)
    return Change(blocks=changed(held, after, found), gaps=gaps + fresh)


def rebuild(held: Held, span: Ranges, *, at_ms: int) -> Change:
    """The ledger anew, from the rows that are ``present`` within ``span`` (whole blocks): they are stored, and of
    everything else nothing is known.

    What is owed stays owed, but for what is there. Suspect gaps end: nobody doubts what is unknown.
    """
    present, state = held.present & span, joined(held)
    proof = _Proof(at_ms, 0, NOTHING, present, present)
    gaps = [
        _narrowed(gap, NOTHING, at_ms) if gap.cause is Cause.SUSPECT else _gap_after(gap, proof) for gap in held.gaps
    ]
    blocks = changed(held, State(present, NOTHING, NOTHING, state.unsettled & present), present)
    return Change(
        blocks=tuple(replace(block, pending=(), answered_ms=at_ms) for block in blocks),
        gaps=tuple(gap for gap in gaps if gap not in held.gaps),
    )


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

    A silence that goes on gets another gap once the last one it borders on is a day old, so that each part of it is
    believed a day after it was doubted, and a silence for ever is never more than a gap a day.
    """
    state = joined(held)
    believed = state.empties - union(gap.missing for gap in held.gaps)
    suspects = [gap for gap in held.gaps if gap.cause is Cause.SUSPECT]
    fresh: list[Gap] = []
    for run in runs:
        more = (run & believed) - union(gap.missing for gap in fresh)
        if more and not any(_young(gap, run, at_ms) for gap in suspects):
            fresh.append(Gap(Cause.SUSPECT, more, at_ms, next_attempt_ms=at_ms + DAY_MS))
    doubted = union(gap.missing for gap in fresh)
    after = replace(state, once=state.once | doubted, confirmed=state.confirmed - doubted)
    return Change(blocks=changed(held, after), gaps=tuple(fresh))


def _young(gap: Gap, run: Ranges, at_ms: int) -> bool:
    """True where ``gap`` is part of ``run`` and was opened within the last day."""
    wider = Ranges.of((run.start - 1, run.end + 1))
    return bool(gap.missing & wider) and at_ms - gap.detected_ms < DAY_MS


def narrow(held: Held, wanted: Ranges, *, at_ms: int) -> Change:
    """Open gaps after their job was narrowed to ``wanted``: what lies outside is no longer owed.

    What was answered there stays answered; the rest is unknown again.
    """
    gaps = tuple(_narrowed(gap, wanted, at_ms) for gap in held.gaps if not wanted.covers(gap.missing))
    state = joined(held)
    after = replace(state, answered=state.answered | (state.once - wanted))
    return Change(blocks=changed(held, after), gaps=gaps)


def _narrowed(gap: Gap, wanted: Ranges, at_ms: int) -> Gap:
    missing = gap.missing & wanted
    if missing:
        return replace(gap, missing=missing, unwanted=gap.missing - wanted)
    return replace(gap, repaired_ms=at_ms, resolution=Resolution.NOT_WANTED, next_attempt_ms=None)
