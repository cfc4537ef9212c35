"""The coverage map in a terminal."""

from marketd.cli import blocks
from marketd.coverage import State, Stretch


def drawn(*parts: tuple[int, int, State], width: int = 10) -> str:
    return "".join("." if each is None else each.value[0] for each in columns(parts, width))


def columns(parts: tuple[tuple[int, int, State], ...], width: int) -> list[State | None]:
    return blocks.columns([Stretch(start, end, state) for start, end, state in parts], 0, 100, width)


def test_a_column_shows_what_there_is_most_of() -> None:
    assert drawn((0, 55, State.COMPLETE), (57, 80, State.UNKNOWN)) == "cccccCuu..".lower()
    assert drawn() == ".........."


def test_what_is_owed_is_seen_however_short_it_is_and_the_worst_of_it() -> None:
    assert columns(((0, 99, State.COMPLETE), (42, 43, State.SUSPECT)), 10)[4] is State.SUSPECT
    assert columns(((40, 49, State.NOT_ASKED), (49, 50, State.FAILED)), 10)[4] is State.FAILED


def test_what_lies_outside_is_left_out() -> None:
    assert drawn((-50, 10, State.COMPLETE), (95, 300, State.LATE)) == "c........l"


def test_every_state_has_a_sign_and_no_two_visible_ones_the_same() -> None:
    assert set(blocks.SIGNS) == set(State)
    for place in (0, 1):
        signs = [sign[place] for sign in blocks.SIGNS.values() if sign.label]
        assert len(set(signs)) == len(signs)
