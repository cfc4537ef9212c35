"""How much the statements of pages and audits read, on a table that nobody has analysed yet: what they are about.

A planner that knows nothing of a table takes a series for a handful of rows, and reads all of it to find one.
Statements are prepared, so that it plans without their values, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest

from marketd.model import Series
from marketd.store.codec import names
from marketd.store.queries import sql

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
SERIES, OTHER = Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "ETHUSD", "1m")
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 10
MINUTES = 1440
WANTED = 2 * 288


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def _days(first: int) -> list[datetime]:
    """Where two of them begin."""
    return [START + timedelta(days=first), START + timedelta(days=first + 1)]


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MIDDLE, END = START + timedelta(days=4), START + timedelta(days=DAYS)
FIRST_BLOCK = (START - datetime(1970, 1, 1, tzinfo=UTC)).days
STEP = timedelta(minutes=5)
LINES = ([1, 1, 2], [f"{_ms(opens)},1,3,1,2,1" for opens in (END - MINUTE, END, END)])
FILL = """
INSERT INTO candles
SELECT t, t + $2::interval, 'bitfinex', 'BTCUSD', $1::text, 1, 2, 1, 2, 1
FROM generate_series($3::timestamptz, $3::timestamptz + $4::int * interval '1 day' - $2::interval, $2::interval) AS t
"""


LEDGER = """
INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, stored, answered_at)
SELECT 'bitfinex', 'BTCUSD', '1m', b, int4multirange(int4range(b * 1440, (b + 1) * 1440)), 1440, now()
FROM generate_series($1::integer, $1::integer + $2::integer - 1) AS b
"""
LAYOUTS = {
    "one table": "ALTER TABLE candles SET (autovacuum_enabled = false)",
    "years": "SELECT marketd_begin_partitioning(); SELECT marketd_finish_partitioning()",
}
PAGE = """
INSERT INTO marketd_page
SELECT $1::bigint + n * 60000, 1, 2, 1, 2, 1 FROM generate_series(0, $2::integer) AS n
"""


@pytest.mark.parametrize("tables", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("planning", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("built", [False, True], ids=["absent", "there and different"])
async def test_building_reads_the_parents_and_children_of_what_is_wanted(
    database: str, analysed: bool, built: bool, planning: str, tables: str
) -> None:
    connection = await asyncpg.connect(database, server_settings={"jit": "off"})
    try:
        await connection.execute(tables)
        await connection.execute(FILL, "1m", timedelta(minutes=1), START, DAYS)
        if built:
            await connection.execute(FILL, "5m", STEP, START, DAYS)
        if analysed:
            await connection.execute("ANALYZE candles")
        opens = [START + timedelta(days=3) + number * STEP for number in range(WANTED)]
        plan = await _explained(
            connection, planning, sql("derive_candles"), *SERIES, "5m", opens, [one + STEP for one in opens], START
        )
    finally:
        await connection.close()
    assert _read(plan) <= 12 * WANTED, json.dumps(plan, indent=1)


@pytest.mark.parametrize("tables", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("planning", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(
    ("name", "values", "most"),
    [
        ("insert_page", (timedelta(minutes=1), [_ms(END - MINUTE)], 60_000), 4),
        ("merge_page", (timedelta(minutes=1), START, START, END - MINUTE, END + HOUR, False), 8),
        ("page_is_there", (END - MINUTE, END + HOUR), 4),
        ("note_vanished", ([MIDDLE, MIDDLE + MINUTE], START, START), 4),
        ("audit", ([FIRST_BLOCK + 3, FIRST_BLOCK + 4], _days(3), _days(4), START), 2 * MINUTES + 4),
    ],
)
async def test_a_statement_reads_what_it_is_about(
    database: str, name: str, values: Sequence[object], most: int, analysed: bool, planning: str, tables: str
) -> None:
    plan = await _plan(database, name, (*SERIES, *values), analysed, planning, tables)
    assert _read(plan) <= most, json.dumps(plan, indent=1)


@pytest.mark.parametrize("tables", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("planning", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(
    ("name", "values", "most"),
    [
        ("present_opens", ([MIDDLE] * 2, [MIDDLE + HOUR] * 2), 61),
        ("edges", ([MIDDLE] * 2, [MIDDLE + HOUR] * 2), 4),
        ("merge_batch", ([MINUTE] * 2, [START] * 2, [START] * 2, [False] * 2, *LINES, [1, 2, 3, 4, 5, 6]), 8),
    ],
)
async def test_a_statement_about_several_series_reads_what_it_is_about(
    database: str, name: str, values: Sequence[object], most: int, analysed: bool, planning: str, tables: str
) -> None:
    plan = await _plan(database, name, (*names([SERIES, OTHER]), *values), analysed, planning, tables)
    assert _read(plan) <= most, json.dumps(plan, indent=1)


async def _plan(database: str, name: str, values: Sequence[object], analysed: bool, planning: str, tables: str) -> Any:
    """How a statement was carried out beside the candles of ten days."""
    connection = await asyncpg.connect(database, server_settings={"jit": "off"})
    try:
        await connection.execute(tables)
        await connection.execute(FILL, "1m", MINUTE, START, DAYS)
        await connection.execute(LEDGER, FIRST_BLOCK, DAYS)
        await connection.execute(sql("page_table"))
        await connection.execute("SET SESSION synchronous_commit = off")
        if analysed:
            await connection.execute("ANALYZE candles, candle_coverage")
        async with connection.transaction():
            await connection.execute(PAGE, _ms(END - MINUTE), 60)
            return await _explained(connection, planning, sql(name), *values)
    finally:
        await connection.close()


async def _explained(connection: Connection, planning: str, statement: str, *values: Any) -> Any:
    """The plan of a prepared statement that was run with ``values``."""
    said: list[str] = []
    connection.add_log_listener(lambda _, message: said.append(str(message)))
    await connection.execute(
        f"LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; "
        f"SET auto_explain.log_format = json; SET auto_explain.log_timing = off; SET client_min_messages = log; "
        f"SET plan_cache_mode = {planning}"
    )
    prepared = await connection.prepare(statement)
    said.clear()
    await prepared.fetch(*values)
    await connection.execute("RESET client_min_messages")  # the plan is told when its portal is closed
    plans = [json.loads(text[text.index("{") :]) for text in said if "plan:" in text]
    (plan,) = (one["Plan"] for one in plans if one["Query Text"] == statement)
    return plan


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
