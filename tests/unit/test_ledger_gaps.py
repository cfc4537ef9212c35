"""The ledger, one example a promise: what is owed, doubted and lost, and how that ends."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from marketd.blocks import BLOCK, Change
from marketd.ledger import DAY_MS, HOUR_MS, RETRIES_MS
from marketd.model import Cause, Gap, Resolution
from marketd.ranges import NOTHING, Ranges
from tests.toy import (
    MINUTE_MS,
    OLD,
    SETTLE_MS,
    Book,
    answered,
    book,
    closed_at,
    numbers,
    suspect,
    with_gap,
)


class TestNotAsked:
    def test_what_the_newest_page_leaves_out_is_owed_in_the_same_change(self) -> None:
        held = book(0, 100, (99,))
        change = held.record(answered(150, 200, (150,), at_ms=OLD + HOUR_MS), owe=Ranges.of((100, 150)))
        assert [(gap.cause, gap.missing) for gap in change.gaps] == [(Cause.NOT_ASKED, Ranges.of((100, 150)))]
        assert held.answered == Ranges.of((0, 100), (150, 200))

    def test_what_has_not_closed_yet_is_not_owed(self) -> None:
        """A host whose clock is ahead plans into the future; the exchange's time of the answer says what there is."""
        held = book(0, 100, (99,))
        held.record(answered(150, 180, (150,), at_ms=closed_at(200)), owe=Ranges.of((100, 3000)))
        assert held.owed == Ranges.of((100, 150), (180, 200))

    def test_what_is_answered_or_owed_already_is_not_owed_twice(self) -> None:
        held = book(0, 100, (99,))
        held.fail(Ranges.of((120, 130)), OLD)
        change = held.record(answered(150, 200, (150,), at_ms=OLD + HOUR_MS), owe=Ranges.of((90, 160)))
        assert [gap.missing for gap in change.gaps] == [Ranges.of((100, 120), (130, 150))]

    def test_a_page_that_cannot_be_had_leaves_nothing_before_it_unknown(self) -> None:
        """Whoever fills its gap makes the series answered up to there: from then on no live run looks back."""
        held = book(0, 100, (99,))
        held.fail(Ranges.of((110, 112)), OLD)
        change = held.fail(Ranges.of((190, 200)), OLD, owe=Ranges.of((90, 200)))
        assert [(gap.cause, gap.missing) for gap in change.gaps] == [
            (Cause.FAILED, Ranges.of((190, 200))), (Cause.NOT_ASKED, Ranges.of((100, 110), (112, 190))),
        ]  # fmt: skip
        held.record(answered(190, 200, tuple(range(190, 200)), at_ms=OLD + HOUR_MS))
        assert held.owed == Ranges.of((100, 190))

    def test_the_pages_that_follow_shrink_it(self) -> None:
        held = book(0, 100, (99,))
        held.record(answered(150, 200, (150,), at_ms=OLD), owe=Ranges.of((100, 150)))
        held.record(answered(120, 151, tuple(range(120, 151)), at_ms=OLD))
        assert held.owed == Ranges.of((100, 120))
        held.record(answered(99, 121, tuple(range(99, 121)), at_ms=OLD))
        assert (held.gaps[1].resolution, held.gaps[1].filled, held.owed) == (Resolution.STORED, 50, NOTHING)


