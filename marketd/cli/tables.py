"""Tables for the eye.

Owns their looks. A table fits a terminal; in a pipe it is as wide as it must be, and nothing is cut. ``NO_COLOR`` is
heeded.
"""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 1000
_STYLES = {"success": "green", "complete": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow"}


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print ``rows`` under ``columns``; those named in ``right`` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console().print(table)


def console() -> Console:
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _WIDE)
