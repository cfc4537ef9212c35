"""Tables for the eye.

Owns their looks. Only columns of free text fold to fit a terminal; a figure is never cut or broken, and in a pipe
nothing is. ``NO_COLOR`` is heeded.
"""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDE = 1000
_STYLES = {"success": "green", "100 %": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow"}
_NOTHING = ("", "-")
_FREE_TEXT = ("note", "said", "problem")


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print ``rows`` under ``columns``; those in ``right`` hold numbers, those in ``optional`` go when empty."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0))
    shown = [
        place
        for place, column in enumerate(columns)
        if column not in optional or any(str(row[place]) not in _NOTHING for row in rows)
    ]
    for place in shown:
        column = columns[place]
        free = column in _FREE_TEXT
        table.add_column(column, justify="right" if column in right else "left", no_wrap=not free, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[place]) for place in shown))
    screen = console()
    needed = Measurement.get(screen, screen.options.update(max_width=_WIDE), table).minimum
    if needed > screen.width:
        screen = Console(highlight=False, width=needed)  # the terminal breaks the line, not the cells
    screen.print(table)


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value, style=_STYLES.get(value, ""))


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
