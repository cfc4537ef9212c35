"""A row of the coverage map, as SVG.

Owns how states look: each has a colour (in the style sheet) and a height of its own, so that none is told by its colour
alone. Pure; coordinates are shares of the row's width, lines are in pixels. Everything that is written here is numbers
and words of ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from marketd import words
from marketd.coverage import OWED, State, Stretch

HEIGHT: Final = 20
_NEAR: Final = 0.002
"""Gaps of one cause that are as near as this share of the row are drawn as one."""

_BANDS: Final = {
    State.COMPLETE: (5, 10), State.QUIET: (7, 6), State.UNKNOWN: (9, 2), State.FILLING: (3, 14), State.BEFORE: (10, 1),
    State.RESTING: (9, 2), State.FAILED: (1, 18), State.LATE: (10, 9), State.LOST: (1, 18), State.NOT_ASKED: (1, 9),
    State.SUSPECT: (1, 3), State.UNSERVED: (9, 1),
}  # fmt: skip
"""Where a state begins and how high it is, of ``HEIGHT`` pixels."""

LABELS: Final = {
    State.COMPLETE: "complete", State.QUIET: "nothing traded", State.FAILED: "failed: the answer could not be used",
    State.LATE: "late: the exchange has not sent it yet", State.LOST: "lost: the exchange no longer has it",
    State.NOT_ASKED: "not asked: missed while marketd was away", State.SUSPECT: "suspect: a silence in doubt",
    State.FILLING: "being filled now", State.UNKNOWN: "not asked for yet", State.RESTING: "market rests",
    State.BEFORE: "before the first candle", State.UNSERVED: "older than the exchange serves",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """Gaps that are drawn as one: ``count`` of them; the id is that of the first."""

    stretch: Stretch
    count: int
    owed_ms: int


def row(stretches: Sequence[Stretch], start_ms: int, end_ms: int, outages: Iterable[tuple[int, int]] = ()) -> str:
    """The drawing of one series over ``[start_ms, end_ms)``, with the times at which its whole exchange was away."""
    width = max(1, end_ms - start_ms)
    parts = [_bar("outage", start, end, start_ms, width, 0, HEIGHT) for start, end in outages]
    for one in stretches:
        if one.state not in OWED:
            parts.append(_bar(one.state.value, one.start_ms, one.end_ms, start_ms, width, *_BANDS[one.state]))
    gaps = drawn_gaps(stretches, int(width * _NEAR))
    parts += [_linked(gap, start_ms, width) for gap in gaps]
    role = "group" if gaps else "img"  # a picture may not hold links
    head = f'<svg class="map" height="{HEIGHT}" role="{role}" aria-label="{_summary(stretches)}">'
    return f"{head}{''.join(parts)}</svg>"


def key(state: State) -> str:
    """A small drawing of one state, for the legend."""
    top, height = _BANDS[state]
    return (
        f'<svg class="map key" width="28" height="{HEIGHT}" aria-hidden="true">'
        f'<rect class="{state.value}" x="4" y="{top}" width="20" height="{height}"/></svg>'
    )


def drawn_gaps(stretches: Iterable[Stretch], near_ms: int) -> list[Gap]:
    found: list[Gap] = []
    latest: dict[State, int] = {}
    for one in stretches:
        if one.state not in OWED:
            continue
        at, length = latest.get(one.state), one.end_ms - one.start_ms
        if at is not None and one.start_ms - found[at].stretch.end_ms <= near_ms:
            before = found[at]
            count = before.count + (one.gap != before.stretch.gap)
            stretch = replace(before.stretch, end_ms=max(one.end_ms, before.stretch.end_ms))
            found[at] = Gap(stretch, count, before.owed_ms + length)
        else:
            latest[one.state] = len(found)
            found.append(Gap(one, 1, length))
    return found


def _linked(gap: Gap, start_ms: int, width: int) -> str:
    one = gap.stretch
    many = f"{gap.count} gaps, " if gap.count > 1 else ""
    said = (
        f"{many}{LABELS[one.state]}; {words.duration(gap.owed_ms / 1000)} from {words.moment(one.start_ms)} "
        f"to {words.moment(one.end_ms)}"
    )
    bar = _bar(one.state.value, one.start_ms, one.end_ms, start_ms, width, *_BANDS[one.state])
    return f'<a href="/gap?id={one.gap}"><title>{said}</title>{bar}</a>'


def _bar(name: str, start_ms: int, end_ms: int, zero_ms: int, width: int, top: int, height: int) -> str:
    left = max(0.0, (start_ms - zero_ms) / width * 100)
    right = min(100.0, (end_ms - zero_ms) / width * 100)
    if right <= left:
        return ""
    return f'<rect class="{name}" x="{left:.3f}%" width="{right - left:.3f}%" y="{top}" height="{height}"/>'


def _summary(stretches: Sequence[Stretch]) -> str:
    """What somebody hears who does not see the drawing."""
    owed = dict.fromkeys(OWED, 0)
    for one in stretches:
        if one.state in owed:
            owed[one.state] += one.end_ms - one.start_ms
    said = [f"{state.value.replace('_', ' ')} {words.duration(ms / 1000)}" for state, ms in owed.items() if ms]
    return "holes: " + ", ".join(said) if said else "no holes"
