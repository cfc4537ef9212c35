"""``python packaging/tables.py``: writes ``docs/tables.md``, of what the tables say of themselves.

Takes a private database, made for this and taken away again.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from marketd.embedded import EmbeddedPostgres
from marketd.store import migrations

PAGE: Final = Path(__file__).parents[1] / "docs" / "tables.md"
_KEY: Final = ("exchange", "symbol", "timeframe")
_PARTS: Final = {
    "What readers look at": ("candles", "candle_coverage_times", "candle_gaps", "candle_revisions", "market_series"),
    "Jobs and runs": ("market_data_jobs", "market_data_job_runs", "exchange_pauses"),
    "The ledger": ("candle_coverage", "series_figures", "run_figures", "verify_runs"),
    "Between processes": ("exchange_leases", "exchange_budgets", "exchange_turns", "marketd_instance"),
    "Of the schema itself": ("marketd_schema", "marketd_pruned"),
}
_HEAD: Final = """\
# Tables

What each table and each column holds. This page is made of the comments in the database (`make tables`), which
`\\d+ candles` shows in psql.

*Who reads*: the role `marketd_read` may read everything ([roles](operations.md)). *Who writes*: marketd, as
`marketd_run`, in one transaction a page; jobs are yours to edit. Columns keep their meaning from release to release;
new ones may come, so name those that you read.

A *series* is `exchange`, `symbol` and `timeframe`: the exchange in lower case, the symbol in its own spelling. Its
intervals are numbered; columns of *intervals* hold such numbers. `marketd_open_time(timeframe, number)` says when one
opens, `marketd_number(timeframe, time)` is the way back.
"""
_TABLES: Final = """
SELECT c.oid, c.relname AS name, obj_description(c.oid, 'pg_class') AS said
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') ORDER BY c.relname
"""
_COLUMNS: Final = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS said
FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


async def written(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    """The page. ValueError where a table has no place in it or nothing to say."""
    tables = {row["name"]: row for row in await connection.fetch(_TABLES)}
    placed = [name for names in _PARTS.values() for name in names]
    if lost := tables.keys() ^ set(placed):
        raise ValueError(f"not in the page, or not in the database: {sorted(lost)}")
    lines = [_HEAD]
    for part, names in _PARTS.items():
        lines.append(f"## {part}\n")
        for name in names:
            columns = await connection.fetch(_COLUMNS, tables[name]["oid"])
            lines += [f"### `{name}`\n", _said(tables[name], name), "", *_rows(columns, name), ""]
    return "\n".join(lines).rstrip() + "\n"


def _rows(columns: Sequence["asyncpg.Record"], table: str) -> list[str]:
    """The key of a series in one line, where its columns say nothing of their own."""
    key = [column for column in columns if column["name"] in _KEY and column["said"] is None]
    rows = ["| column | type | meaning |", "|---|---|---|"]
    if key:
        rows.append(f"| {', '.join(_name(column) for column in key)} | `text` | The series. |")
    for column in columns:
        if column not in key:
            rows.append(f"| {_name(column)} | `{_short(column['type'])}` | {_said(column, table)} |")
    return rows


def _name(column: "asyncpg.Record") -> str:
    return f"`{column['name']}`"


def _said(thing: "asyncpg.Record", where: str) -> str:
    if thing["said"] is None:
        raise ValueError(f"{where}: {thing['name']} has no comment")
    return str(thing["said"]).replace("|", "\\|")


def _short(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz")


async def _made() -> str:
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedPostgres(Path(folder) / "pg") as server:
            connection = await asyncpg.connect(server.dsn)
            try:
                await migrations.apply(connection)
                return await written(connection)
            finally:
                await connection.close()


if __name__ == "__main__":
    PAGE.write_text(asyncio.run(_made()))
    print(PAGE, file=sys.stderr)
