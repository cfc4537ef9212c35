"""``marketd reload`` as a process: its verdict, its exit codes, and a database that is away meanwhile."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from marketd import bulletin
from marketd.clock import ScaledClock
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.canary import unseen
from tests.daemons import JOBS, until
from tests.jobfile import entry
from tests.processes import ROOT, Marketd, environment, started
from tests.wire import Wire

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
ETH = entry("continuous", ("ETHUSD",), ("1h",), schedule="*/15 * * * *")
EDITED = JOBS.replace("*/5", "*/10") + ETH


@asynccontextmanager
async def house(database: str, folder: Path, *, cut: bool = False) -> AsyncIterator[tuple[Marketd, Wire]]:
    """A daemon behind a wire, which has loaded its jobs; not so where the wire is ``cut``."""
    (folder / "jobs.toml").write_text(JOBS)
    (folder / "marketd.toml").write_text(f'jobs_file = "{folder}/jobs.toml"\nowner = "test"\n')
    market, clock = synthetic(3, ("BTCUSD", "ETHUSD"), START, START + 9 * DAY, 0.2), ScaledClock(START + 2 * DAY)
    async with (
        laid(database, cut=cut) as wire,
        RehearsalServer(market, clock) as server,
        started(folder, wire.dsn, server.base_url) as daemon,
    ):
        await daemon.said("listening")
        if not cut:
            await until(lambda: ready(daemon))
        yield daemon, wire


@asynccontextmanager
async def laid(database: str, *, cut: bool) -> AsyncIterator[Wire]:
    async with Wire(database).laid() as wire:
        if cut:
            wire.cut()
        yield wire


async def ready(daemon: Marketd) -> bool:
    return (await daemon.get("/readyz")).status == 200


async def reload(environ: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``marketd reload``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketd", "reload", *words, env=environ, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, unseen(out.decode()), unseen(err.decode())


async def outcome(daemon: Marketd) -> str | None:
    news = bulletin.read(Path(daemon.environ["MARKETD_RUN_DIR"]))
    return None if news is None or news.last is None else news.last.outcome


async def schedules(dsn: str) -> Mapping[str, Any]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT symbol || ' ' || timeframe AS series, schedule FROM market_data_jobs "
            "WHERE job_type = 'continuous' AND enabled"
        )
    finally:
        await connection.close()
    return {row["series"]: row["schedule"] for row in rows}


async def test_the_verdict_is_the_exit_code_and_the_difference_is_printed(database: str, tmp_path: Path) -> None:
    """fault_59."""
    async with house(database, tmp_path) as (daemon, _):
        (tmp_path / "jobs.toml").write_text(EDITED)
        code, out, err = await reload(daemon.environ, "--wait")
        assert (code, err) == (0, "")
        assert out.startswith("reloaded: 2 added, 3 changed\n")
        assert "  changed: job" in out
        assert "schedule */5 * * * * -> */10 * * * *" in out
        (tmp_path / "jobs.toml").write_text(EDITED.replace("*/15", "61"))
        code, out, err = await reload(daemon.environ, "--wait", "--json")
        assert (code, json.loads(out)["outcome"]) == (1, "refused")
        assert "reload refused, nothing has changed" in err
        assert "61" in err
        assert (await schedules(database))["ETHUSD 1h"] == "*/15 * * * *"
        assert (await daemon.get("/jobs")).shape["last_reload"]["outcome"] == "refused"


async def test_a_secret_that_came_with_a_reload_is_hidden_in_the_log_like_the_first(
    database: str, tmp_path: Path
) -> None:
    """The words come back in the reason of a refusal, as the schedule of a job."""
    async with house(database, tmp_path) as (daemon, _):
        config = (tmp_path / "marketd.toml").read_text()
        for key in ("firstsecretkey", "secondsecretkey"):
            (tmp_path / "marketd.toml").write_text(f'{config}[exchanges.bitfinex]\napi_key = "{key}"\n')
            code, _, err = await reload(daemon.environ, "--wait")
            assert code == 0, err
        (tmp_path / "jobs.toml").write_text(
            EDITED.replace("*/15 * * * *", "firstsecretkey").replace("*/10 * * * *", "secondsecretkey")
        )
        assert (await reload(daemon.environ, "--wait"))[0] == 1
        (refusal,) = daemon.lines("reload refused")
        assert "***" in refusal["error"]
        assert "secretkey" not in daemon.log.read_text()


async def test_without_a_daemon_there_is_nothing_to_ask(database: str, tmp_path: Path) -> None:
    environ = environment(tmp_path, database, "http://127.0.0.1:9/v2", "nobody")
    code, out, err = await reload(environ, "--wait")
    assert (code, out) == (69, "")
    assert "no daemon of marketd runs here" in err


async def test_a_reload_waits_for_the_database_and_is_not_lost(database: str, tmp_path: Path) -> None:
    """fault_8, fault_59."""
    async with house(database, tmp_path) as (daemon, wire):
        wire.cut()
        (tmp_path / "jobs.toml").write_text(EDITED)
        code, out, err = await reload(daemon.environ, "--wait", "--timeout", "2")
        assert (code, out) == (1, "")
        assert "no verdict within 2 s: the database is away, the reload waits for it" in err
        assert await outcome(daemon) == bulletin.WAITING
        waiting = asyncio.create_task(reload(daemon.environ, "--wait"))
        await until(lambda: begun(daemon, 2))
        assert await outcome(daemon) == bulletin.WAITING
        wire.mend()
        code, out, err = await waiting
        assert (code, err) == (0, "")
        assert out.startswith("reloaded: 2 added, 3 changed\n")
        assert await outcome(daemon) == bulletin.ACCEPTED
        assert await schedules(database) == {
            "BTCUSD 1m": "*/10 * * * *", "BTCUSD 1h": "*/10 * * * *", "BTCUSD 1d": "*/10 * * * *",
            "ETHUSD 1h": "*/15 * * * *",
        }  # fmt: skip
        shown = (await daemon.get("/jobs")).shape["last_reload"]
        assert (shown["outcome"], len(shown["changes"]["added"])) == ("accepted", 2)


async def test_a_reload_before_the_first_jobs_are_read_waits_and_gets_its_verdict(
    database: str, tmp_path: Path
) -> None:
    async with house(database, tmp_path, cut=True) as (daemon, wire):
        await daemon.said("database away")
        code, out, err = await reload(daemon.environ, "--wait", "--timeout", "3")
        assert (code, out) == (1, "")
        assert "no verdict within 3 s: the database is away, the reload waits for it" in err
        (tmp_path / "jobs.toml").write_text(EDITED)
        wire.mend()
        code, out, err = await reload(daemon.environ, "--wait")
        assert (code, err) == (0, "")
        assert (await schedules(database))["ETHUSD 1h"] == "*/15 * * * *"


async def begun(daemon: Marketd, reloads: int) -> bool:
    news = bulletin.read(Path(daemon.environ["MARKETD_RUN_DIR"]))
    return news is not None and news.begun >= reloads


async def test_no_hang_up_ends_it_from_its_first_line_on(database: str, tmp_path: Path) -> None:
    """fault_6: What the interpreter needs before it reads a line of ours is out of reach."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n')
    async with started(tmp_path, database, "http://127.0.0.1:9/v2") as daemon:
        while not daemon.ignores_hang_ups:  # noqa: ASYNC110  (nothing of another process can be awaited)
            await asyncio.sleep(0)
        sent = 0
        while daemon.alive and not daemon.lines("listening"):
            daemon.send(signal.SIGHUP)
            sent += 1
            await asyncio.sleep(0.001)
        assert daemon.alive, daemon.process.returncode
        assert sent > 20
        await until(lambda: ready(daemon))


SPY = """
import signal, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "marketd.cli":
            print(signal.getsignal(signal.SIGHUP).name)
sys.meta_path.insert(0, Spy())
import marketd.__main__
"""


async def test_hang_ups_are_ignored_before_anything_is_imported() -> None:
    """fault_6."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SPY, cwd=ROOT, stdout=PIPE)
    out, _ = await process.communicate()
    assert out.decode() == "SIG_IGN\n"
