"""The promises, held against a database."""

from collections.abc import Mapping, Sequence
from typing import Any

from marketd.store.oracle import Oracle
from marketd.store.session import Database
from marketd.verification import Verdict, hold

_ALL = 10**6  # what has been found before is only told from what is new where nothing is left out


async def verdict(database: Database) -> Verdict:
    """What ``marketd verify`` would find."""
    return await hold(Oracle(database), 0, most=_ALL)


async def violations(dsn: str) -> Mapping[str, Sequence[Any]]:
    """The same, warnings left out: rows by the name of the promise."""
    async with Database(dsn, size=1) as database:
        return {finding.query.name: finding.rows for finding in (await verdict(database)).violations}
