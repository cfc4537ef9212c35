"""The promises, held against the tables.

Owns the asking of the statements in ``sql/verify``: what there is to look at, cut into pieces, and each piece within a
short read-only snapshot of its own, so that what it says fits together while the daemon works, and nothing is held for
longer than a blink. Refuses to know what the promises mean: their rows name the series and the problem.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from marketd.clock import at
from marketd.figures import Totals, Verification
from marketd.model import Series
from marketd.store.queries import QUERIES, Query, sql
from marketd.store.session import Connection, Database

STATE, SERIES, LEDGER, GAPS, RUNS, HOURS = "state", "series", "ledger", "gaps", "runs", "hours"
"""Kinds of pieces: the stems of the files in ``sql/verify`` whose statements they are held against."""

ROWS: Final = "rows"
"""The statements that are asked only where rows and ledger of a piece differ."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to look at; ``where`` are values for the parameters of the statements, by name."""

    kind: str
    where: Mapping[str, Any]

    @property
    def series(self) -> Series | None:
        """The series that it is a part of."""
        return Series(*self._names) if all(name is not None for name in self._names) else None

    @property
    def _names(self) -> tuple[Any, ...]:
        return tuple(self.where.get(name) for name in Series._fields)


@dataclass(frozen=True, slots=True)
class Found:
    """What one statement found in one piece."""

    query: Query
    rows: Sequence[Mapping[str, Any]]


class Oracle:
    """Every method raises DatabaseUnavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def series(self) -> Sequence[Series]:
        """Every series that has candles, a ledger, figures or open gaps."""
        async with self._database.session() as connection:
            return [Series(*row) for row in await connection.fetch(sql("verify_series"))]

    async def pieces(self) -> Sequence[Piece]:
        """All there is to look at: what is said of everything, series after series, then gaps and runs."""
        async with self._database.session() as connection:
            series = [tuple(row) for row in await connection.fetch(sql("verify_series"))]
            names = [list(column) for column in zip(*series, strict=True)] or [[], [], []]
            stretches = _pieces(LEDGER, await connection.fetch(sql("verify_ledger"), *names))
            gaps = _pieces(GAPS, await connection.fetch(sql("verify_gaps")))
            runs = _pieces(RUNS, await connection.fetch(sql("verify_runs")))
            hours = _pieces(HOURS, await connection.fetch(sql("verify_hours")))
        whole = [Piece(SERIES, dict(zip(Series._fields, each, strict=True))) for each in series]
        by_series = sorted([*whole, *stretches], key=lambda piece: piece._names)  # stable: the whole, then its parts
        return [Piece(STATE, {}), *by_series, *gaps, *runs, *hours]

    async def look(self, piece: Piece) -> Sequence[Found]:
        """What the statements about ``piece`` find; those that find nothing are left out."""
        async with self._database.session(snapshot=True) as connection:
            found = [await _ask(connection, query, piece.where) for query in promises(piece.kind)]
            if piece.kind == LEDGER and (differ := await _difference(connection, piece)):
                found += [await _ask(connection, query, differ) for query in promises(ROWS)]
        return [each for each in found if each.rows]

    async def totals(self) -> Totals:
        async with self._database.session() as connection:
            row = await connection.fetchrow(sql("report_totals"))
        assert row is not None  # noqa: S101  (an aggregate without GROUP BY always has one row)
        return Totals(**row)

    async def record(self, found: Verification) -> None:
        """Keep what a run over all series has found; PrivilegeError for a role that only reads."""
        async with self._database.session() as connection:
            await connection.execute(
                sql("record_verification"), at(found.began_ms), at(found.ended_ms), found.kind, found.pieces,
                found.pieces_known, json.dumps(found.violations),
            )  # fmt: skip


def promises(*kinds: str) -> Sequence[Query]:
    """The statements about pieces of these kinds, by name."""
    return [query for query in _PROMISES if query.group in kinds]


def is_violation(name: str) -> bool:
    """Whether a promise is broken by what this statement finds; the others are only worth knowing."""
    return name.startswith("i")


_NAMED: Final = re.compile(r"[iw]\d\d_\w+")
_PROMISES: Final = sorted(
    (query for query in QUERIES.values() if _NAMED.fullmatch(query.name)),
    key=lambda query: query.name,
)
PROMISES: Final = tuple(query.name for query in _PROMISES)
INVARIANTS: Final = tuple(name for name in PROMISES if is_violation(name))


def _pieces(kind: str, rows: Iterable[asyncpg.Record]) -> list[Piece]:
    return [Piece(kind, dict(row)) for row in rows]


async def _ask(connection: Connection, query: Query, where: Mapping[str, Any]) -> Found:
    rows = await connection.fetch(query.sql, *_values(query, where))
    return Found(query, tuple(map(dict, rows)))


async def _difference(connection: Connection, piece: Piece) -> Mapping[str, Any] | None:
    """Where rows and ledger differ, None where they agree."""
    query = QUERIES["verify_difference"]
    row = await connection.fetchrow(query.sql, *_values(query, piece.where))
    return None if row is None else {**piece.where, **row}


def _values(query: Query, where: Mapping[str, Any]) -> list[Any]:
    return [where[name] for name, _ in query.params]
