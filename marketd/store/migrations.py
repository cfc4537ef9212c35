"""Numbered migrations, forward only: the single source of the schema.

Owns which of ``sql/migrations/NNNN_name.sql`` a database holds, and applies the rest, each in its own transaction under
one lock. Refuses a database that is newer than the program, a file that was changed after it was applied, and
PostgreSQL older than 15. Never goes back.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

import marketd
from marketd.errors import Busy, DatabaseUnavailable, MarketdError, PrivilegeError, SchemaError
from marketd.store.queries import sql, sql_dir

OLDEST_SERVER = 150_000
LOCK = 0x6D61726B657464  # "marketd"
LONGEST_S = 3600.0  # for one migration
NEEDS_EXTENSION = (
    "marketd needs the extension btree_gist: install PostgreSQL's contrib package on the server, or let an "
    "administrator run `CREATE EXTENSION btree_gist` in this database once, then `marketd migrate` again"
)

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``version`` is its number, ``sha256`` the digest of its bytes."""

    version: int
    name: str
    sql: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def load(directory: Path | None = None) -> tuple[Migration, ...]:
    """All migrations in ``directory`` (default: marketd's own), in order; SchemaError for a file that does not fit."""
    found: list[Migration] = []
    for file in sorted((sql_dir() / "migrations" if directory is None else directory).glob("*.sql")):
        named = _FILE.fullmatch(file.name)
        if named is None:
            raise SchemaError(f"{file}: a migration is named like 0001_what_it_does.sql")
        if int(named[1]) != len(found) + 1:
            raise SchemaError(f"{file}: number {len(found) + 1:04} was expected next")
        content = file.read_bytes()
        found.append(Migration(int(named[1]), named[2], content.decode(), hashlib.sha256(content).hexdigest()))
    return tuple(found)


async def pending(conn: Connection, migrations: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """Those that the database lacks; all of them for a fresh one.

    SchemaError where this program cannot use the database at all, PrivilegeError where it may not look.
    """
    known = load() if migrations is None else tuple(migrations)
    try:
        facts = await conn.fetchrow(sql("schema_facts"))
        applied = await conn.fetch(sql("schema_applied")) if facts is not None and facts["present"] else []
    except asyncpg.InsufficientPrivilegeError as error:
        raise PrivilegeError(f"this role may not read the table marketd_schema: {error}") from error
    if facts is not None and facts["server_version"] < OLDEST_SERVER:
        raise SchemaError(f"the server is PostgreSQL {facts['server_version_text']}; marketd needs 15 or newer")
    _compare(applied, known)
    return known[len(applied) :]


def _compare(applied: Sequence[asyncpg.Record], known: Sequence[Migration]) -> None:
    if len(applied) > len(known):
        raise SchemaError(
            f"the database is at schema version {applied[-1]['version']}, newer than marketd {marketd.__version__}, "
            f"which knows {len(known)}: upgrade marketd on this host"
        )
    for row, migration in zip(applied, known, strict=False):
        if (row["version"], row["sha256"]) != (migration.version, migration.sha256):
            raise SchemaError(
                f"migration {migration} is not the one applied on {row['applied_at']:%Y-%m-%d} as "
                f"{row['version']:04}_{row['name']} (sha256 {row['sha256'][:12]}, "
                f"file {migration.sha256[:12]}): restore the file"
            )


async def check(conn: Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Nothing where the schema is the program's own; SchemaError with the command to run where it is not."""
    known = load() if migrations is None else tuple(migrations)
    lacking = await pending(conn, known)
    if lacking and len(lacking) == len(known):
        raise SchemaError("the database holds no marketd schema yet: run `marketd migrate`")
    if lacking:
        have = len(known) - len(lacking)
        raise SchemaError(
            f"the database is at schema version {have}, marketd {marketd.__version__} needs {len(known)}: "
            "run `marketd migrate`"
        )


async def apply(
    conn: Connection, migrations: Sequence[Migration] | None = None, *, dry_run: bool = False
) -> list[Migration]:
    """Bring the schema up to date; those that were applied, or, in a ``dry_run``, those that would be.

    Raises SchemaError, PrivilegeError, or Busy where others hold a lock for a minute; what was applied before stays.
    """
    known = load() if migrations is None else tuple(migrations)
    lacking = await pending(conn, known)
    if dry_run:
        return list(lacking)
    return [migration for migration in lacking if await _apply_one(conn, migration, known)]


async def _apply_one(conn: Connection, migration: Migration, known: Sequence[Migration]) -> bool:
    """False where another process has applied it meanwhile."""
    try:
        async with conn.transaction():
            await conn.execute(sql("schema_patience"))
            await conn.fetchval(sql("schema_lock"), LOCK, timeout=LONGEST_S)
            if migration not in await pending(conn, known):
                return False
            if migration.version == 1:
                await conn.execute(sql("schema_create"))
            await conn.execute(migration.sql, timeout=LONGEST_S)
            await conn.execute(sql("schema_record"), migration.version, migration.name, migration.sha256)
    except asyncpg.PostgresError as error:
        raise _explained(error, migration) from error
    return True


def _explained(error: asyncpg.PostgresError, migration: Migration) -> MarketdError:
    said = f"migration {migration} failed and was undone: {error}"
    denied = isinstance(error, asyncpg.InsufficientPrivilegeError)
    if "btree_gist" in str(error):
        return (PrivilegeError if denied else SchemaError)(f"{said}. {NEEDS_EXTENSION}")
    if denied:
        return PrivilegeError(f"{said}. Run `marketd migrate` as the role that owns the schema")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Busy(f"{said}. Another session uses the tables: stop it, then `marketd migrate` again")
    lost = isinstance(error, (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError))
    return DatabaseUnavailable(said, error.sqlstate or "") if lost else SchemaError(said)