class TestGaps:
    def test_close_only_when_every_interval_is_stored_or_confirmed(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((10, 20)))
        held.record(answered(10, 20, (12,), at_ms=OLD))
        assert held.owed == Ranges.of((10, 12), (13, 20))
        assert held.answered == numbers([12])  # what an open gap owes is not answered
        assert held.once == held.owed  # but the first empty answer is remembered
        assert held.gaps[1].next_attempt_ms == OLD + SETTLE_MS
        held.record(answered(10, 20, (12,), at_ms=OLD + SETTLE_MS))
        gap = held.gaps[1]
        assert (gap.resolution, gap.filled, gap.emptied, gap.repaired_ms) == (Resolution.MIXED, 1, 9, OLD + SETTLE_MS)
        assert (held.answered, held.confirmed.size) == (Ranges.of((10, 20)), 9)

    @pytest.mark.parametrize(
        ("opens", "resolution"), [((10, 11), Resolution.STORED), ((), Resolution.EMPTY), ((10,), Resolution.MIXED)]
    )
    def test_say_how_they_were_closed(self, opens: tuple[int, ...], resolution: Resolution) -> None:
        held = with_gap(Cause.LOST, Ranges.of((10, 12)))
        held.record(answered(10, 12, opens, at_ms=OLD))
        held.record(answered(10, 12, opens, at_ms=OLD + SETTLE_MS))
        assert held.gaps[1].resolution is resolution

    def test_count_what_has_left_them_and_nothing_beside_it(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((10, 20)))
        for at_ms in (OLD, OLD + SETTLE_MS):
            held.record(answered(0, 30, (5, 12), at_ms=at_ms))
        assert (held.gaps[1].filled, held.gaps[1].emptied) == (1, 9)

    def test_that_are_closed_have_no_error_and_no_next_attempt(self) -> None:
        held = book(0, 10, (5,))
        held.fail(Ranges.of((10, 20)), OLD)
        held.record(answered(10, 20, tuple(range(10, 20)), at_ms=OLD + HOUR_MS))
        gap = held.gaps[1]
        assert (gap.resolution, gap.last_error, gap.next_attempt_ms) == (Resolution.STORED, None, None)

    def test_are_tried_when_the_last_page_of_them_has_come(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((10, 30)))
        held.record(answered(10, 20, at_ms=OLD))
        assert (held.gaps[1].attempts, held.gaps[1].next_attempt_ms) == (0, OLD)
        held.record(answered(20, 30, at_ms=OLD + 1_000))
        assert (held.gaps[1].attempts, held.gaps[1].next_attempt_ms) == (1, OLD + 1_000 + SETTLE_MS)

    def test_are_not_put_off_by_an_answer_that_proves_all_it_covers(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((10, 30)))
        held.record(answered(10, 20, at_ms=OLD))
        held.record(answered(20, 30, tuple(range(20, 30)), at_ms=OLD + 1_000))
        gap = held.gaps[1]
        assert (gap.missing, gap.attempts, gap.next_attempt_ms) == (Ranges.of((10, 20)), 0, OLD)

    def test_split_around_what_is_proven(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 40)))
        held.record(answered(20, 30, tuple(range(20, 30)), at_ms=OLD))
        assert (held.owed, held.gaps[1].attempts) == (Ranges.of((10, 20), (30, 40)), 0)

    def test_an_error_closes_nothing_and_waits_longer_each_time(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((10, 20)))
        for attempt, wait_ms in enumerate((*RETRIES_MS, RETRIES_MS[-1]), start=1):
            held.fail(Ranges.of((10, 20)), OLD)
            gap = held.gaps[1]
            assert (gap.attempts, gap.next_attempt_ms, gap.last_error) == (attempt, OLD + wait_ms, "no")
        assert held.owed == Ranges.of((10, 20))

    def test_waits_are_five_minutes_a_quarter_and_a_whole_hour_four_hours_and_a_day(self) -> None:
        assert [wait_ms / MINUTE_MS for wait_ms in RETRIES_MS] == [5, 15, 60, 240, 1440]

    def test_an_error_proves_nothing(self) -> None:
        change = book(0, 10, (5,)).fail(Ranges.of((0, 20)), OLD)
        assert (change.covered, change.emptied, change.contradicted) == (NOTHING, 0, False)

    def test_a_hole_that_comes_back_opens_a_new_gap(self) -> None:
        held = book(0, 10, (5,))
        for number in (1, 2):
            held.table.discard(5)
            held.audit(Ranges.of((0, BLOCK)), OLD)
            assert (held.gaps[number].cause, held.owed) == (Cause.LOST, numbers([5]))
            held.record(answered(4, 7, (5,), at_ms=OLD))
        assert [gap.resolution for gap in held.gaps.values()] == [Resolution.STORED] * 2

    def test_what_failed_is_owed_unless_it_is_known(self) -> None:
        held = book(0, 10, (5,))
        change = held.fail(Ranges.of((5, 20)), OLD)
        assert [(gap.cause, gap.missing, gap.attempts) for gap in change.gaps] == [
            (Cause.FAILED, Ranges.of((10, 20)), 1)
        ]

    def test_a_narrowed_job_owes_nothing_outside(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 20), (30, 40)))
        held.narrow(Ranges.of((15, 100)), OLD)
        assert (held.owed, held.gaps[1].open) == (Ranges.of((15, 20), (30, 40)), True)
        assert held.gaps[1].unwanted == Ranges.of((10, 15))
        held.narrow(Ranges.of((50, 100)), OLD + 1)
        gap = held.gaps[1]
        assert (gap.resolution, gap.repaired_ms, gap.next_attempt_ms) == (Resolution.NOT_WANTED, OLD + 1, None)

    def test_a_job_that_is_not_narrowed_changes_nothing(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 20)))
        change = held.narrow(Ranges.of((10, 100)), OLD)
        assert (change.gaps, change.blocks) == ((), ())

    def test_what_a_narrowed_gap_had_heard_stays_answered(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 20)))
        held.record(answered(10, 15, (14,), at_ms=OLD))
        held.narrow(Ranges.of((50, 100)), OLD)
        assert (held.answered, held.once) == (Ranges.of((10, 15)), Ranges.of((10, 14)))

    def test_what_is_still_owed_after_narrowing_is_not_answered(self) -> None:
        held = with_gap(Cause.NOT_ASKED, Ranges.of((10, 20)))
        held.record(answered(10, 15, at_ms=OLD))
        held.narrow(Ranges.of((12, 100)), OLD)
        assert (held.answered, held.owed) == (Ranges.of((10, 12)), Ranges.of((12, 20)))


