"""The page of tables in the manual: what the database says of itself, nothing else."""

import runpy

import asyncpg

from tests.processes import ROOT


async def test_the_manual_says_of_every_column_what_the_database_says(database: str) -> None:
    page = runpy.run_path(str(ROOT / "packaging" / "tables.py"))
    connection = await asyncpg.connect(database)
    try:
        said = await page["written"](connection)
    finally:
        await connection.close()
    assert page["PAGE"].read_text() == said, "`make tables` writes it anew"
