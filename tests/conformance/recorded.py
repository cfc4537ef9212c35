"""Replies of the exchanges as they came, one file each: what adapters, specifications and ccxt are all given to read.

Owns the way to ``replies/``, where a page tells the source of each. Needs nothing but Python, so that a program in
another environment reads the same.
"""

from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent / "replies"


def reply(exchange: str, name: str = "recorded") -> bytes:
    """The body called ``name``, to the byte."""
    return (_FOLDER / exchange / f"{name}.json").read_bytes()


def replies(exchange: str) -> Mapping[str, bytes]:
    """All bodies that there are of ``exchange``, by name."""
    return {path.stem: path.read_bytes() for path in sorted((_FOLDER / exchange).glob("*.json"))}