class TestSuspects:
    def test_doubt_takes_confirmation_back(self) -> None:
        held = suspect(20, 90)
        gap = held.gaps[1]
        assert (gap.cause, gap.missing, gap.next_attempt_ms) == (Cause.SUSPECT, Ranges.of((20, 90)), OLD + DAY_MS)
        assert (held.confirmed, held.once) == (NOTHING, Ranges.of((20, 90)))
        assert held.answered == Ranges.of((19, 91))  # suspect intervals stay answered

    def test_nothing_confirms_before_a_day_has_passed(self) -> None:
        held = suspect(20, 90)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + DAY_MS - 1))
        assert (held.confirmed, held.gaps[1].open, held.gaps[1].attempts) == (NOTHING, True, 1)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + DAY_MS))
        assert (held.gaps[1].resolution, held.confirmed) == (Resolution.EMPTY, Ranges.of((20, 90)))
        assert held.blocks[0].look_ms is not None  # it stays on the schedule

    @pytest.mark.parametrize(
        ("asked_ms", "next_ms"),
        [(HOUR_MS, DAY_MS), (DAY_MS - MINUTE_MS, DAY_MS - MINUTE_MS + HOUR_MS)],
    )
    def test_asked_too_early_are_asked_again_when_their_day_is_over_and_not_at_once(
        self, asked_ms: int, next_ms: int
    ) -> None:
        held = suspect(20, 90)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + asked_ms))
        assert held.gaps[1].next_attempt_ms == OLD + next_ms

    def test_doubted_by_a_clock_that_was_days_ahead_wait_for_a_day_from_the_next_answer(self) -> None:
        """Simulated world 1405459857: the host's clock was set three days ahead, and back."""
        held = book(19, 91, (19, 90))
        held.doubt(Ranges.of((20, 90)), at_ms=OLD + 3 * DAY_MS)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + HOUR_MS))
        assert (held.gaps[1].detected_ms, held.gaps[1].next_attempt_ms) == (OLD + HOUR_MS, OLD + HOUR_MS + DAY_MS)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + HOUR_MS + DAY_MS - 1))
        assert held.gaps[1].open
        held.record(answered(19, 91, (19, 90), at_ms=OLD + HOUR_MS + DAY_MS))
        assert held.gaps[1].resolution is Resolution.EMPTY

    def test_an_answer_out_of_a_cache_does_not_make_the_wait_shorter(self) -> None:
        held = book(19, 91, (19, 90))
        held.record(answered(19, 91, (19, 90), at_ms=OLD + 2 * DAY_MS))
        held.doubt(Ranges.of((20, 90)), at_ms=OLD + 2 * DAY_MS)
        held.record(answered(19, 91, (19, 90), at_ms=OLD + HOUR_MS))
        assert held.gaps[1].detected_ms == OLD + 2 * DAY_MS

    def test_doubt_leaves_other_silences_confirmed(self) -> None:
        held = book(0, 100, (19, 90))
        held.record(answered(0, 100, (19, 90), at_ms=OLD + HOUR_MS))
        held.doubt(Ranges.of((20, 90)), at_ms=OLD + HOUR_MS)
        assert (held.once, held.confirmed) == (Ranges.of((20, 90)), Ranges.of((0, 19), (91, 100)))

    @pytest.mark.parametrize(("doubted", "run"), [((20, 50), (50, 90)), ((50, 90), (20, 50))])
    def test_what_borders_on_a_young_one_is_the_same_silence(
        self, doubted: tuple[int, int], run: tuple[int, int]
    ) -> None:
        held = book(19, 91, (19, 90))
        held.doubt(Ranges.of(doubted), at_ms=OLD)
        assert held.doubt(Ranges.of(run), at_ms=OLD + HOUR_MS).gaps == ()

    @pytest.mark.parametrize(("doubted", "run"), [((20, 50), (51, 90)), ((51, 90), (20, 50))])
    def test_a_candle_between_two_silences_keeps_them_apart(
        self, doubted: tuple[int, int], run: tuple[int, int]
    ) -> None:
        held = book(19, 91, (19, 50, 90))
        held.doubt(Ranges.of(doubted), at_ms=OLD)
        change = held.doubt(Ranges.of(doubted), Ranges.of(run), at_ms=OLD + HOUR_MS)
        assert [gap.missing for gap in change.gaps] == [Ranges.of(run)]

    def test_runs_that_overlap_are_doubted_once(self) -> None:
        held = book(19, 91, (19, 90))
        change = held.doubt(Ranges.of((20, 60)), Ranges.of((40, 90)), at_ms=OLD)
        assert [gap.missing for gap in change.gaps] == [Ranges.of((20, 60)), Ranges.of((60, 90))]

    def test_restored_history_closes_them_as_stored(self) -> None:
        held = suspect(20, 90)
        held.record(answered(19, 91, tuple(range(19, 91)), at_ms=OLD + HOUR_MS))
        assert (held.gaps[1].resolution, held.stored) == (Resolution.STORED, Ranges.of((19, 91)))

    def test_a_silence_that_goes_on_gets_another_gap_a_day_later(self) -> None:
        later = OLD + HOUR_MS
        held = suspect(20, 90)
        held.record(answered(91, 95, at_ms=later))
        held.doubt(Ranges.of((91, 95)), at_ms=later)
        assert len(held.open_gaps) == 2  # a candle lies between: another silence
        held.record(answered(95, 99, at_ms=later + HOUR_MS))
        held.doubt(Ranges.of((91, 99)), at_ms=later + HOUR_MS)
        assert (held.gaps[2].missing, held.gaps[2].detected_ms) == (Ranges.of((91, 95)), later)
        assert len(held.gaps) == 2  # its first gap is not a day old: each part is believed a day after it was doubted
        held.doubt(Ranges.of((91, 99)), at_ms=later + DAY_MS)
        assert (held.gaps[3].missing, held.gaps[3].next_attempt_ms) == (Ranges.of((95, 99)), later + 2 * DAY_MS)

    def test_the_same_silence_is_not_doubted_twice(self) -> None:
        held = suspect(20, 90)
        change = held.doubt(Ranges.of((20, 90)), at_ms=OLD + HOUR_MS)
        assert (change.gaps, change.blocks) == ((), ())

    def test_a_silence_may_grow_on_both_sides_at_once(self) -> None:
        held = suspect(20, 90)
        held.record(answered(10, 101, (19, 50, 90), at_ms=OLD + HOUR_MS))  # one candle came back in the middle
        held.table -= {19, 90}
        held.audit(Ranges.of((0, BLOCK)), OLD + HOUR_MS)
        held.record(answered(10, 101, (50,), at_ms=OLD + HOUR_MS))
        held.record(answered(10, 101, (50,), at_ms=OLD + 2 * HOUR_MS))
        held.doubt(Ranges.of((10, 50)), Ranges.of((51, 101)), at_ms=OLD + 2 * HOUR_MS)
        assert len(held.open_gaps) == 1
        held.doubt(Ranges.of((10, 50)), Ranges.of((51, 101)), at_ms=OLD + DAY_MS)
        assert held.owed == Ranges.of((10, 50), (51, 101)) == held.once
        assert len(held.open_gaps) == 3

    def test_a_silence_that_joins_two_young_gaps_opens_none(self) -> None:
        held = book(0, 100, (0, 50, 99))
        held.doubt(Ranges.of((1, 50)), Ranges.of((51, 99)), at_ms=OLD)
        held.table.discard(50)
        held.audit(Ranges.of((0, BLOCK)), OLD)
        for later_ms in (HOUR_MS, 2 * HOUR_MS):
            held.record(answered(0, 100, (0, 99), at_ms=OLD + later_ms))
        held.doubt(Ranges.of((1, 99)), at_ms=OLD + 3 * HOUR_MS)
        assert [gap.missing for gap in held.open_gaps] == [Ranges.of((1, 50)), Ranges.of((51, 99))]
        assert [gap.detected_ms for gap in held.open_gaps] == [OLD, OLD]

    def test_doubt_leaves_what_another_gap_owes(self) -> None:
        held = with_gap(Cause.FAILED, Ranges.of((30, 40)))
        held.record(answered(0, 100, (0, 99), at_ms=OLD))
        held.doubt(Ranges.of((1, 99)), at_ms=OLD)
        assert held.gaps[2].missing == Ranges.of((1, 30), (40, 99))

    def test_a_part_that_is_stored_leaves_its_date_alone(self) -> None:
        held = suspect(20, 90)
        held.table.add(50)
        held.audit(Ranges.of((0, BLOCK)), OLD + HOUR_MS)
        gap = held.gaps[1]
        assert (gap.missing, gap.next_attempt_ms, gap.attempts) == (Ranges.of((20, 50), (51, 90)), OLD + DAY_MS, 0)


