"""A standby that readers use: it says less than its primary, never more than it has."""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from marketd.assembly import ready_schema
from marketd.clock import SystemClock
from marketd.embedded import EmbeddedPostgres
from marketd.rehearsal.faults import Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import called, environment, started, succeed
from tests.wire import asked_of

DAY_MS = 86_400_000
DAYS = 20
COUNT = "SELECT count(*) FROM candles"


@asynccontextmanager
async def pair(folder: Path, bin_dir: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a migrated database and of the same on a streaming standby of its server."""
    async with EmbeddedPostgres(folder / "primary", bin_dir=bin_dir, settings={"fsync": "off"}) as primary:
        await ready_schema(primary.dsn, migrate=True)
        (folder / "standby").mkdir(mode=0o700)
        async with _standby(primary.dsn, folder / "standby", bin_dir) as dsn:
            yield primary.dsn, dsn


@asynccontextmanager
async def _standby(dsn: str, folder: Path, bin_dir: Path) -> AsyncIterator[str]:
    at = asked_of(dsn)
    data, where = folder / "data", ["-h", at["host"], "-p", at["port"], "-U", at["user"]]
    words = _as_owner_of(Path(at["host"]), folder)
    copied = await asyncio.create_subprocess_exec(
        *words, str(bin_dir / "pg_basebackup"), *where, "-D", str(data), "-R", "-X", "stream", "-c", "fast",
        stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    _, said = await copied.communicate()
    assert copied.returncode == 0, said.decode()
    with (folder / "standby.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            *words, str(bin_dir / "postgres"), "-D", str(data), "-k", str(folder), "-h", "", "-p", at["port"],
            stdout=log, stderr=STDOUT,
        )  # fmt: skip
    there = dsn.replace(quote(at["host"]), quote(str(folder)))

    async def answers() -> bool:
        try:
            await (await asyncpg.connect(there)).close()
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        return True

    try:
        await until(answers)
        yield there
    finally:
        server.kill()
        await server.wait()


def _as_owner_of(path: Path, folder: Path) -> Sequence[str]:
    """The words before those of a program that shall run as the owner of ``path``, to whom ``folder`` is given."""
    if os.geteuid() != 0:
        return ("setpriv", "--pdeathsig=KILL")
    found = path.stat()
    shutil.chown(folder, found.st_uid, found.st_gid)
    return ("setpriv", f"--reuid={found.st_uid}", f"--regid={found.st_gid}", "--clear-groups", "--pdeathsig=KILL")


@pytest.mark.timeout(120)
async def test_a_standby_keeps_every_promise_while_its_primary_is_filled(
    pg_bin_dir: Path, pg_folder: Path, tmp_path: Path
) -> None:
    clock = SystemClock()
    market = synthetic(3, ("BTCUSD",), clock.now_ms() - DAYS * DAY_MS, clock.now_ms() + DAY_MS, 0.1)
    (tmp_path / "jobs.toml").write_text(entry("backfill", ("BTCUSD",), ("1m",)))
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n[exchanges.bitfinex]\npage_limit = 200\n'
    )
    async with pair(pg_folder, pg_bin_dir) as (primary, dsn), RehearsalServer(market, clock) as exchange:
        exchange.faults.add(Latency(delay_s=0.03, asks=("candles",)))
        reader = await asyncpg.connect(dsn)
        async with started(tmp_path, primary, exchange.base_url) as daemon:
            seen = list[int]()

            async def filled() -> bool:
                assert await violations(dsn) == {}
                seen.append(await reader.fetchval(COUNT))
                return len(seen) > 1 and seen[-1] == seen[-2] > DAYS * 1440 * 0.8

            await until(filled, 60)
            assert len(set(seen)) > 5, "it was looked at while it was filled"
            assert daemon.alive
        await reader.close()
        environ = environment(tmp_path, dsn, exchange.base_url, "reader")
        for words in ("status", "coverage", "gaps", "runs", "jobs list", "verify", "verify --sample"):
            await succeed(environ, *words.split())
        code, said = await called(environ, "backfill", "--symbol", "BTCUSD", "--timeframe", "1m")
        assert code != 0
        assert "read-only" in said
