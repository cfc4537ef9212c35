"""Tables for the eye.

Owns their looks. Only columns of free text fold to fit a terminal; a figure is never cut or broken, and in a pipe
nothing is. ``NO_COLOR`` is heeded.
"""

import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDE = 1000
_STYLES = {
    "success": "green", "100 %": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow",
    "running": "blue", "?": "yellow",
}  # fmt: skip
_NOTHING = ("", "-")
_FREE_TEXT = ("note", "said", "problem")


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print ``rows`` under ``columns``; those in ``right`` hold numbers, those in ``optional`` go when empty.

    Those in ``spare`` go, the last of them first, until the others fit into the terminal.
    """
    places = {
        column: place
        for place, column in enumerate(columns)
        if column not in optional or any(str(row[place]) not in _NOTHING for row in rows)
    }
    spared = [column for column in spare if column in places]
    screen, table = console(), _table(places, rows, right)
    while spared and _needed(screen, table) > screen.width:
        del places[spared.pop()]
        table = _table(places, rows, right)
    needed = _needed(screen, table)
    if needed > screen.width:
        screen = Console(highlight=False, width=needed)  # the terminal breaks the line, not the cells
    screen.print(table)


def _table(places: Mapping[str, int], rows: Sequence[Sequence[str | Text]], right: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0))
    for column, place in places.items():
        justify: JustifyMethod = "right" if column in right else "left"
        if column in _FREE_TEXT:
            table.add_column(column, justify=justify, overflow="fold")
        else:  # the narrowest that no_wrap promises is that of one word
            widest = max((_cell(row[place]).cell_len for row in rows), default=0)
            table.add_column(column, justify=justify, no_wrap=True, min_width=max(widest, len(column)))
    for row in rows:
        table.add_row(*(_cell(row[place]) for place in places.values()))
    return table


def _needed(screen: Console, table: Table) -> int:
    """How many columns of a terminal it takes."""
    return Measurement.get(screen, screen.options.update(max_width=_WIDE), table).minimum


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value, style=_STYLES.get(value, ""))


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