class TestAudit:
    def test_rows_that_disappeared_are_lost(self) -> None:
        held = book(0, 10, (2, 3, 4, 8))
        held.table -= {2, 3, 8}
        change = held.audit(Ranges.of((0, BLOCK)), OLD)
        assert [(gap.cause, gap.missing) for gap in change.gaps] == [
            (Cause.LOST, Ranges.of((2, 4))), (Cause.LOST, numbers([8])),
        ]  # fmt: skip
        assert (held.stored, held.owed & held.answered) == (numbers([4]), NOTHING)

    @pytest.mark.parametrize("left", [set(), {50}], ids=["no row is left", "a row follows"])
    def test_lost_rows_with_empties_between_them_are_one_gap(self, left: set[int]) -> None:
        held = book(0, 10, (2, 8))
        held.table = left
        assert [gap.missing for gap in held.audit(Ranges.of((0, BLOCK)), OLD).gaps] == [numbers([2, 8])]

    def test_what_is_lost_is_no_longer_unsettled(self) -> None:
        held = book(0, 10, (9,), at_ms=closed_at(10))
        held.table.clear()
        held.audit(Ranges.of((0, BLOCK)), closed_at(10))
        assert (held.owed, held.unsettled) == (numbers([9]), numbers([8]))

    def test_rows_of_others_in_empties_and_gaps_are_taken_for_stored(self) -> None:
        held = book(0, 10, (2,))
        held.fail(Ranges.of((10, 20)), OLD)
        held.table.update((5, 15))
        held.audit(Ranges.of((0, BLOCK)), OLD)
        assert (held.stored, held.owed) == (numbers([2, 5, 15]), Ranges.of((10, 15), (16, 20)))
        assert 5 not in held.once

    def test_a_row_of_others_is_taken_for_stored_where_silence_was_confirmed(self) -> None:
        held = book(0, 10, (2,))
        held.record(answered(0, 10, (2,), at_ms=OLD + HOUR_MS))
        held.table.add(5)
        held.audit(Ranges.of((0, BLOCK)), OLD + HOUR_MS)
        assert (held.stored, 5 in held.confirmed) == (numbers([2, 5]), False)

    def test_a_row_of_others_changes_no_gap_but_its_own(self) -> None:
        held = book(0, 10, (2,))
        for start in (10, 30):
            held.fail(Ranges.of((start, start + 10)), OLD)
        held.table.add(15)
        assert [gap.id for gap in held.audit(Ranges.of((0, BLOCK)), OLD).gaps] == [1]

    def test_rows_of_others_outside_of_coverage_are_left_alone(self) -> None:
        held = book(0, 10, (2,))
        held.table.add(500)
        change = held.audit(Ranges.of((0, BLOCK)), OLD)
        assert (change.blocks, change.gaps, held.answered) == ((), (), Ranges.of((0, 10)))

    def test_a_gap_closed_by_a_row_of_others_is_proven_in_a_block_of_its_own(self) -> None:
        held = with_gap(Cause.FAILED, numbers([15]))
        held.table.add(15)
        held.audit(Ranges.of((0, BLOCK)), OLD)
        assert (held.gaps[1].resolution, held.stored) == (Resolution.STORED, numbers([15]))
        assert (held.blocks[0].look_ms, held.blocks[0].look_step) == (None, 0)

    def test_ends_where_it_was_told_to(self) -> None:
        """Gaps of the block in between are not held: what lies there is left for another time."""
        held = book(0, 3 * BLOCK, (0, BLOCK, BLOCK + 1, 2 * BLOCK), at_ms=closed_at(3 * BLOCK, DAY_MS))
        held.gaps[1] = Gap(Cause.FAILED, Ranges.of((BLOCK + 5, BLOCK + 9)), OLD, id=1)
        middle = held.blocks[1]
        held.blocks[1] = replace(middle, answered=middle.answered - held.owed)
        held.table = {0, BLOCK, BLOCK + 7}
        change = held.audit(Ranges.of((0, BLOCK), (2 * BLOCK, 3 * BLOCK)), OLD)
        assert [gap.missing for gap in change.gaps] == [numbers([2 * BLOCK])]
        assert not held.answered & held.owed

    def test_nothing_wrong_changes_nothing(self) -> None:
        held = book(0, 10, (2,))
        change = held.audit(Ranges.of((0, BLOCK)), OLD)
        assert (change.blocks, change.gaps) == ((), ())

    def test_the_last_empty_taken_for_stored_ends_the_looks(self) -> None:
        held = book(0, 2, (1,))
        held.record(answered(0, 2, (1,), at_ms=OLD + HOUR_MS))
        held.table.add(0)
        held.audit(Ranges.of((0, BLOCK)), OLD + HOUR_MS)
        assert (held.blocks[0].look_ms, held.blocks[0].look_step) == (None, 0)


