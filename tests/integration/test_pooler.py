"""A pooler between marketd and PostgreSQL: the real one, which gives each transaction whatever connection is free."""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from marketd.errors import DatabaseUnavailable
from marketd.store.reports import Reports
from marketd.store.session import Database
from tests.daemons import until
from tests.wire import asked_of

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin")
SETTINGS = "extra_float_digits,lock_timeout,idle_in_transaction_session_timeout,jit,statement_timeout"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Debian's package pgbouncer is not installed")


def _words(dsn: str, folder: Path, port: int, more: Sequence[str]) -> Sequence[str]:
    """How the pooler is called, once its settings are written."""
    query = asked_of(dsn)
    settings = [
        "[databases]", f"{urlsplit(dsn).path[1:]} = host={query['host']} port={query['port']} user={query['user']}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any", *more,
    ]  # fmt: skip
    config = folder / "pgbouncer.ini"
    config.write_text("\n".join(settings) + "\n")
    folder.chmod(0o755)
    # It refuses to be root, and the way to the server is open to the server's own user only.
    as_somebody = ["--user", Path(query["host"]).owner()] if os.geteuid() == 0 else []
    assert PROGRAM is not None
    return ["setpriv", "--pdeathsig", "KILL", PROGRAM, "--quiet", *as_somebody, str(config)]


@asynccontextmanager
async def pooled(dsn: str, folder: Path, port: int, *more: str) -> AsyncIterator[str]:
    """The address of ``dsn`` behind a pgbouncer with these further settings."""
    process = await asyncio.create_subprocess_exec(*_words(dsn, folder, port, more), stdout=DEVNULL, stderr=DEVNULL)

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await until(listens, 10)
        yield f"postgresql://marketd@127.0.0.1:{port}{urlsplit(dsn).path}"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("more", [(), (f"ignore_startup_parameters = {SETTINGS}",)], ids=["strict", "lenient"])
async def test_a_pooler_is_noticed_and_said(
    database: str, pg_folder: Path, unused_tcp_port: int, more: tuple[str, ...]
) -> None:
    """fault_30. Whether the pooler refuses a session's settings or swallows them."""
    async with (
        pooled(database, pg_folder, unused_tcp_port, "pool_mode = transaction", *more) as dsn,
        Database(dsn, size=2) as opened,
    ):
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match=r"a pooler stands before it .* point the URL at PostgreSQL"):
                await Reports(opened).ping()
    async with Database(database, size=1) as opened:
        assert await Reports(opened).ping() > 0
