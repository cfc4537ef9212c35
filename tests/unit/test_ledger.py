"""The ledger, one example a promise: what an answer proves. Gaps have a file of their own.

``test_ledger_machine`` drives it through everything at once.
"""

from dataclasses import replace

import pytest

from marketd import ledger
from marketd.blocks import BLOCK
from marketd.ledger import DAY_MS, HOUR_MS, LOOKS_MS, RETRIES_MS
from marketd.model import Ask, Cause, Resolution
from marketd.ranges import NOTHING, Ranges
from tests.toy import (
    MINUTE_MS,
    OLD,
    SERIES,
    SETTLE_MS,
    Book,
    Toy,
    answered,
    book,
    closed_at,
    numbers,
    suspect,
    with_gap,
)


class TestFirstAnswer:
    def test_intervals_are_stored_or_empty_once(self) -> None:
        held = book(opens=(5, 99))
        assert (held.answered, held.stored, held.once) == (
            Ranges.of((0, 100)), numbers([5, 99]), Ranges.of((0, 5), (6, 99)),
        )  # fmt: skip
        assert held.confirmed == NOTHING

    def test_an_interval_empty_for_the_first_time_is_not_a_gap(self) -> None:
        assert book().gaps == {}

    def test_blocks_meet_at_their_border(self) -> None:
        held = book(BLOCK - 10, BLOCK + 10, (BLOCK - 1, BLOCK + 1))
        assert sorted(held.blocks) == [0, 1]
        assert held.blocks[0].answered == Ranges.of((BLOCK - 10, BLOCK))
        assert held.blocks[1].empty_once == numbers([BLOCK, *range(BLOCK + 2, BLOCK + 10)])
        assert [block.stored for block in held.blocks.values()] == [numbers([BLOCK - 1]), numbers([BLOCK + 1])]

    def test_only_blocks_that_the_answer_covers_change(self) -> None:
        held = Book(first=BLOCK)
        contradicted = answered(0, 3 * BLOCK, (5, 2 * BLOCK), known=numbers([7]))
        assert [block.number for block in held.record(contradicted).blocks] == [0, 2]