class TestRebuild:
    EVERYTHING = Ranges.of((0, BLOCK))

    def test_rows_are_stored_and_empties_unknown(self) -> None:
        held = book(0, 100, (2, 50))
        held.record(answered(0, 40, (2,), at_ms=OLD + HOUR_MS))
        held.rebuild(self.EVERYTHING, OLD + HOUR_MS)
        assert (held.answered, held.stored, held.once, held.confirmed) == (
            numbers([2, 50]), numbers([2, 50]), NOTHING, NOTHING
        )  # fmt: skip
        assert [(block.pending, block.look_ms) for block in held.blocks.values()] == [((), None)]

    def test_what_was_stored_and_has_no_row_is_unknown_too(self) -> None:
        held = book(0, 10, (2, 8))
        held.table.remove(8)
        assert held.rebuild(self.EVERYTHING, OLD).gaps == ()
        assert held.answered == numbers([2])

    def test_a_block_without_a_ledger_is_made(self) -> None:
        held = book(0, 10, (2,))
        held.table.add(BLOCK + 5)
        held.rebuild(Ranges.of((0, 2 * BLOCK)), OLD)
        assert (held.stored, held.blocks[1].answered_ms) == (numbers([2, BLOCK + 5]), OLD)

    def test_what_is_owed_stays_owed_but_for_what_is_there(self) -> None:
        held = book(0, 10, (2,))
        held.fail(Ranges.of((10, 20)), OLD)
        held.table.add(15)
        held.rebuild(self.EVERYTHING, OLD)
        assert (held.owed, held.answered) == (Ranges.of((10, 15), (16, 20)), numbers([2, 15]))

    def test_a_gap_that_nothing_fills_is_left_alone(self) -> None:
        held = book(0, 10, (2,))
        held.fail(Ranges.of((10, 20)), OLD)
        assert held.rebuild(self.EVERYTHING, OLD + HOUR_MS).gaps == ()

    def test_what_lies_between_the_blocks_is_left_alone(self) -> None:
        held = book(0, 10, (2,))
        held.table.add(BLOCK + 5)
        change = held.rebuild(Ranges.of((0, BLOCK), (2 * BLOCK, 3 * BLOCK)), OLD)
        assert [block.number for block in change.blocks] == [0]
        assert held.stored == numbers([2])

    def test_no_empty_waits_for_a_second_answer_any_more(self) -> None:
        held = book(0, 10, (2,))
        assert held.blocks[0].pending
        held.rebuild(self.EVERYTHING, OLD + 1)
        assert held.blocks[0].pending == ()

    def test_nobody_doubts_what_is_unknown(self) -> None:
        held = suspect(20, 90)
        held.rebuild(self.EVERYTHING, OLD + HOUR_MS)
        assert (held.gaps[1].resolution, held.gaps[1].repaired_ms) == (Resolution.NOT_WANTED, OLD + HOUR_MS)
        assert held.answered == numbers([19, 90])

    def test_what_waits_for_its_second_reading_goes_on_to(self) -> None:
        held = book(0, 10, (2, 9), at_ms=closed_at(10))
        held.rebuild(self.EVERYTHING, closed_at(10))
        assert held.unsettled == numbers([9])


