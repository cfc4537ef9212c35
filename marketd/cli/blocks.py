"""The coverage map in a terminal: a sign a stretch of time.

Owns the signs and their colours, which are those of the status page. Each state has a sign of its own, so that a pipe
and ``NO_COLOR`` lose nothing.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.text import Text

from marketd import words
from marketd.coverage import OWED, State, Stretch
from marketd.figures import Missing
from marketd.model import Cause


class Sign(NamedTuple):
    drawn: str
    plain: str
    style: str
    label: str


SIGNS: Final = {
    State.COMPLETE: Sign("█", "#", "green", "complete"),
    State.QUIET: Sign("▒", "-", "green", "nothing traded"),
    State.FAILED: Sign("F", "F", "bold red", "failed"),
    State.LATE: Sign("L", "L", "bold dark_orange", "late"),
    State.LOST: Sign("X", "X", "bold magenta", "lost"),
    State.NOT_ASKED: Sign("N", "N", "bold yellow", "not asked"),
    State.SUSPECT: Sign("?", "?", "bold cyan", "suspect"),
    State.FILLING: Sign("▸", ">", "blue", "being filled"),
    State.UNKNOWN: Sign("·", ".", "", "not asked for yet"),
    State.RESTING: Sign("z", "z", "magenta", "market rests"),
    State.BEFORE: Sign(" ", " ", "", ""),
    State.UNSERVED: Sign(" ", " ", "", ""),
}  # fmt: skip
_LEGEND: Final = (State.COMPLETE, State.QUIET, *OWED, State.UNKNOWN)


def line(stretches: Sequence[Stretch], start_ms: int, end_ms: int, width: int) -> Text:
    """``width`` signs for ``[start_ms, end_ms)``; one in which something is owed shows that."""
    text = Text()
    for state in columns(stretches, start_ms, end_ms, width):
        if state is None:
            text.append(" ")
        else:
            text.append(_sign(state), SIGNS[state].style)
    return text


def columns(stretches: Iterable[Stretch], start_ms: int, end_ms: int, width: int) -> list[State | None]:
    """The state of each column: the worst that is owed in it, else what there is most of."""
    shares: list[dict[State, int]] = [{} for _ in range(width)]
    step = (end_ms - start_ms) / width
    for one in stretches:
        first, last = int((one.start_ms - start_ms) // step), int((one.end_ms - 1 - start_ms) // step)
        for column in range(max(first, 0), min(last, width - 1) + 1):
            begin, end = start_ms + column * step, start_ms + (column + 1) * step
            part = int(min(one.end_ms, end) - max(one.start_ms, begin))
            shares[column][one.state] = shares[column].get(one.state, 0) + part
    return [_shown(share) for share in shares]


def _shown(share: dict[State, int]) -> State | None:
    owed = next((state for state in OWED if state in share), None)
    return owed or max(share, key=lambda state: share[state], default=None)


def legend() -> Text:
    text = Text()
    for state in _LEGEND:
        text.append(_sign(state), SIGNS[state].style).append(f" {SIGNS[state].label}  ")
    return text


def owed(missing: Missing) -> Text:
    """``3 late, 1 lost``, in the colours of the map; a dash where nothing is owed."""
    causes = [(cause, count) for cause, count in missing.by_cause().items() if count]
    parts = [Text(f"{words.count(count)} {cause.value}", cause_style(cause)) for cause, count in causes]
    return Text(", ").join(parts) or Text("-")


def cause_style(cause: Cause) -> str:
    return SIGNS[State(cause.value)].style


def _sign(state: State) -> str:
    return SIGNS[state].drawn if "utf" in (sys.stdout.encoding or "").lower() else SIGNS[state].plain
