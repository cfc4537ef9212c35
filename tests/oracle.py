"""The promises, held against a database."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from marketd.store.queries import QUERIES


async def violations(dsn: str) -> Mapping[str, Sequence[Any]]:
    """What ``marketd verify`` would find, warnings left out: rows by the name of the promise."""
    connection = await asyncpg.connect(dsn)
    try:
        return await broken(connection)
    finally:
        await connection.close()


async def broken(connection: "asyncpg.Connection[asyncpg.Record]") -> Mapping[str, Sequence[Any]]:
    """The same, by a connection that is open."""
    found = {}
    for query in QUERIES.values():
        if query.group == "invariants" and (rows := await connection.fetch(query.sql)):
            found[query.name] = rows
    return found
