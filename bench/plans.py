"""How every statement of marketd is planned on a database of years: which of them would read candles from end to end.

Planned without values, as a statement that was prepared long ago is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from marketd.store.queries import QUERIES, Query, sql

_PLANNED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
COUNT = Query("count", (), "SELECT count(*) FROM candles", "", "")
"""One that does read all."""


@dataclass(frozen=True, slots=True)
class Plans:
    """So many statements were ``planned``; the names of those that read all candles."""

    planned: int
    reading_all: tuple[str, ...]


async def plans_of(dsn: str, *more: Query) -> Plans:
    """All statements, and ``more``."""
    connection = await asyncpg.connect(dsn, server_settings={"jit": "off", "plan_cache_mode": "force_generic_plan"})
    try:
        await connection.execute(sql("page_table"))
        found = {query.name: await _planned(connection, query) for query in (*QUERIES.values(), *more)}
    finally:
        await connection.close()
    plans = {name: plan for name, plan in found.items() if plan is not None}
    return Plans(len(plans), tuple(name for name, plan in plans.items() if _reads_all(plan)))


async def _planned(connection: "asyncpg.Connection[asyncpg.Record]", query: Query) -> Any:
    """None where it is no statement that is planned, such as LOCK."""
    if not query.sql.lstrip("( \n").upper().startswith(_PLANNED):
        return None
    types, values = ", ".join(kind for _, kind in query.params), ", ".join("NULL" for _ in query.params)
    await connection.execute(f"PREPARE one {f'({types})' if types else ''} AS {query.sql}")
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE one {f'({values})' if values else ''}")
    await connection.execute("DEALLOCATE one")
    return json.loads(plan)[0]["Plan"]


def _reads_all(node: Mapping[str, Any]) -> bool:
    """By the table, or by an index without a condition that nobody stops."""
    whole_index = node["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in node
    if node.get("Relation Name") == "candles" and (node["Node Type"] == "Seq Scan" or whole_index):
        return True
    stopped = node["Node Type"] == "Limit"
    return any(_reads_all(child) for child in node.get("Plans", ()) if not (stopped and "Index" in child["Node Type"]))