class TestConfirmation:
    def test_takes_a_second_answer(self) -> None:
        """fault_38."""
        held = book()
        held.record(answered(0, 100, at_ms=OLD + SETTLE_MS))
        assert (held.once, held.confirmed) == (NOTHING, Ranges.of((0, 100)))

    def test_two_empty_answers_ten_seconds_apart_confirm_nothing(self) -> None:
        held = book()
        held.record(answered(0, 100, at_ms=OLD + 10_000))
        assert (held.once, held.confirmed) == (Ranges.of((0, 100)), NOTHING)

    @pytest.mark.parametrize(("later_ms", "confirmed"), [(SETTLE_MS - 1, 0), (SETTLE_MS, 100)])
    def test_comes_settle_after_the_first_answer(self, later_ms: int, confirmed: int) -> None:
        held = book()
        held.record(answered(0, 100, at_ms=OLD + later_ms))
        assert held.confirmed.size == confirmed

    def test_comes_settle_after_the_close(self) -> None:
        held = book(0, 10, at_ms=closed_at(10))
        held.record(answered(0, 10, at_ms=closed_at(9) + SETTLE_MS))
        assert held.confirmed == NOTHING  # the first answer is only a minute old
        held.record(answered(0, 12, at_ms=closed_at(12)))
        assert (held.confirmed, held.once) == (Ranges.of((0, 10)), Ranges.of((10, 12)))

    def test_an_answer_before_the_close_settles_nothing_however_old_the_first_one_is(self) -> None:
        held = book(0, 10, at_ms=closed_at(10) - 5 * MINUTE_MS)  # a host with a clock that was wrong
        held.record(answered(0, 10, at_ms=closed_at(10)))
        assert held.confirmed == Ranges.of((0, 8))

    def test_of_one_part_of_a_block_says_nothing_of_another(self) -> None:
        held = book()
        held.record(answered(40, 60, at_ms=OLD + HOUR_MS))
        assert (held.confirmed, held.once) == (Ranges.of((40, 60)), Ranges.of((0, 40), (60, 100)))

    def test_a_young_empty_answer_does_not_hold_up_the_rest_of_its_block(self) -> None:
        held = book(0, 50)
        held.record(answered(50, 100, at_ms=OLD + HOUR_MS))
        held.record(answered(0, 100, at_ms=OLD + HOUR_MS + 10_000))
        assert (held.confirmed, held.once) == (Ranges.of((0, 50)), Ranges.of((50, 100)))

    def test_a_cached_answer_from_before_does_not_make_the_first_one_forgotten(self) -> None:
        held = book()
        held.record(answered(200, 210, at_ms=OLD - MINUTE_MS))  # same block, an older time
        held.record(answered(0, 100, at_ms=OLD + 1_000))
        assert held.confirmed == NOTHING

    def test_the_same_cached_answer_twice_is_one_answer(self) -> None:
        held = book(at_ms=OLD - 2 * SETTLE_MS)
        held.record(answered(200, 210, at_ms=OLD))  # same block, heard in between
        held.record(answered(0, 100, at_ms=OLD - 2 * SETTLE_MS))
        assert held.confirmed == NOTHING
        assert held.blocks[0].answered_ms == OLD

    def test_another_answer_of_the_same_moment_does_not_make_it_a_cached_one(self) -> None:
        held = book()
        held.record(answered(100, 110, at_ms=OLD + HOUR_MS))
        held.record(answered(0, 100, at_ms=OLD + HOUR_MS))
        assert held.confirmed == Ranges.of((0, 100))

    def test_a_block_of_which_no_answer_was_heard_holds_nothing_up(self) -> None:
        held = book()
        held.fail(numbers([BLOCK + 5]), OLD)
        held.table.add(BLOCK + 5)
        held.audit(Ranges.of((BLOCK, 2 * BLOCK)), OLD)
        held.record(answered(0, BLOCK + 10, (BLOCK + 5,), at_ms=OLD + HOUR_MS))
        assert held.confirmed == Ranges.of((0, 100))

    def test_a_candle_that_comes_ends_the_silence(self) -> None:
        held = book()
        change = held.record(answered(0, 100, (40,), at_ms=OLD + HOUR_MS))
        assert (held.stored, change.restored, held.confirmed.size) == (numbers([40]), numbers([40]), 99)

    def test_history_that_comes_back_is_stored_and_told(self) -> None:
        held = book(opens=(50,))
        held.record(answered(0, 100, (50,), at_ms=OLD + HOUR_MS))
        change = held.record(answered(0, 100, (40, 50), at_ms=OLD + DAY_MS))
        assert (change.restored, held.stored, held.confirmed.size) == (numbers([40]), numbers([40, 50]), 98)

    def test_pending_holds_only_what_is_younger_than_settle(self) -> None:
        held = book(0, 10)
        held.record(answered(10, 20, at_ms=OLD + MINUTE_MS))
        assert [(wait.start, wait.end) for wait in held.blocks[0].pending] == [(0, 10), (10, 20)]
        held.record(answered(20, 30, at_ms=OLD + SETTLE_MS))
        assert [(wait.start, wait.end) for wait in held.blocks[0].pending] == [(10, 20), (20, 30)]


class TestUnsettled:
    def test_is_what_was_answered_before_it_settled(self) -> None:
        held = book(0, 10, (3, 9), at_ms=closed_at(10))
        assert held.unsettled == Ranges.of((8, 10))

    def test_ends_with_an_answer_after_settle(self) -> None:
        held = book(0, 10, (9,), at_ms=closed_at(10))
        held.record(answered(9, 11, (9, 10), at_ms=closed_at(11)))
        assert held.unsettled == Ranges.of((8, 11))
        held.record(answered(8, 12, (9, 10), at_ms=closed_at(12)))
        assert held.unsettled == Ranges.of((10, 12))

    def test_does_not_come_back_with_an_older_answer(self) -> None:
        held = book(0, 10, (9,), at_ms=closed_at(10) + SETTLE_MS)
        held.record(answered(0, 10, (9,), at_ms=closed_at(10)))
        assert held.unsettled == NOTHING

    def test_is_nothing_that_is_owed(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((8, 10)))
        held.record(answered(0, 10, (7,), at_ms=closed_at(10)))
        assert (held.owed, held.unsettled) == (Ranges.of((8, 10)), NOTHING)


