"""What is shipped for operators works as it says."""

import asyncio
import hashlib
import os
import shutil
import sys
from pathlib import Path

import asyncpg
import pytest

from marketd.store import migrations
from tests.wire import asked_of

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


async def test_the_containers_database_knows_the_passwords_that_are_made_for_it(
    server: str, pg_bin_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "container"
    folder.mkdir()
    for name in ("secrets.sh", "passwords.sh"):
        (folder / name).write_bytes((ROOT / "packaging/container" / name).read_bytes())

    async def run(name: str, **more: str) -> tuple[int | None, str]:
        environ = {"PATH": f"{pg_bin_dir}:{os.environ['PATH']}", **more}
        process = await asyncio.create_subprocess_exec(
            "bash", str(folder / name), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environ
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    assert (await run("secrets.sh"))[0] == 0
    code, said = await run("secrets.sh")
    assert code == 1
    assert "is there already" in said
    admin = await asyncpg.connect(server.replace("///marketd?", "///postgres?"))
    there = {row[0] for row in await admin.fetch("SELECT rolname FROM pg_roles")}
    made = sorted({"marketd_owner", "marketd_daemon"} - there)
    try:
        for role in made:
            await admin.execute(f"CREATE ROLE {role}")
        reached = asked_of(server)
        place = {"PGHOST": reached["host"], "PGDATABASE": "postgres", "POSTGRES_USER": reached["user"]}
        code, said = await run("passwords.sh", SECRETS=str(folder / "secrets"), **place)
        assert (code, said) == (0, "")
        known = await admin.fetchval(
            "SELECT count(*) FROM pg_authid WHERE rolname IN ('marketd_owner', 'marketd_daemon')"
            " AND rolpassword LIKE 'SCRAM-SHA-256$%'"
        )
        assert known == 2
    finally:
        for role in made:
            await admin.execute(f"DROP ROLE {role}")
        await admin.close()


async def test_the_same_sources_give_the_same_wheel_bit_for_bit(tmp_path: Path) -> None:
    """Wherever they lie, and whenever they were written."""
    digests = []
    for place, age_s in (("here", 0), ("elsewhere", 86_400)):
        tree = tmp_path / place
        for part in ("marketd", "sql", "config"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, tree)
        for copied in tree.rglob("*"):
            os.utime(copied, (age_s, age_s + 1_000_000_000))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheels"),
            cwd=tree, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        (wheel,) = (tmp_path / "wheels").glob("*.whl")
        digests.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
        wheel.unlink()
    assert digests[0] == digests[1]