class TestMissing:
    """Of an exchange that always sends a candle a missing one is a fault; it is believed a day later, not at once."""

    NOW = closed_at(100)

    def heard(self, held: Book, start: int, end: int, opens: Iterable[int], at_ms: int) -> Change:
        return held.record(replace(answered(start, end, opens, at_ms=at_ms), always=True))

    def late(self) -> Book:
        held = Book(first=10)
        self.heard(held, 50, 90, [n for n in range(50, 90) if n not in (60, 61)], self.NOW)
        return held

    def test_what_is_missing_lately_is_late_and_not_answered(self) -> None:
        held = self.late()
        (gap,) = held.open_gaps
        assert (gap.cause, gap.missing) == (Cause.LATE, numbers([60, 61]))
        assert gap.next_attempt_ms == self.NOW + RETRIES_MS[0]
        assert not held.answered & numbers([60, 61])
        assert held.once == numbers([60, 61])

    def test_what_was_missing_long_ago_is_suspect_and_answered(self) -> None:
        held, at_ms = Book(first=10), closed_at(2_000)
        self.heard(held, 50, 90, [n for n in range(50, 90) if n != 60], at_ms)
        (gap,) = held.open_gaps
        assert (gap.cause, gap.missing, gap.next_attempt_ms) == (Cause.SUSPECT, numbers([60]), at_ms + DAY_MS)
        assert 60 in held.answered

    def test_the_border_between_late_and_suspect_is_a_day(self) -> None:
        held, at_ms = Book(first=10), closed_at(1_440 + 60)
        self.heard(held, 50, 90, [n for n in range(50, 90) if n not in (59, 60)], at_ms)
        assert {gap.cause: gap.missing for gap in held.open_gaps} == {
            Cause.SUSPECT: numbers([59]), Cause.LATE: numbers([60]),
        }  # fmt: skip

    def test_a_candle_that_may_still_come_is_not_late(self) -> None:
        held = Book(first=10)
        self.heard(held, 50, 100, range(50, 97), closed_at(100))
        assert {gap.cause: gap.missing for gap in held.open_gaps} == {Cause.LATE: numbers([97])}
        assert held.once == numbers([97, 98, 99])

    def test_nothing_is_missing_up_to_the_first_candle_or_while_it_is_unknown(self) -> None:
        for first in (None, 89):
            held = Book(first=first)
            self.heard(held, 50, 90, [89], self.NOW)
            assert held.open_gaps == []
            assert held.once == numbers(range(50, 89))

    def test_elsewhere_it_is_no_trade(self) -> None:
        held = Book(first=10)
        held.record(answered(50, 90, [50, 89], at_ms=self.NOW))
        assert held.open_gaps == []

    def test_it_is_asked_for_again_and_again_and_believed_a_day_later(self) -> None:
        held = self.late()
        others = [n for n in range(50, 90) if n not in (60, 61)]
        at_ms = self.NOW
        for attempt in (1, 2, 3):
            at_ms += RETRIES_MS[attempt]
            self.heard(held, 50, 90, others, at_ms)
            (gap,) = held.open_gaps
            assert (gap.attempts, gap.missing) == (attempt, numbers([60, 61]))
            assert gap.next_attempt_ms == at_ms + RETRIES_MS[attempt - 1]
        self.heard(held, 50, 90, others, self.NOW + DAY_MS)
        (closed,) = held.gaps.values()
        assert (closed.resolution, closed.emptied) == (Resolution.EMPTY, 2)
        assert held.confirmed == numbers([60, 61])
        assert held.answered.covers(numbers(range(50, 90)))
        self.heard(held, 50, 90, others, self.NOW + 2 * DAY_MS)
        assert held.open_gaps == [], "what was believed is not doubted again"

    def test_it_closes_when_the_candles_come(self) -> None:
        held = self.late()
        self.heard(held, 50, 90, range(50, 90), self.NOW + 600_000)
        (closed,) = held.gaps.values()
        assert (closed.resolution, closed.filled) == (Resolution.STORED, 2)
        assert held.once == NOTHING
