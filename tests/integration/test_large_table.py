"""Five million candles: every statement that marketd has is planned there, and none reads them from end to end.

Planned without values, as a statement that was prepared long ago is; and analysed, as a table of that age is.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from bench import stock
from marketd.store.queries import QUERIES, Query, sql
from tests.conftest import BackgroundLoop, migrated_database

pytestmark = pytest.mark.once

DAYS = 362


@pytest.fixture(scope="module")
def large(server: str, background: BackgroundLoop) -> Iterator[str]:
    async def filled() -> AsyncGenerator[str, None]:
        async with migrated_database(server) as dsn:
            assert await stock.fill(dsn, DAYS, lambda _: None) > 4_900_000
            yield dsn

    making = filled()
    yield background.run(anext(making))
    background.run(making.aclose())


@pytest.mark.timeout(300)
async def test_no_statement_reads_the_candles_from_end_to_end(large: str) -> None:
    connection = await asyncpg.connect(large, server_settings={"jit": "off", "plan_cache_mode": "force_generic_plan"})
    try:
        await connection.execute(sql("page_table"))
        plans = {name: await _planned(connection, query) for name, query in QUERIES.items()}
        assert _reads_all(await _planned(connection, Query("count", (), "SELECT count(*) FROM candles", "", "")))
    finally:
        await connection.close()
    assert [name for name, plan in plans.items() if plan is not None and _reads_all(plan)] == []
    assert len([plan for plan in plans.values() if plan is not None]) > 100


async def _planned(connection: "asyncpg.Connection[asyncpg.Record]", query: Query) -> Any:
    """None where it is no statement that is planned, such as LOCK."""
    if not query.sql.lstrip("( \n").upper().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
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
