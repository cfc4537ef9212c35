"""Which series are shown where not all may be."""

from marketd.board import Board, met
from marketd.model import Cause, Series

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
OBJECTIVE_S = 480.0


def series(symbol: str) -> Series:
    return Series("bitfinex", symbol, "1m")


def board(until_ms: dict[str, int], without_objective: tuple[str, ...] = ()) -> Board:
    made = Board()
    made.track({series(name): None if name in without_objective else OBJECTIVE_S for name in until_ms})
    for name, ms in until_ms.items():
        made.lines[series(name)].until_ms = ms
    made.judge(lambda exchange: NOW_MS)
    return made


def shown(made: Board, limit: int) -> list[str]:
    made.limit = limit
    return [one.symbol for one in made.shown()]


def test_all_are_shown_up_to_the_limit() -> None:
    made = board({"B": NOW_MS, "A": 0})
    assert shown(made, 2) == ["A", "B"]
    assert made.shown() == board({"B": NOW_MS, "A": 0}).shown(), "without a limit all are"


def test_above_it_the_late_ones_come_first_and_never_answered_ones_before_all() -> None:
    made = board({"FRESH": NOW_MS, "LATE": NOW_MS - HOUR_MS, "LATER": NOW_MS - 2 * HOUR_MS, "NEVER": 0})
    assert shown(made, 3) == ["NEVER", "LATER", "LATE"]
    assert shown(made, 1) == ["NEVER"]
    assert shown(made, 0) == []


def test_late_is_measured_against_the_own_objective() -> None:
    made = board({"SLACK": NOW_MS - HOUR_MS, "STRICT": NOW_MS - HOUR_MS // 2})
    made.track({series("SLACK"): 2 * 3600.0, series("STRICT"): 60.0})
    made.judge(lambda exchange: NOW_MS)
    assert shown(made, 1) == ["STRICT"]


def test_then_those_that_owe_most_doubts_aside_and_then_by_name() -> None:
    made = board({"A": NOW_MS, "B": NOW_MS, "C": NOW_MS, "D": 0}, without_objective=("D",))
    made.lines[series("C")].missing = {Cause.SUSPECT: 900}
    made.lines[series("B")].missing = {Cause.FAILED: 1}
    made.lines[series("D")].missing = {Cause.LOST: 2}
    assert shown(made, 3) == ["D", "B", "A"]


def test_what_is_known_of_a_series_outlives_a_reload() -> None:
    made = board({"A": NOW_MS, "B": NOW_MS})
    made.track({series("A"): None, series("C"): None})
    assert made.lines[series("A")].until_ms == NOW_MS
    assert made.lines[series("A")].objective_s is None
    assert made.lines.keys() == {series("A"), series("C")}


def test_each_series_is_judged_by_the_time_of_its_exchange() -> None:
    made = Board()
    other = Series("kraken", "A", "1m")
    made.track({series("A"): OBJECTIVE_S, other: OBJECTIVE_S})
    for line in made.lines.values():
        line.until_ms = NOW_MS
    made.judge({"bitfinex": NOW_MS, "kraken": NOW_MS + HOUR_MS}.__getitem__)
    assert {one: line.met for one, line in made.lines.items()} == {series("A"): True, other: False}


def test_without_an_objective_nothing_is_late() -> None:
    assert met(0, None, NOW_MS)
    assert not met(0, 1.0, NOW_MS)
