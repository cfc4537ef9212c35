"""Migrations against a real server: order, refusals, two processes at once, and marketd's own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from marketd.errors import PrivilegeError, SchemaError
from marketd.store import migrations
from marketd.store.migrations import Connection, Migration
from marketd.store.queries import QUERIES, Query

FIRST = "CREATE TABLE first (id integer PRIMARY KEY);"
SECOND = "ALTER TABLE first ADD COLUMN name text; INSERT INTO first VALUES (1, 'one');"


@pytest.fixture
async def connection(empty_database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


def written(folder: Path, *texts: str) -> tuple[Migration, ...]:
    """Migrations step_1, step_2 … with these texts."""
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}_step_{number}.sql").write_text(text)
    return migrations.load(folder)


async def test_a_fresh_database_gets_all_in_order(connection: Connection, tmp_path: Path) -> None:
    """fault_69."""
    known = written(tmp_path, FIRST, SECOND)
    with pytest.raises(SchemaError, match=r"no marketd schema yet: run `marketd migrate`"):
        await migrations.check(connection, known)
    assert await migrations.apply(connection, known, dry_run=True) == list(known)
    assert await migrations.pending(connection, known) == known
    assert await migrations.apply(connection, known) == list(known)
    assert await connection.fetchval("SELECT name FROM first") == "one"
    await migrations.check(connection, known)
    assert await migrations.apply(connection, known) == []


async def test_an_older_database_gets_the_rest(connection: Connection, tmp_path: Path) -> None:
    """fault_72."""
    await migrations.apply(connection, written(tmp_path, FIRST))
    known = written(tmp_path, FIRST, SECOND)
    with pytest.raises(SchemaError, match=r"at schema version 1, marketd .* needs 2: run `marketd migrate`"):
        await migrations.check(connection, known)
    assert await migrations.apply(connection, known) == [known[1]]


async def test_a_newer_database_is_refused(connection: Connection, tmp_path: Path) -> None:
    """fault_72, fault_26."""
    known = written(tmp_path, FIRST, SECOND)
    await migrations.apply(connection, known)
    with pytest.raises(SchemaError, match=r"schema version 2, newer than marketd .* knows 1: upgrade"):
        await migrations.apply(connection, known[:1])


async def test_a_changed_file_is_refused(connection: Connection, tmp_path: Path) -> None:
    """fault_26."""
    await migrations.apply(connection, written(tmp_path, FIRST))
    with pytest.raises(SchemaError, match=r"0001_step_1 is not the one applied on .*: restore the file"):
        await migrations.apply(connection, written(tmp_path, FIRST + "-- improved", SECOND))


async def test_a_failing_migration_leaves_no_trace_and_keeps_those_before(
    connection: Connection, tmp_path: Path
) -> None:
    """fault_72."""
    known = written(tmp_path, FIRST, "CREATE TABLE second (); SELECT * FROM third;")
    with pytest.raises(SchemaError, match=r"0002_step_2 failed and was undone: .*third"):
        await migrations.apply(connection, known)
    assert await connection.fetchval("SELECT to_regclass('second')") is None
    assert await migrations.pending(connection, known) == known[1:]


async def test_two_processes_apply_each_migration_once(empty_database: str, tmp_path: Path) -> None:
    """fault_72."""
    known = written(tmp_path, "SELECT pg_sleep(0.1); " + FIRST, SECOND)

    async def migrate() -> list[Migration]:
        connection = await asyncpg.connect(empty_database)
        try:
            return await migrations.apply(connection, known)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(migrate()) for _ in range(2)]
    assert sorted(str(done) for task in tasks for done in task.result()) == [str(migration) for migration in known]


async def test_a_role_without_rights_is_told_who_should_migrate(connection: Connection, tmp_path: Path) -> None:
    """fault_26."""
    await connection.execute("SET SESSION AUTHORIZATION pg_monitor")
    with pytest.raises(PrivilegeError, match=r"as the role that owns the schema"):
        await migrations.apply(connection, written(tmp_path, FIRST))


async def test_a_role_that_may_not_create_the_extension_is_told_the_cure(
    connection: Connection, tmp_path: Path
) -> None:
    await connection.execute("GRANT CREATE ON SCHEMA public TO pg_monitor; SET SESSION AUTHORIZATION pg_monitor")
    with pytest.raises(PrivilegeError, match=r"administrator run `CREATE EXTENSION btree_gist`"):
        await migrations.apply(connection, written(tmp_path, "CREATE EXTENSION btree_gist;"))


async def test_a_server_without_the_extension_is_told_the_cure(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"install PostgreSQL's contrib package"):
        await migrations.apply(connection, written(tmp_path, "CREATE EXTENSION btree_gist_of_another_world;"))


async def test_an_unreadable_version_table_is_a_missing_right(connection: Connection, tmp_path: Path) -> None:
    known = written(tmp_path, FIRST)
    await migrations.apply(connection, known)
    await connection.execute("SET SESSION AUTHORIZATION pg_monitor")
    with pytest.raises(PrivilegeError, match="marketd_schema"):
        await migrations.check(connection, known)


@pytest.mark.parametrize("name", ["first.sql", "0002_too_far.sql", "0001_Upper.sql"])
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FIRST)
    with pytest.raises(SchemaError, match=name):
        migrations.load(tmp_path)


async def test_marketds_own_migrations_are_applied_in_the_template(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await migrations.pending(connection) == ()
        await migrations.check(connection)
    finally:
        await connection.close()


async def test_every_query_prepares_with_the_types_it_declares(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(QUERIES["page_table"].sql)  # the session's own table, which some of them read
        wrong = {name: found for name, query in QUERIES.items() if (found := await mistake(connection, query))}
    finally:
        await connection.close()
    assert wrong == {}


async def mistake(connection: Connection, query: Query) -> str:
    """What the server says against the query, or where it takes other types than declared; empty when all is well."""
    try:
        taken = (await connection.prepare(query.sql)).get_parameters()
    except asyncpg.PostgresError as error:
        return str(error)
    kinds = [kind.split("(")[0] for _, kind in query.params]
    declared = [await connection.fetchval("SELECT to_regtype($1)::oid", kind) for kind in kinds]
    names = [kind.name for kind in taken]
    return "" if [kind.oid for kind in taken] == declared else f"takes {names}, declares {kinds}"