class TestLooks:
    def test_a_row_without_empties_is_not_looked_at(self) -> None:
        assert book(0, 3, (0, 1, 2)).blocks[0].look_ms is None

    def test_come_after_an_hour_a_day_a_week_a_month_and_every_quarter(self) -> None:
        held, at_ms = book(opens=(50,)), OLD
        assert [wait_ms / (60 * MINUTE_MS) for wait_ms in LOOKS_MS] == [1, 24, 7 * 24, 30 * 24, 90 * 24]
        for wait_ms in (*LOOKS_MS, LOOKS_MS[-1], LOOKS_MS[-1]):
            assert held.blocks[0].look_ms == at_ms + wait_ms
            at_ms = at_ms + wait_ms + 5_000  # counted from the look, not from when it was due
            held.record(answered(0, 100, (50,), at_ms=at_ms))

    def test_begin_again_when_another_interval_is_empty(self) -> None:
        held = book(opens=(50,))
        held.record(answered(0, 100, (50,), at_ms=OLD + HOUR_MS))
        held.record(answered(100, 102, (100,), at_ms=OLD + 2 * HOUR_MS))
        assert (held.blocks[0].look_ms, held.blocks[0].look_step) == (OLD + 3 * HOUR_MS, 0)

    def test_are_not_put_off_by_answers_that_bring_nothing_new(self) -> None:
        held = book(opens=(50,))
        held.record(answered(0, 100, (50,), at_ms=OLD + MINUTE_MS))
        held.record(answered(100, 101, (100,), at_ms=OLD + 2 * HOUR_MS))
        assert held.blocks[0].look_ms == OLD + HOUR_MS

    def test_an_answer_to_a_part_is_no_look(self) -> None:
        held = book(opens=(50,))
        held.record(answered(50, 100, (50,), at_ms=OLD + 2 * HOUR_MS))
        assert held.blocks[0].look_ms == OLD + HOUR_MS

    def test_of_counted_pages_the_one_for_the_beginning_is_the_look(self) -> None:
        """No ask is ever for more than a page: else a look would be due for ever."""
        held = book(opens=(50,))
        for start, end in ((30, 100), (1, 30), (0, 30)):
            before = held.blocks[0].look_ms
            answer = answered(start, end, (50,) if end > 50 else (), at_ms=OLD + 2 * HOUR_MS)
            held.record(replace(answer, ask=replace(answer.ask, counted=True)))
            assert (held.blocks[0].look_ms == before) is (start > 0)

    def test_a_look_that_takes_two_pages_is_one(self) -> None:
        held, toy = book(opens=tuple(range(1, 100))), Toy(set(range(1, 100)), limit=60)
        first = toy.answer(Ask(SERIES, 0, 100, newest_first=False), OLD + HOUR_MS)
        assert first.covered == Ranges.of((0, 61))
        held.record(first)
        held.record(toy.answer(Ask(SERIES, 60, 100, newest_first=False), OLD + HOUR_MS + 1_000))
        assert (held.blocks[0].look_step, held.blocks[0].look_ms) == (1, OLD + HOUR_MS + DAY_MS)

    def test_a_page_of_nothing_but_what_is_new_is_no_look_yet(self) -> None:
        held, toy = book(opens=(50,)), Toy({50, *range(150, 200)}, limit=20)
        held.record(toy.answer(Ask(SERIES, 0, 200, newest_first=True), OLD + HOUR_MS))
        assert (held.answered, held.blocks[0].look_ms) == (Ranges.of((0, 100), (180, 200)), OLD + HOUR_MS)

    def test_begin_where_a_series_is_no_longer_derived(self) -> None:
        held = book(opens=(50,))
        held.blocks[0] = replace(held.blocks[0], look_ms=None)
        held.record(answered(0, 100, (50,), at_ms=OLD + DAY_MS))
        assert held.blocks[0].look_ms == OLD + DAY_MS + HOUR_MS

    def test_a_contradicted_answer_is_no_look(self) -> None:
        held = book(opens=(50,))
        held.record(answered(0, 100, (40,), at_ms=OLD + HOUR_MS))
        assert held.blocks[0].look_ms == OLD + HOUR_MS

    def test_end_with_the_last_empty(self) -> None:
        held = book(0, 3, (0, 1))
        held.record(answered(0, 3, (0, 1), at_ms=OLD + HOUR_MS))
        held.record(answered(0, 3, (0, 1, 2), at_ms=OLD + 2 * HOUR_MS))
        assert (held.blocks[0].look_ms, held.blocks[0].look_step) == (None, 0)

    @pytest.mark.parametrize("later_ms", [HOUR_MS, 2 * HOUR_MS])
    def test_a_failed_look_is_tried_again_a_step_later(self, later_ms: int) -> None:
        held = book(opens=(50,))
        held.fail(Ranges.of((0, 100)), OLD + later_ms)
        assert (held.blocks[0].look_ms, held.blocks[0].look_step, held.gaps) == (OLD + later_ms + DAY_MS, 1, {})

    def test_an_ask_that_fails_before_it_is_due_puts_no_look_off(self) -> None:
        held = book(opens=(50,))
        held.fail(Ranges.of((0, 100)), OLD + HOUR_MS - 1)
        assert held.blocks[0].look_ms == OLD + HOUR_MS

    def test_an_ask_that_fails_elsewhere_puts_no_look_off(self) -> None:
        held = book(opens=(50,))
        held.fail(Ranges.of((BLOCK + 10, BLOCK + 20)), OLD + 2 * HOUR_MS, owe=Ranges.of((100, BLOCK + 10)))
        assert held.blocks[0].look_ms == OLD + HOUR_MS


