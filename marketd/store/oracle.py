"""The promises, held against the tables.

Owns the asking of every statement in ``sql/verify`` within one read-only snapshot, so that what they say fits
together while the daemon works. Refuses to know what they mean: their rows name the series and the problem.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marketd.figures import Totals
from marketd.store.queries import QUERIES, Query, sql
from marketd.store.session import Connection, Database

PATIENCE_S = 6 * 3600.0
"""How long one statement may take: the candles of years are read once or twice."""

INVARIANTS = "invariants"
WARNINGS = "warnings"
_PREFETCH = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What one statement found: the first ``rows`` and how many there are in all."""

    query: Query
    rows: tuple[Mapping[str, Any], ...]
    total: int

    @property
    def violation(self) -> bool:
        """Whether a promise is broken; the others are only worth knowing."""
        return self.query.group == INVARIANTS


@dataclass(frozen=True, slots=True)
class Which:
    """Whose rows are looked for; rows that name no series concern everybody."""

    exchange: str | None = None
    symbol: str | None = None
    timeframe: str | None = None

    def concerns(self, row: Mapping[str, Any]) -> bool:
        wanted = (("exchange", self.exchange), ("symbol", self.symbol), ("timeframe", self.timeframe))
        return all(value is None or row[key] is None or row[key] == value for key, value in wanted)


class Oracle:
    """One snapshot; made by ``snapshot``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @staticmethod
    def statements() -> Sequence[Query]:
        """Invariants first, then warnings, each by name."""
        asked = [query for query in QUERIES.values() if query.group in (INVARIANTS, WARNINGS)]
        return sorted(asked, key=lambda query: (query.group, query.name))

    async def ask(self, query: Query, which: Which, limit: int) -> Finding:
        rows: list[Mapping[str, Any]] = []
        total = 0
        async for row in self._connection.cursor(query.sql, prefetch=_PREFETCH):
            found = dict(row)
            if which.concerns(found):
                total += 1
                if total <= limit:
                    rows.append(found)
        return Finding(query, tuple(rows), total)

    async def totals(self) -> Totals:
        row = await self._connection.fetchrow(sql("report_totals"))
        assert row is not None  # noqa: S101  (an aggregate without GROUP BY always has one row)
        return Totals(**row)


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Oracle]:
    """Everything as it is now, for as long as the block takes; nothing can be written in it."""
    async with (
        database.session() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield Oracle(connection)
