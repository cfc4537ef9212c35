"""How much the statements of a page read, on a table that nobody has analysed yet: no more than what they are about."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from marketd.store.queries import sql

SERIES = ("bitfinex", "BTCUSD", "1m")
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 10
MINUTES = 1440
WANTED = 2 * 288
STEP = timedelta(minutes=5)
FILL = """
INSERT INTO candles
SELECT t, t + $2::interval, 'bitfinex', 'BTCUSD', $1::text, 1, 2, 1, 2, 1
FROM generate_series($3::timestamptz, $3::timestamptz + $4::int * interval '1 day' - $2::interval, $2::interval) AS t
"""


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("built", [False, True], ids=["absent", "there and different"])
async def test_building_reads_the_parents_and_children_of_what_is_wanted(
    database: str, analysed: bool, built: bool
) -> None:
    connection = await asyncpg.connect(database, server_settings={"jit": "off"})
    try:
        await connection.execute("ALTER TABLE candles SET (autovacuum_enabled = false)")
        await connection.execute(FILL, "1m", timedelta(minutes=1), START, DAYS)
        if built:
            await connection.execute(FILL, "5m", STEP, START, DAYS)
        if analysed:
            await connection.execute("ANALYZE candles")
        opens = [START + timedelta(days=3) + number * STEP for number in range(WANTED)]
        plan = await _explained(
            connection, sql("derive_candles"), *SERIES, "5m", opens, [one + STEP for one in opens], START
        )
    finally:
        await connection.close()
    assert _read(plan) <= 12 * WANTED, json.dumps(plan, indent=1)


async def _explained(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *values: Any) -> Any:
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", *values)
    return json.loads(text)[0]["Plan"]


def _read(plan: Mapping[str, Any]) -> float:
    """Rows of candles that were read, and those that a join has put side by side for nothing."""
    read: float = sum(
        node["Actual Loops"]
        * (
            (node["Actual Rows"] if node.get("Relation Name") == "candles" and "Scan" in node["Node Type"] else 0)
            + node.get("Rows Removed by Filter", 0) * (node.get("Relation Name") == "candles")
            + node.get("Rows Removed by Join Filter", 0)
        )
        for node in _nodes(plan)
    )
    return read


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
