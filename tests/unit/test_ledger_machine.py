"""The ledger against a toy exchange with a truth of its own: anything in any order, and the promises after each step.

What the exchange really said is noted beside the ledger, from the toy's own mouth: for which intervals it spoke, when,
and whether it showed a candle.
"""

from collections import defaultdict
from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from marketd.blocks import BLOCK, Change, union
from marketd.errors import BadReply
from marketd.ledger import DAY_MS, HOUR_MS
from marketd.model import Ask, Cause, Gap
from marketd.ranges import NOTHING, Ranges
from tests.toy import MINUTE_MS, SERIES, SETTLE_MS, Book, Toy, closed_at, numbers

LOW, HIGH = BLOCK - 30, BLOCK + 30
"""Where all happens: around the border of two blocks."""

INTERVAL = st.integers(LOW, HIGH - 1)
SOME = st.sets(INTERVAL, max_size=12)
LENGTH = st.integers(1, 40)
PROVEN = {"stored", "empty", "mixed"}


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.toy, self.book = Toy(), Book()
        self.now_ms = closed_at(BLOCK)
        self.silent: dict[int, list[int]] = defaultdict(list)  # times of believed answers without this candle
        self.seen: set[int] = set()  # had a row at some time
        self.settled: set[int] = set()  # heard of at or after close + settle, since it was answered
        self.taken_over: set[int] = set()  # stored or answered without an answer: rows of others, narrowed gaps
        self.narrowed: set[int] = set()
        self.owed: dict[int, Ranges] = {}

    # What happens at the exchange.

    @initialize(candles=SOME, limit=st.integers(2, 60))
    def begin(self, candles: set[int], limit: int) -> None:
        self.toy.candles, self.toy.limit = candles, limit
        self.book.first = min(candles) if candles and limit % 2 else None

    @rule(wait_ms=st.sampled_from([1_000, 30_000, MINUTE_MS, SETTLE_MS, 20 * MINUTE_MS, HOUR_MS, DAY_MS, 8 * DAY_MS]))
    def time_passes(self, wait_ms: int) -> None:
        self.now_ms += wait_ms

    @rule(candles=SOME)
    def trades(self, candles: set[int]) -> None:
        self.toy.candles |= candles

    @rule(candles=SOME)
    def history_is_lost(self, candles: set[int]) -> None:
        self.toy.hidden |= candles

    @rule()
    def history_is_restored(self) -> None:
        self.toy.hidden.clear()

    @rule(candles=st.sets(INTERVAL, max_size=1))
    def some_rows_are_garbled(self, candles: set[int]) -> None:
        self.toy.bad = candles

    @rule(limit=st.integers(2, 60))
    def limit_changes(self, limit: int) -> None:
        self.toy.limit = limit

    # What happens at the database.

    @rule(candles=SOME)
    def rows_are_deleted(self, candles: set[int]) -> None:
        self.book.table -= candles

    @rule(candles=st.sets(INTERVAL, max_size=3))
    def rows_are_put_in_by_others(self, candles: set[int]) -> None:
        self.book.table |= candles

    # What the daemon does.

    @rule(start=INTERVAL, length=LENGTH, newest_first=st.booleans(), anchor=st.booleans(), owe=st.booleans(),
          late_ms=st.sampled_from([0, 0, 0, 10_000, 3 * MINUTE_MS]))  # fmt: skip
    def ask(self, start: int, length: int, newest_first: bool, anchor: bool, owe: bool, late_ms: int) -> None:
        """Ask; ``late_ms`` old is an answer out of a cache."""
        at_ms = self.now_ms - late_ms
        end = min(start + length, HIGH, at_ms // MINUTE_MS)
        left = self.book.edges((start, end)).left if anchor else None
        known = NOTHING if left is None else numbers([left])
        if start >= end:
            return
        question = Ask(SERIES, start if left is None else left, end, newest_first, known)
        behind = self.book.answered
        skipped = Ranges.of((behind.end, question.start)) if owe and behind else NOTHING
        try:
            answer = self.toy.answer(question, at_ms)
        except BadReply:
            return
        before = self.book.confirmed
        suspects = [gap for gap in self.book.open_gaps if gap.cause is Cause.SUSPECT]
        first = NOTHING if self.book.first is None else numbers([self.book.first])
        there = set(((self.book.stored | known | first) & answer.covered).numbers())
        others = set(self.book.table)
        change = self.book.record(answer, owe=skipped)
        shown = set((answer.rows | answer.dropped).numbers())
        if there and not (there | others) & shown:
            assert change.contradicted
        self.hear(change, self.toy.send(question)[1], shown, at_ms)
        self.check_confirmed(self.book.confirmed - before, suspects, at_ms)
        self.check_gaps(change)
        for block in change.blocks:
            assert all(at_ms - wait.at_ms < SETTLE_MS for wait in block.pending)
        assert (self.book.answered | self.book.owed).covers(change.covered | skipped)

    def hear(self, change: Change, spoken: Ranges, shown: set[int], at_ms: int) -> None:
        assert spoken.covers(change.covered)
        for number in change.covered.numbers():
            if number in shown:
                self.silent[number].clear()
            else:
                self.silent[number].append(at_ms)
            if closed_at(number + 1) + SETTLE_MS <= at_ms:
                self.settled.add(number)

    def check_confirmed(self, newly: Ranges, suspects: list[Gap], at_ms: int) -> None:
        """Nothing is confirmed empty but what was silent twice, long enough apart, and is not in doubt."""
        for number in newly.numbers():
            *earlier, last = self.silent[number]
            assert last == at_ms
            assert any(at_ms - first_ms >= SETTLE_MS for first_ms in earlier)
            assert at_ms >= closed_at(number + 1) + SETTLE_MS
            assert not any(number in gap.missing for gap in suspects if at_ms - gap.detected_ms < DAY_MS)

    def check_gaps(self, change: Change) -> None:
        """A gap closes only by proof, and is never narrowed in silence."""
        proven = self.book.stored | self.book.confirmed
        for gap in self.book.gaps.values():
            assert gap.id is not None
            self.owed[gap.id] = self.owed.get(gap.id, NOTHING) | gap.missing
        for gap in change.gaps:
            if gap.id is not None and gap.resolution in PROVEN:
                owed = self.owed[gap.id] - numbers(self.narrowed)
                assert (proven | self.book.owed).covers(owed)

    @rule(start=INTERVAL, length=LENGTH)
    def asking_fails(self, start: int, length: int) -> None:
        end = min(start + length, self.now_ms // MINUTE_MS)
        answered, confirmed = self.book.answered, self.book.confirmed
        change = self.book.fail(Ranges.of((start, end)), self.now_ms)
        assert (self.book.answered, self.book.confirmed) == (answered, confirmed)
        assert (self.book.answered | self.book.owed).covers(Ranges.of((start, end)))
        assert all(gap.open for gap in change.gaps)

    @rule(part=st.sampled_from([(0, 2 * BLOCK), (0, BLOCK), (BLOCK, 2 * BLOCK)]))
    def audit(self, part: tuple[int, int]) -> None:
        span, table = Ranges.of(part), numbers(self.book.table)
        foreign = (self.book.once | self.book.confirmed | self.book.owed) & table & span
        vanished = (self.book.stored & span) - table
        change = self.book.audit(span, self.now_ms)
        self.taken_over |= set(foreign.numbers())
        for number in foreign.numbers():
            self.silent[number].clear()
        assert self.book.stored & span == self.book.answered & table & span
        assert not (self.book.once | self.book.confirmed | self.book.owed) & table & span
        assert self.book.owed.covers(vanished)
        self.check_gaps(change)

    @rule(which=st.sets(st.integers(0, 5), min_size=1, max_size=3))
    def silences_look_wrong(self, which: set[int]) -> None:
        runs = [Ranges.of(span) for span in self.book.once | self.book.confirmed]
        doubted = [run for at, run in enumerate(runs) if at in which]
        if not doubted:
            return
        others = union(gap.missing for gap in self.book.open_gaps if gap.cause is not Cause.SUSPECT)
        before = [gap for gap in self.book.open_gaps if gap.cause is Cause.SUSPECT]
        young = [gap.missing for gap in before if self.now_ms - gap.detected_ms < DAY_MS]
        self.check_gaps(self.book.doubt(*doubted, at_ms=self.now_ms))
        suspects = union(gap.missing for gap in self.book.open_gaps if gap.cause is Cause.SUSPECT)
        for run in doubted:  # all of it, unless a part of it has been doubted within the last day
            near = Ranges.of((run.start - 1, run.end + 1))
            assert suspects.covers(run - others) or any(missing & near for missing in young)
        assert not suspects & (others | self.book.confirmed)

    @rule(start=INTERVAL, length=LENGTH)
    def job_is_narrowed(self, start: int, length: int) -> None:
        wanted = Ranges.of((start, start + length))
        gone = self.book.owed - wanted
        self.narrowed |= set(gone.numbers())
        self.taken_over |= set((gone & self.book.once).numbers())
        self.book.narrow(wanted, self.now_ms)
        assert wanted.covers(self.book.owed)

    # What holds after each of them.

    @invariant()
    def owed_is_not_answered(self) -> None:
        book = self.book
        for gap in book.open_gaps:
            assert gap.missing
            if gap.cause is Cause.SUSPECT:
                assert (book.answered & book.once).covers(gap.missing)
            else:
                assert not book.answered & gap.missing

    @invariant()
    def gaps_are_disjoint(self) -> None:
        assert not any(one.missing & other.missing for one, other in combinations(self.book.open_gaps, 2))

    @invariant()
    def empties_are_apart_and_within(self) -> None:
        book = self.book
        assert not book.once & book.confirmed
        assert (book.answered | book.owed).covers(book.once)
        assert book.answered.covers(book.confirmed)

    @invariant()
    def what_is_stored_had_a_row(self) -> None:
        """No interval is called stored for which no row ever came."""
        self.seen |= self.book.table
        assert self.seen.issuperset(self.book.stored.numbers())

    @invariant()
    def blocks_keep_to_their_borders(self) -> None:
        for number, block in self.book.blocks.items():
            here = Ranges.of((number * BLOCK, (number + 1) * BLOCK))
            for held in (block.answered, block.empty_once, block.empty_confirmed, block.unsettled):
                assert here.covers(held)
            assert all(block.span[0] <= wait.start < wait.end <= block.span[1] for wait in block.pending)

    @invariant()
    def unsettled_is_what_was_heard_too_early(self) -> None:
        self.settled &= set(self.book.answered.numbers())
        assert self.book.answered.covers(self.book.unsettled)
        assert not set(self.book.unsettled.numbers()) & self.settled
        rest = set((self.book.answered - self.book.unsettled).numbers())
        assert not rest - self.settled - self.taken_over

    @invariant()
    def a_block_is_looked_at_while_it_has_empties(self) -> None:
        for block in self.book.blocks.values():
            assert (block.look_ms is None) == (not block.empties)


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
