"""How jobs and pauses read."""

from typing import Final

from marketd import words

SOON: Final = "a running daemon takes this up within a minute"


def paused(until_ms: int | None) -> str:
    """``paused until 2024-01-01 00:00``; None: without an end."""
    return "paused" if until_ms is None else f"paused until {words.moment(until_ms)}"
