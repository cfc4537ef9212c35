"""What is shipped for operators works as it says."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from marketd.store import migrations

ROOT = Path(__file__).parents[2]


async def test_the_setup_script_makes_a_database_that_its_owner_can_migrate(server: str, pg_bin_dir: Path) -> None:
    admin = server.replace("///marketd?", "///postgres?")
    for _ in range(2):  # run again at will
        process = await asyncio.create_subprocess_exec(
            pg_bin_dir / "psql", "-q", "-v", "database=shop", "-f", str(ROOT / "packaging/postgresql/setup.sql"), admin,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
    shop = server.replace("///marketd?", "///shop?")
    owner = await asyncpg.connect(shop.replace("user=marketd", "user=marketd_owner"))
    try:
        assert await migrations.apply(owner)
    finally:
        await owner.close()
    daemon = await asyncpg.connect(shop.replace("user=marketd", "user=marketd_daemon"))
    try:
        await daemon.execute("CREATE TEMPORARY TABLE page (x int)")
        assert await daemon.fetchval("SELECT count(*) FROM candles") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await daemon.execute("DELETE FROM candles")
    finally:
        await daemon.close()
    cleaning = await asyncpg.connect(admin)
    try:
        await cleaning.execute("DROP DATABASE shop WITH (FORCE)")
    finally:
        await cleaning.close()
