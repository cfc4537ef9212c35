"""What was measured, held against its target and against the last result that was kept.

Figures are ratios of one run, so that they mean the same on another machine; what is not (megabytes, bytes a row) does
not depend on its speed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Figure:
    """One value of each round; the target is ``at_least`` or ``at_most``, or there is none."""

    name: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def met(self) -> bool | None:
        if self.at_least is not None:
            return self.middle >= self.at_least
        return None if self.at_most is None else self.middle <= self.at_most

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {_number(self.at_least)}"
        return "" if self.at_most is None else f"<= {_number(self.at_most)}"

    def changed(self, kept: Sequence[float]) -> bool:
        """True where none of today's values lies among those that were kept, nor the other way round."""
        return min(self.values) > max(kept) or max(self.values) < min(kept)


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of an earlier run: values by name of the figure."""

    values: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, shape: Mapping[str, Any]) -> Self:
        return cls({name: tuple(values) for name, values in shape.items()})


def shape(figures: Sequence[Figure]) -> dict[str, list[float]]:
    return {one.name: [round(value, 4) for value in one.values] for one in figures}


def table(figures: Sequence[Figure], kept: Kept | None) -> str:
    row = "{:<58}{:>10}{:>19}{:>10}{:>8}  {}"
    lines = [row.format("", "median", "of", "target", "", "before" if kept else "")]
    for one in figures:
        before = kept.values.get(one.name) if kept else None
        said = "" if before is None else _number(median(before))
        if before is not None and one.changed(before):
            said += f", of {_span(before)}: CHANGED"
        met = {True: "met", False: "MISSED", None: ""}[one.met]
        lines.append(row.format(one.name, _number(one.middle), _span(one.values), one.target, met, said).rstrip())
    return "\n".join(lines)


def missed(figures: Sequence[Figure]) -> list[Figure]:
    return [one for one in figures if one.met is False]


def _span(values: Sequence[float]) -> str:
    return _number(values[0]) if len(values) == 1 else f"{_number(min(values))} to {_number(max(values))}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