class TestDropped:
    def drop(self, held: Book, number: int, *, opens: tuple[int, ...] = (), at_ms: int = OLD) -> None:
        answer = answered(number - 5, number + 5, opens, at_ms=at_ms)
        held.record(replace(answer, dropped=numbers([number])))

    def test_a_dropped_row_is_a_failed_gap_and_never_empty(self) -> None:
        held = Book()
        self.drop(held, 10, opens=(7,))
        gap = held.gaps[1]
        assert (gap.cause, gap.missing, gap.attempts) == (Cause.FAILED, numbers([10]), 1)
        assert gap.next_attempt_ms == OLD + RETRIES_MS[0]
        assert 10 not in held.answered | held.once | held.confirmed

    def test_it_stays_one_gap_that_waits_longer(self) -> None:
        held = Book()
        self.drop(held, 10)
        self.drop(held, 10)
        assert (len(held.gaps), held.gaps[1].attempts) == (1, 2)
        assert held.gaps[1].next_attempt_ms == OLD + RETRIES_MS[1]

    def test_an_empty_interval_for_which_rubbish_comes_is_owed(self) -> None:
        held = book()
        held.record(answered(0, 100, at_ms=OLD + HOUR_MS))
        self.drop(held, 10, at_ms=OLD + DAY_MS)
        assert (held.owed, 10 in held.confirmed, 10 in held.answered) == (numbers([10]), False, False)

    def test_it_leaves_a_suspect_gap(self) -> None:
        held = suspect(20, 90)
        self.drop(held, 50, at_ms=OLD + DAY_MS)
        by_cause = {gap.cause: gap.missing for gap in held.open_gaps}
        assert by_cause[Cause.FAILED] == numbers([50])
        assert not by_cause[Cause.SUSPECT] & by_cause[Cause.FAILED]
        assert (50 in held.answered, held.once.covers(by_cause[Cause.SUSPECT])) == (False, True)

    def test_a_stored_candle_for_which_rubbish_comes_is_kept_and_has_not_vanished(self) -> None:
        held = book(0, 100, (10, 11))
        answer = replace(answered(5, 15, (11,), at_ms=OLD), dropped=numbers([10]))
        assert held.record(answer).vanished == NOTHING
        assert (held.stored, held.gaps) == (numbers([10, 11]), {})

    def test_rubbish_for_the_only_known_candle_contradicts_nothing(self) -> None:
        held = book(0, 100, (10,))
        change = held.record(replace(answered(5, 15, at_ms=OLD + HOUR_MS), dropped=numbers([10])))
        assert (change.contradicted, held.stored, held.gaps) == (False, numbers([10]), {})

    def test_rubbish_beside_a_gap_is_no_error_of_the_gap(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((6, 8)))
        self.drop(held, 10)
        assert (held.gaps[1].last_error, held.gaps[1].next_attempt_ms) == (None, OLD + SETTLE_MS)

    def test_rubbish_for_what_is_owed_is_the_error_of_its_gap(self) -> None:
        held = with_gap(Cause.NOT_ASKED, numbers([10]))
        self.drop(held, 10)
        assert (held.gaps[1].last_error, held.gaps[1].attempts) == ("the candle sent is unusable", 1)


