"""Cold months as Parquet: what is written is what the table says, and only what marketd calls complete is written."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from tests.processes import ROOT

SCRIPT = ROOT / "packaging" / "parquet" / "cold-month.sh"
PROGRAMS = Path(sys.executable).parent
MONTH = datetime(2023, 2, 1, tzinfo=UTC)
FIRST_BLOCK, DAYS = (MONTH - datetime(1970, 1, 1, tzinfo=UTC)).days, 28
CANDLES = """
INSERT INTO candles (open_time, close_time, exchange, symbol, timeframe, open, high, low, close, volume)
SELECT t, t + interval '1 minute', 'bitfinex', 'DOGE:USD', '1m',
       0.061234567891 + n % 97, 1000.1, 0.00000001, 100 + n % 7, 123456789.987654321
FROM generate_series($1::timestamptz - interval '1 day', $1 + interval '29 days' - interval '1 minute',
                     interval '1 minute') WITH ORDINALITY AS g (t, n)
WHERE n % 5 <> 0
"""
LEDGER = """
INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, empty_once, stored, answered_at)
SELECT 'bitfinex', 'DOGE:USD', '1m', block, whole, whole - present, count, now()
FROM (
    SELECT n / 1440 AS block, range_agg(int4range(n, n + 1)) AS present, count(*) AS count
    FROM (SELECT marketd_number(timeframe, open_time) AS n FROM candles) AS c GROUP BY n / 1440
) AS there
CROSS JOIN LATERAL (SELECT int4multirange(int4range(block * 1440, (block + 1) * 1440)) AS whole) AS w
"""
OF_MONTH = """
SELECT open_time, open, volume, symbol FROM candles
WHERE open_time >= $1 AND open_time < $1 + interval '28 days' ORDER BY open_time
"""
HARM = {
    "never asked": f"DELETE FROM candle_coverage WHERE block = {FIRST_BLOCK + DAYS - 1}",
    "owed": f"""
        UPDATE candle_coverage SET stored = stored - 1, answered = answered - int4multirange(int4range(n, n + 1))
        FROM (SELECT {(FIRST_BLOCK + 3) * 1440 + 1} AS n) AS g WHERE block = n / 1440
    """,
    "too fine": f"UPDATE candles SET volume = 0.1234567890123 WHERE open_time = '{MONTH:%F 00:03}Z'",
}


async def output(*words: "str | Path", **environ: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=STDOUT, env=environ)
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def exported(dsn: str, folder: Path, bin_dir: Path, month: str = "2023-02") -> tuple[int | None, str]:
    return await output(
        SCRIPT, "bitfinex", "DOGE:USD", "1m", month, folder,
        PATH=f"{bin_dir}:{PROGRAMS}:{os.environ['PATH']}", HOME=str(folder), DATABASE_URL=dsn, TZ="America/New_York",
    )  # fmt: skip


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if not path.is_dir() or path.name.startswith(".2023")]


async def filled(dsn: str, *more: str) -> "list[asyncpg.Record]":
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(CANDLES, MONTH)
        await connection.execute(LEDGER)
        for statement in more:
            await connection.execute(statement)
        return list(await connection.fetch(OF_MONTH, MONTH))
    finally:
        await connection.close()


async def test_a_complete_month_is_read_back_to_the_last_digit(database: str, tmp_path: Path, pg_bin_dir: Path) -> None:
    there = await filled(database)
    code, said = await exported(database, tmp_path, pg_bin_dir)
    assert code == 0, said
    path = tmp_path / "exchange=bitfinex" / "symbol=DOGE:USD" / "timeframe=1m" / "2023-02.parquet"
    assert said == f"{path}: {len(there)} candles\n"
    code, rows = await output(
        PROGRAMS / "duckdb", "-batch", "-bail", "-noheader", "-list", "-c",
        "SET TimeZone = 'UTC'; SELECT open_time, open, volume, symbol "
        f"FROM read_parquet('{tmp_path}/*/*/*/*.parquet', hive_partitioning = true) ORDER BY open_time",
        HOME=str(tmp_path),
    )  # fmt: skip
    assert code == 0, rows
    read = [line.split("|") for line in rows.splitlines()]
    assert [
        (datetime.fromisoformat(at), Decimal(price), Decimal(size), symbol) for at, price, size, symbol in read
    ] == [tuple(row) for row in there]


@pytest.mark.parametrize("harm", HARM)
async def test_what_is_not_complete_or_not_the_same_is_not_written(
    harm: str, database: str, tmp_path: Path, pg_bin_dir: Path
) -> None:
    await filled(database, HARM[harm])
    code, said = await exported(database, tmp_path, pg_bin_dir)
    assert code == 1
    assert "nothing was written" in said
    assert left(tmp_path) == []


async def test_a_month_is_a_month(database: str, tmp_path: Path, pg_bin_dir: Path) -> None:
    code, said = await exported(database, tmp_path, pg_bin_dir, "2023-2")
    assert code == 2
    assert "2023-2 is not a month" in said
