"""The page check: what an answer covers, and which rows may be stored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd import page
from marketd.errors import BadReply
from marketd.exchanges.bitfinex import EXCHANGE as BITFINEX
from marketd.exchanges.facts import NoTrade
from marketd.model import Answer, Ask, Drop, Rows, Series
from marketd.page import Conflicting, TooManyDropped
from marketd.ranges import NOTHING, Ranges
from tests.toy import FRAME, MINUTE_MS, SERIES, Toy, answer_of, closed_at, numbers, rows

LATER = closed_at(1_000)


def ask(start: int, end: int, *, newest_first: bool = False) -> Ask:
    return Ask(SERIES, start, end, newest_first)


def covered(start: int, end: int, opens: Sequence[int], *, newest_first: bool = False) -> tuple[tuple[int, int], ...]:
    return answer_of(ask(start, end, newest_first=newest_first), rows(opens), LATER).covered.spans


class TestCoverage:
    def test_an_empty_answer_speaks_for_the_whole_ask(self) -> None:
        assert covered(10, 20, []) == covered(10, 20, [], newest_first=True) == ((10, 20),)

    def test_rows_speak_from_the_uncut_edge_to_the_outermost_on_the_cut_side(self) -> None:
        """fault_39."""
        assert covered(10, 20, [12, 15]) == ((10, 16),)
        assert covered(10, 20, [15, 12], newest_first=True) == ((12, 20),)

    def test_a_candle_at_the_cut_edge_completes_the_ask(self) -> None:
        assert covered(10, 20, [12, 19]) == ((10, 20),)
        assert covered(10, 20, [12, 10], newest_first=True) == ((10, 20),)

    def test_a_page_against_its_sort_speaks_from_its_first_to_its_last_row(self) -> None:
        """fault_41."""
        assert covered(10, 20, [15, 12]) == ((12, 16),)
        assert covered(10, 20, [12, 15], newest_first=True) == ((12, 16),)

    def test_a_page_in_no_order_speaks_from_its_first_to_its_last_row(self) -> None:
        assert covered(10, 20, [12, 18, 15]) == covered(10, 20, [18, 12, 15], newest_first=True) == ((12, 19),)

    def test_rows_outside_are_counted_and_narrow_what_is_believed(self) -> None:
        """fault_41."""
        answer = answer_of(ask(10, 20), rows([9, 12, 15, 20]), LATER)
        assert (answer.covered, answer.rows.size, answer.fetched) == (Ranges.of((12, 16)), 2, 4)
        assert answer.drops[Drop.OUTSIDE] == 2

    def test_a_single_row_outside_narrows_it_and_a_repeated_one_does_not(self) -> None:
        assert covered(10, 20, [9, 12, 15]) == ((12, 16),)
        assert covered(10, 20, [12, 12, 15]) == ((10, 16),)
        assert covered(10, 20, [15, 12, 12], newest_first=True) == ((12, 20),)

    def counted(self, opens: Sequence[int], known: Sequence[int] = (), **more: Any) -> tuple[tuple[int, int], ...]:
        """What an answer to a counted ask for ten intervals covers."""
        asked = Ask(SERIES, 10, 20, newest_first=False, known=numbers(known), counted=True)
        return answer_of(asked, rows(opens), LATER, **more).covered.spans

    @pytest.mark.parametrize("opens", [[], [12, 15], [15, 12], [13, 12, 15]])
    def test_a_counted_ask_is_answered_as_a_whole_in_whatever_order(self, opens: list[int]) -> None:
        assert self.counted(opens) == ((10, 20),)

    def test_a_counted_answer_that_lacks_a_known_candle_speaks_from_its_first_to_its_last_row(self) -> None:
        assert self.counted([12, 15], [10]) == self.counted([12, 15], [12, 19]) == ((12, 16),)
        assert self.counted([10, 12, 19], [10, 19]) == self.counted([], [10]) == ((10, 20),)
        assert self.counted([12, 12], [12]) == ((10, 20),)

    def test_a_counted_answer_as_long_as_a_smaller_page_was_cut_perhaps(self) -> None:
        assert self.counted([12, 13, 15], sizes=(10, 3)) == ((12, 16),)
        assert self.counted([12, 13], sizes=(10, 3)) == self.counted(range(10, 20), sizes=(10, 3)) == ((10, 20),)

    def test_rows_outside_of_a_counted_ask_narrow_it_where_they_are_not_usual(self) -> None:
        assert self.counted([9, 12, 15]) == ((12, 16),)
        assert self.counted([9, 12, 15], strays=True) == self.counted([8, 9], strays=True) == ((10, 20),)
        assert self.counted([8, 9], [10], strays=True) == ()

    @pytest.mark.parametrize("opens", [[9], [20], [0, 5, 30]])
    def test_rows_of_which_none_lies_in_the_ask_are_refused(self, opens: list[int]) -> None:
        with pytest.raises(BadReply, match="none lies in the range"):
            answer_of(ask(10, 20), rows(opens), LATER)

    def test_an_open_row_ends_the_coverage(self) -> None:
        """fault_44."""
        answer = answer_of(ask(10, 20), rows([12, 17, 18]), closed_at(18))
        assert (answer.covered, answer.rows) == (Ranges.of((10, 18)), numbers([12, 17]))

    def test_an_empty_answer_says_nothing_of_what_is_open(self) -> None:
        assert answer_of(ask(10, 20), rows([]), closed_at(15)).covered == Ranges.of((10, 15))
        assert answer_of(ask(10, 20), rows([]), closed_at(9)).covered == NOTHING

    def test_only_an_open_row_covers_nothing(self) -> None:
        answer = answer_of(ask(10, 20), rows([18]), closed_at(18))
        assert (answer.covered, answer.rows, answer.csv) == (NOTHING, NOTHING, b"")

    @pytest.mark.parametrize(("later_ms", "end"), [(4_999, 14), (5_000, 15), (64_999, 15), (65_000, 16)])
    def test_an_interval_is_closed_when_its_grace_has_passed(self, later_ms: int, end: int) -> None:
        answer = answer_of(ask(10, 20), rows(range(10, 20)), closed_at(15, later_ms), grace_s=5)
        assert (answer.covered, answer.rows) == (Ranges.of((10, end)), Ranges.of((10, end)))


class TestRows:
    def test_are_stored_ascending_in_the_digits_that_were_sent(self) -> None:
        """fault_41."""
        answer = answer_of(ask(10, 20, newest_first=True), rows([15, 12]), LATER)
        assert answer.csv == b"720000,5.0,5.0,5.0,5.0,1\n900000,5.0,5.0,5.0,5.0,1\n"

    def test_equal_repeats_are_one(self) -> None:
        """fault_40."""
        answer = answer_of(ask(10, 20), rows([12, 12, 15]), LATER)
        assert (answer.rows, answer.csv.count(b"\n"), answer.fetched) == (numbers([12, 15]), 2, 3)

    def test_two_different_candles_of_an_interval_refuse_the_page(self) -> None:
        """fault_40."""
        with pytest.raises(Conflicting, match="two different candles"):
            answer_of(ask(10, 20), _both(rows([12, 13]), rows([13], price=6.0)), LATER)

    def test_different_candles_outside_of_the_ask_do_not_matter(self) -> None:
        assert answer_of(ask(10, 20), _both(rows([12, 25]), rows([25], price=6.0)), LATER).rows == numbers([12])

    def test_an_implausible_row_is_dropped_and_covered(self) -> None:
        answer = answer_of(ask(10, 20), rows([12, 15], bad=[15]), LATER)
        assert (answer.covered, answer.rows, answer.dropped) == (Ranges.of((10, 16)), numbers([12]), numbers([15]))

    def test_a_misaligned_row_is_dropped_from_the_interval_it_lies_in(self) -> None:
        """fault_41."""
        answer = answer_of(ask(10, 20), _both(rows([12]), rows([15], late_ms=7_000)), LATER)
        assert (answer.rows, answer.dropped, answer.covered) == (numbers([12]), numbers([15]), Ranges.of((10, 16)))

    def test_a_misaligned_row_beside_a_good_one_of_its_interval_owes_nothing(self) -> None:
        answer = answer_of(ask(10, 20), _both(rows([12]), rows([12], late_ms=1)), LATER)
        assert (answer.rows, answer.dropped) == (numbers([12]), NOTHING)

    def test_every_row_that_is_not_stored_is_counted_by_its_reason(self) -> None:
        sent = _both(rows([9, *range(100, 300), 150, 320, 330], bad=[120, 9]), rows([130], late_ms=1))
        answer = answer_of(ask(100, 400), sent, closed_at(325))
        assert answer.drops == {
            Drop.OUTSIDE: 1, Drop.OPEN: 1, Drop.MISALIGNED: 1, Drop.IMPLAUSIBLE: 1, Drop.REPEATED: 1,
        }  # fmt: skip

    def test_a_page_of_two_hundred_may_lose_two(self) -> None:
        sent = rows(range(200), bad=[3, 100])
        assert answer_of(ask(0, 200), sent, LATER).dropped == numbers([3, 100])

    @pytest.mark.parametrize(("size", "bad"), [(200, 3), (99, 2), (2, 2)])
    def test_more_than_one_in_a_hundred_refuses_the_page(self, size: int, bad: int) -> None:
        with pytest.raises(TooManyDropped):
            answer_of(ask(0, size), rows(range(size), bad=range(bad)), LATER)

    @pytest.mark.parametrize(
        ("values", "usable"),
        [
            ((5, 6, 4, 5, 1), True),
            ((5, 5, 5, 5, 0), True),
            ((4, 6, 4, 6, 1e-8), True),
            ((5, 4, 4, 5, 1), False),  # high below the open
            ((5, 6, 5.5, 6, 1), False),  # low above the open
            ((5, 6, 4, 7, 1), False),
            ((5, 6, 4, 3, 1), False),
            ((0, 6, 0, 5, 1), False),
            ((-5, 6, -5, 5, 1), False),
            ((5, 6, 4, 5, -1), False),
            ((5, 1e21, 4, 5, 1), False),
            ((1e-21, 6, 1e-21, 5, 1), False),
            ((5, 6, 4, 5, 1e21), False),
            ((5, 6, 4, 5, 1e-300), False),
            ((1e20, 1e20, 1e-20, 1e-20, 1e20), True),  # the bounds that the table checks
            ((1e20, 1.5e20, 1e-20, 1, 1), False),
            ((1e20, 1e20, 0.9e-20, 1, 1), False),
            ((5, 6, 4, 5, 1e-20), True),
            ((5, float("inf"), 4, 5, 1), False),
            ((float("nan"), 6, 4, 5, 1), False),
            ((5, 6, 4, 5, float("nan")), False),
        ],
    )
    def test_prices_are_positive_finite_and_in_order(self, values: tuple[float, ...], usable: bool) -> None:
        """fault_43."""
        opened, high, low, close, volume = values
        sent = Rows([FRAME.open_ms(12)], [opened], [high], [low], [close], [volume], [b"x"])
        assert (answer_of(ask(10, 20), sent, LATER).rows == numbers([12])) is usable

    @pytest.mark.parametrize(
        ("line", "usable"),
        [
            (b"0,5,5,5.00000000000000000001,5,1", True),
            (b"0,5,5,5,4.99999999999999999999,1", True),
            (b"0,5,4.99999999999999999999,5,5,1", False),
            (b"0,5,5,5,5.00000000000000000001,1", False),
            (b"0,5.00000000000000000001,5,5,5,1", False),
            (b"0,9007199254740992,9007199254740993,9007199254740993,9007199254740993,1", False),  # one float
            (b"0,5,5.00000000000000000001,5,5,1", False),
            (b"0,5,5,5,5,1.00000000000000000001", True),
        ],
    )
    def test_prices_are_in_order_to_the_last_digit(self, line: bytes, usable: bool) -> None:
        """fault_43: the database compares all digits, and would refuse the page for them."""
        answer = answer_of(ask(0, 1), Rows([0], [5.0], [5.0], [5.0], [5.0], [1.0], [line]), LATER)
        assert (answer.rows.size, answer.dropped.size) == (usable, not usable)

    def test_many_digits_do_not_save_a_row_that_is_implausible(self) -> None:
        line = b"0,5,5,5,5,-1.00000000000000000001"
        answer = answer_of(ask(0, 1), Rows([0], [5.0], [5.0], [5.0], [5.0], [-1.0], [line]), LATER)
        assert answer.dropped == numbers([0])

    def test_a_misaligned_row_is_not_counted_as_implausible(self) -> None:
        answer = answer_of(ask(10, 20), _both(rows([12]), rows([15], late_ms=7_000)), LATER)
        assert (answer.drops[Drop.MISALIGNED], answer.drops[Drop.IMPLAUSIBLE]) == (1, 0)

    @pytest.mark.parametrize("name", ["1w", "2w"])
    def test_weeks_are_aligned_to_mondays(self, name: str) -> None:
        weekly = Ask(Series("bitfinex", "BTCUSD", name), 100, 110, newest_first=False)
        frame, flat = weekly.series.frame, [5.0] * 2
        for late_ms, dropped in ((0, []), (-1, [104]), (1, [105]), (5 * 86_400_000, [105])):
            opens = [frame.open_ms(102), frame.open_ms(105) + late_ms]
            sent = Rows(opens, flat, flat, flat, flat, flat, [b"x"] * 2)
            answer = answer_of(weekly, sent, frame.open_ms(200))
            assert (answer.dropped, answer.drops[Drop.MISALIGNED]) == (numbers(dropped), len(dropped))
            assert answer.rows == numbers([102] if dropped else [102, 105])

    def test_an_open_time_that_is_no_date_is_refused(self) -> None:
        monthly = Ask(Series("bitfinex", "BTCUSD", "1M"), 0, 12, newest_first=False)
        sent = Rows([10**20], [5.0], [5.0], [5.0], [5.0], [1.0], [b"x"])
        with pytest.raises(BadReply, match="not a date"):
            answer_of(monthly, sent, LATER)

    def test_months_are_aligned_by_the_calendar(self) -> None:
        monthly = Ask(Series("bitfinex", "BTCUSD", "1M"), 0, 12, newest_first=False)
        opens = [monthly.series.frame.open_ms(month) for month in range(3)]
        flat = [5.0] * 3
        sent = Rows(opens, flat, flat, flat, flat, flat, [b"x"] * 3)
        answer = answer_of(monthly, sent, opens[2])
        assert (answer.rows, answer.covered) == (Ranges.of((0, 2)), Ranges.of((0, 2)))


class TestExchanges:
    """What some send and others do not."""

    def said(self, sent: Rows, **facts: Any) -> Answer:
        return page.check(ask(10, 20), sent, replace(BITFINEX, **facts), at_ms=LATER)

    def test_a_candle_off_the_grid_is_taken_for_the_interval_in_which_it_opens(self) -> None:
        """As Binance sent them in 2017 and 2018."""
        answer = self.said(rows([12, 15], late_ms=14_789), off_grid=True)
        assert (answer.rows, answer.dropped) == (numbers([12, 15]), NOTHING)
        assert answer.csv == b"720000,5.0,5.0,5.0,5.0,1\n900000,5.0,5.0,5.0,5.0,1\n"

    def test_one_on_the_grid_stands_before_it_and_else_the_one_traded_most(self) -> None:
        beside = _both(rows([12], price=6.0, late_ms=1), rows([12]))
        assert self.said(beside, off_grid=True).csv == b"720000,5.0,5.0,5.0,5.0,1\n"
        thicker = replace(rows([12], price=6.0, late_ms=1), volume=[2.0])
        for both in (_both(rows([12], late_ms=9), thicker), _both(thicker, rows([12], late_ms=9))):
            assert self.said(both, off_grid=True).csv == b"720000,6.0,6.0,6.0,6.0,1\n"

    def test_what_the_exchange_calls_open_ends_what_the_answer_speaks_for(self) -> None:
        answer = self.said(replace(rows([12, 15, 16]), unfinished=(1,)))
        assert (answer.covered, answer.rows) == (Ranges.of((10, 13)), numbers([12]))

    @pytest.mark.parametrize(
        ("look", "volumes", "always"),
        [
            (NoTrade.ABSENT, [1.0, 0.0], False), (NoTrade.FLAT, [1.0, 1.0], True), (NoTrade.FLAT, [], True),
            (NoTrade.UNPROVEN, [1.0, 1.0], False), (NoTrade.UNPROVEN, [1.0, 0.0], True), (NoTrade.UNPROVEN, [], False),
        ],
    )  # fmt: skip
    def test_a_missing_candle_is_a_fault_where_one_without_trades_would_have_come(
        self, look: NoTrade, volumes: list[float], always: bool
    ) -> None:
        """Of an exchange of which nobody knows, a candle without trades beside it tells."""
        sent = replace(rows(range(12, 12 + len(volumes))), volume=volumes)
        assert self.said(sent, no_trade=look).always is always

    def test_of_what_is_too_old_only_what_came_is_spoken_for(self) -> None:
        """The exchange may look a moment before we do, and still serve a candle that we know to be out of reach."""
        closed = page.check(ask(0, 1), rows([]), BITFINEX, at_ms=LATER).ask.series.frame.closed_end(LATER)
        answer = self.said(rows([12, 15]), reach=closed - 14)
        assert answer.served_from == 16
        assert (answer.covered, answer.rows) == (Ranges(((12, 13), (15, 16))), numbers([12, 15]))

    def test_nothing_counts_as_served_for_longer_by_a_clock_that_is_behind(self) -> None:
        """Whichever of the two it is, the exchange's or our own."""
        facts = replace(BITFINEX, reach=LATER // MINUTE_MS - 14)
        at = page.check(ask(10, 20), rows([]), facts, at_ms=LATER)
        later = page.check(ask(10, 20), rows([]), facts, at_ms=LATER, latest_ms=LATER + 3 * MINUTE_MS)
        assert (at.covered, later.covered) == (Ranges.of((16, 20)), Ranges.of((19, 20)))
        assert at.at_ms == later.at_ms


def _both(one: Rows, other: Rows) -> Rows:
    return Rows(*(getattr(one, name) + getattr(other, name) for name in Rows.__dataclass_fields__))


CANDLES = st.sets(st.integers(0, 40), max_size=30)
SPAN = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def asked_of_a_toy(
    candles: set[int], limit: int, span: tuple[int, int], newest_first: bool, at: int
) -> tuple[Ask, Toy, int]:
    return ask(*span, newest_first=newest_first), Toy(candles, limit), closed_at(at)


ASKED = st.builds(asked_of_a_toy, CANDLES, st.integers(1, 12), SPAN, st.booleans(), st.integers(0, 70))


@settings(max_examples=300)
@given(ASKED)
def test_covered_is_only_what_the_exchange_spoke_for(asked: tuple[Ask, Toy, int]) -> None:
    """Whatever limit it keeps to, lowered in silence or not."""
    question, toy, at_ms = asked
    sent, spoken = toy.send(question)
    answer = answer_of(question, rows(sent), at_ms)
    closed = Ranges.of((0, at_ms // MINUTE_MS))
    assert (spoken & closed).covers(answer.covered)
    assert answer.rows == numbers(toy.candles) & answer.covered  # no candle of what is covered is overlooked
    assert answer.rows == numbers(sent) & closed  # and none that was sent is thrown away
    assert answer.rows.size + sum(answer.drops.values()) == answer.fetched  # each is stored or has a reason


@settings(max_examples=200)
@given(ASKED)
def test_covered_is_all_that_can_be_told(asked: tuple[Ask, Toy, int]) -> None:
    """An exchange whose limit is just the rows sent, and which has a candle at the far edge, sends the same page."""
    question, toy, _ = asked
    sent, _ = toy.send(question)
    answer = answer_of(question, rows(sent), LATER)
    far_edge = question.start if question.newest_first else question.end - 1
    other = Toy({*sent, far_edge}, len(sent)) if sent else Toy()
    assert other.send(question) == (sent, answer.covered)


@settings(max_examples=200)
@given(ASKED, st.permutations(range(12)), st.sets(st.integers(-5, 65), max_size=3))
def test_odd_pages_claim_no_more_than_their_rows(
    asked: tuple[Ask, Toy, int], order: list[int], strays: set[int]
) -> None:
    """Shuffled, or with rows outside of the ask: from the first to the last row at most, or as for a page in order."""
    question, toy, at_ms = asked
    sent, spoken = toy.send(question)
    outside = [number for number in sorted(strays) if not question.start <= number < question.end]
    odd = [sent[at] for at in order if at < len(sent)] + outside
    try:
        answer = answer_of(question, rows(odd), at_ms)
    except BadReply:
        assert outside
        assert not sent
        return
    limits = numbers(sent).hull if outside else spoken
    assert limits.covers(answer.covered)


@settings(max_examples=200)
@given(ASKED, st.data())
def test_dropped_rows_are_covered_and_never_stored(asked: tuple[Ask, Toy, int], data: st.DataObject) -> None:
    question, toy, _ = asked
    sent, spoken = toy.send(question)
    bad = data.draw(st.sampled_from(sent)) if sent else None
    answer: Answer = answer_of(question, rows(sent, bad=[] if bad is None else [bad]), LATER)
    assert answer.dropped == (NOTHING if bad is None else numbers([bad]))
    assert answer.rows == numbers(sent) - answer.dropped
    assert answer.covered == answer_of(question, rows(sent), LATER).covered
    assert spoken.covers(answer.covered)
