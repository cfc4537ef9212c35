"""How much room the database's disk has left.

Owns the look at its file system and the word that ends a backfill while there is too little: a server whose log of
changes finds no room stops for everybody, so what can wait has to. Refuses to judge a disk that this host does not see.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from marketd.errors import DiskFull

MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Room:
    """``disk`` is any path on the file system; None: nobody knows."""

    disk: Path | None = None
    least_mb: int = 0

    @property
    def least(self) -> int:
        """What has to be left, in bytes."""
        return self.least_mb * MEGABYTE

    def free(self) -> int | None:
        """What is left, in bytes; None where that cannot be known."""
        if self.disk is None:
            return None
        try:
            return shutil.disk_usage(self.disk).free
        except OSError:
            return None

    def lack(self) -> DiskFull | None:
        """Why nothing that can wait may be written now; None where there is room, or nobody knows."""
        free = self.free()
        if free is None or free >= self.least:
            return None
        return DiskFull(
            f"{free // MEGABYTE} MB are left in {self.disk}, and [database] least_free_mb is {self.least_mb}: "
            "backfills wait for room, fresh candles and repairs go on"
        )