class TestKnownCandles:
    def test_an_answer_without_any_of_them_proves_only_its_rows(self) -> None:
        held = book(0, 10, (5,))
        change = held.record(answered(0, 50, (20, 21), at_ms=OLD))
        assert (change.contradicted, change.covered) == (True, Ranges.of((20, 22)))
        assert (held.answered, held.stored) == (Ranges.of((0, 10), (20, 22)), numbers([5, 20, 21]))

    def test_one_of_them_is_enough(self) -> None:
        held = book(0, 10, (4, 5))
        change = held.record(answered(0, 50, (4,), at_ms=OLD))
        assert (change.contradicted, change.vanished, held.answered) == (False, numbers([5]), Ranges.of((0, 50)))

    def test_a_candle_that_vanished_is_kept(self) -> None:
        """fault_48."""
        held = book(0, 10, (4, 5))
        held.record(answered(0, 10, (4,), at_ms=OLD + DAY_MS))
        assert (held.stored, held.once | held.confirmed) == (numbers([4, 5]), numbers({*range(10)} - {4, 5}))

    def test_the_first_candle_of_the_series_is_one(self) -> None:
        held = Book(first=30)
        assert held.record(answered(20, 40)).contradicted
        assert not held.record(answered(20, 40, (30,))).contradicted
        assert not held.record(answered(40, 50)).contradicted

    def test_the_first_candle_is_no_other_one(self) -> None:
        assert Book(first=30).record(answered(20, 40, (31,))).contradicted

    def test_without_the_first_candle_another_one_is_enough(self) -> None:
        held = book(35, 40, (35,))
        held.first = 30
        assert not held.record(answered(20, 40, (35,), at_ms=OLD)).contradicted

    def test_a_row_that_others_put_in_is_one(self) -> None:
        held = book(20, 30)
        held.table.add(25)
        assert held.record(answered(20, 30, at_ms=OLD + HOUR_MS)).contradicted
        assert held.confirmed == NOTHING

    def test_one_whose_row_has_disappeared_is_one(self) -> None:
        held = book(0, 10, (5,))
        held.table.clear()
        assert held.record(answered(0, 10, at_ms=OLD + HOUR_MS)).contradicted
        assert 5 not in held.once | held.confirmed

    def test_what_is_confirmed_empty_is_none(self) -> None:
        held = book()
        held.record(answered(0, 100, at_ms=OLD + HOUR_MS))
        change = held.record(answered(0, 100, at_ms=OLD + DAY_MS))
        assert (change.contradicted, change.covered) == (False, Ranges.of((0, 100)))

    def test_the_anchor_of_the_ask_is_one(self) -> None:
        held = Book()
        assert held.record(answered(20, 40, known=numbers([20]))).contradicted
        assert held.answered == NOTHING

    def test_an_anchor_beyond_what_the_answer_covers_is_none(self) -> None:
        answer = Toy({25, 39}, limit=1).answer(Ask(SERIES, 20, 40, False, numbers([39])), OLD)
        assert answer.covered == Ranges.of((20, 26))
        assert not Book().record(answer).contradicted

    def test_a_row_that_others_put_into_an_empty_is_stored_by_the_next_answer(self) -> None:
        """fault_48."""
        held = book(0, 10, (5,))
        held.table.add(7)
        held.record(answered(0, 10, (5,), at_ms=OLD + HOUR_MS))
        assert held.stored == numbers([5, 7])

    def test_a_row_that_others_put_into_a_gap_closes_it_with_the_next_answer(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 12)))
        held.table.update((10, 11))
        change = held.record(answered(5, 15, (10,), at_ms=OLD))
        assert (held.gaps[1].resolution, held.stored) == (Resolution.STORED, numbers([10, 11]))
        assert change.vanished == NOTHING  # it was not known to be there

    def test_a_row_that_others_put_beyond_the_answer_is_left_alone(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 20)))
        held.table.add(15)
        wider = held.held(Ranges.of((0, BLOCK)), present=True)
        change = ledger.apply(wider, answered(5, 12, at_ms=OLD), settle_ms=SETTLE_MS)
        assert change.gaps == ()
