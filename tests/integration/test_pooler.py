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

from marketd.clock import SystemClock
from marketd.errors import DatabaseUnavailable
from marketd.rehearsal.faults import Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from marketd.store.reports import Reports
from marketd.store.session import Database
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, environment, started, succeed
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


TRANSACTIONS = ("pool_mode = transaction", "default_pool_size = 4", "server_lifetime = 2")
DAY = 86_400_000
SYMBOLS = ("BTCUSD", "ETHUSD", "LTCUSD")
JOBS = (
    entry("continuous", SYMBOLS, ("1m", "5m"), schedule="* * * * *")
    + entry("backfill", SYMBOLS, ("1m", "5m"))
    + entry("gap_repair", schedule="* * * * *")
)
POOLED = {"MARKETD_DATABASE__POOLER": "true"}


@pytest.mark.timeout(120)
async def test_a_daemon_works_behind_one_that_is_configured(
    empty_database: str, tmp_path: Path, pg_folder: Path, unused_tcp_port: int
) -> None:
    """fault_30. Migrated, filled and verified by way of fewer connections than it opens, of two seconds each."""
    clock = SystemClock()
    market = synthetic(3, SYMBOLS, clock.now_ms() - 20 * DAY, clock.now_ms() + DAY, 0.0)
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n'
        '[exchanges.bitfinex]\npage_limit = 500\nderive = {"5m" = "1m"}\nshare = 0.5\n'
    )
    async with (
        pooled(empty_database, pg_folder, unused_tcp_port, *TRANSACTIONS) as dsn,
        RehearsalServer(market, clock) as exchange,
    ):
        exchange.faults.add(Latency(delay_s=0.03, asks=("candles",)))
        environ = environment(tmp_path, dsn, exchange.base_url, "one", **POOLED)
        await succeed(environ, "migrate")
        async with started(tmp_path, dsn, exchange.base_url, **POOLED) as daemon:
            await until(lambda: complete(daemon), 60)
            await succeed(environ, "verify")
            await succeed(environ, "status", "--json")
            assert not daemon.lines("lease lost")
        unwell = [line for line in daemon.lines() if line["level"] in ("warning", "error")]
        # The end may come while a live run waits for the candle that has just closed.
        unwell = [line for line in unwell if line.get("status") != "interrupted"]
        assert unwell == [], unwell
    assert await violations(empty_database) == {}


async def test_the_settings_of_a_session_hold_behind_it(database: str, pg_folder: Path, unused_tcp_port: int) -> None:
    async with (
        pooled(database, pg_folder, unused_tcp_port, *TRANSACTIONS) as dsn,
        Database(dsn, size=6, statement_s=0.5, pooler=True) as opened,
    ):

        async def sleep() -> None:
            async with opened.session() as connection:
                assert await connection.fetchval("SHOW lock_timeout") == "5s"
                assert await connection.fetchval("SHOW timezone") == "UTC"
                await connection.fetchval("SELECT pg_sleep(5)")

        async def too_long() -> None:
            with pytest.raises(DatabaseUnavailable, match="statement timeout"):
                await sleep()

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(too_long())
        assert await Reports(opened).ping() > 0


async def complete(daemon: Marketd) -> bool:
    found = (await daemon.get("/ingestion/status")).shape["series"]
    return len(found) == 2 * len(SYMBOLS) and all(one["complete"] for one in found)
