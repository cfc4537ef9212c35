"""The drawings of the status page."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest

from marketd.clock import ms_of
from marketd.coverage import OWED, State, Stretch
from marketd.web import axis, chart

NOON = 1_700_049_600_000
DAY = 86_400_000


def rects(svg: str) -> list[tuple[str, float, float]]:
    """Class, left edge and width of each, in per cent."""

    def share(rect: ET.Element, name: str) -> float:
        return float(rect.get(name, "").rstrip("%"))

    found = ET.fromstring(svg).iter("rect")
    return [(each.get("class", ""), share(each, "x"), share(each, "width")) for each in found]


def test_a_row_is_drawn_to_scale() -> None:
    svg = chart.row([Stretch(0, 50, State.COMPLETE), Stretch(50, 60, State.LATE, 9)], 0, 100, [(40, 45)])
    assert rects(svg) == [("outage", 40, 5), ("complete", 0, 50), ("late", 50, 10)]
    assert 'href="/gap?id=9"' in svg
    assert "holes: late" in svg


def test_what_lies_outside_is_cut() -> None:
    assert rects(chart.row([Stretch(-50, 50, State.COMPLETE), Stretch(90, 200, State.UNKNOWN)], 0, 100)) == [
        ("complete", 0, 50), ("unknown", 90, 10),
    ]  # fmt: skip
    assert rects(chart.row([Stretch(-50, -10, State.COMPLETE)], 0, 100)) == []


def test_gaps_that_nobody_could_tell_apart_are_drawn_as_one() -> None:
    many = [Stretch(at * 10, at * 10 + 5, State.LATE, at) for at in range(100)]
    (one,) = chart.drawn_gaps(many, 5)
    assert (one.count, one.owed_ms, one.stretch.start_ms, one.stretch.end_ms) == (100, 500, 0, 995)
    assert len(chart.drawn_gaps(many, 4)) == 100
    halves = [Stretch(0, 5, State.LATE, 1), Stretch(6, 9, State.LATE, 1), Stretch(9, 12, State.LOST, 2)]
    assert [(gap.count, gap.stretch.state) for gap in chart.drawn_gaps(halves, 5)] == [(1, "late"), (1, "lost")]


def test_every_state_has_a_look_and_a_word_and_no_two_look_the_same_but_for_their_colour() -> None:
    assert set(chart.LABELS) == set(State)
    looks = {state: rects_of_key(state) for state in OWED}
    assert len({look for state, look in looks.items() if state not in (State.FAILED, State.LOST)}) == 3
    assert all(state.value in chart.key(state) for state in State)


def rects_of_key(state: State) -> tuple[str | None, str | None]:
    rect = next(ET.fromstring(chart.key(state)).iter("rect"))
    return rect.get("y"), rect.get("height")


@pytest.mark.parametrize("days", [0.1, 1, 7, 30, 365, 4000])
def test_an_axis_has_a_few_round_times_in_order(days: float) -> None:
    found = axis.marks(NOON - int(days * DAY), NOON)
    places = [place for place, _ in found]
    assert 1 <= len(found) <= 10
    assert places == sorted(places)
    assert all(0 <= place < 100 for place in places)
    assert len({text for _, text in found}) == len(found)


def test_an_axis_of_months_stands_at_their_beginnings() -> None:
    start, end = (ms_of(datetime(year, month, 1, tzinfo=UTC)) for year, month in ((2023, 11), (2024, 5)))
    assert [text for _, text in axis.marks(start, end)] == [
        "Nov 2023", "Dec 2023", "Jan 2024", "Feb 2024", "Mar 2024", "Apr 2024",
    ]  # fmt: skip
