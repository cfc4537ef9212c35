"""Taking history away that has become old.

Owns what of it stays whatever its age, and the portions in which the rest goes. Needs the role ``marketd_retain`` or
the owner's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from marketd.store.queries import sql
from marketd.store.session import Database

_PORTION = 5_000  # rows a transaction
KINDS: Final = ("runs", "gaps", "revisions")


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What ended before goes."""

    runs: datetime
    gaps: datetime
    revisions: datetime


class Pruning:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def prunable(self, before: Cutoffs) -> Mapping[str, int]:
        """How many rows of each kind would go."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(sql("prunable"), before.runs, before.gaps, before.revisions)
        assert row is not None  # noqa: S101  (an aggregate without GROUP BY always has one row)
        return dict(row)

    async def prune(self, before: Cutoffs) -> Mapping[str, int]:
        """Take it away; how many rows of each kind went. Orders go with their last run."""
        gone = {}
        for kind in KINDS:
            moment = getattr(before, kind)
            async with self._database.session() as connection:
                await connection.execute(sql("note_pruned"), kind, moment)
            gone[kind] = await self._portions(f"prune_{kind}", moment)
        await self._portions("prune_orders", before.runs)
        return gone

    async def _portions(self, statement: str, before: datetime) -> int:
        gone = 0
        while True:
            async with self._database.session() as connection, connection.transaction():
                await connection.execute(sql("keep_figures"))
                tag = await connection.execute(sql(statement), before, _PORTION)
            removed = int(tag.rpartition(" ")[2])
            gone += removed
            if removed < _PORTION:
                return gone
