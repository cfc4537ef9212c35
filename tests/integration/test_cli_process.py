"""Commands as processes: signals, pipes, the daemon, the demonstration, the two scripts."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import aiohttp
import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.rehearsal import RehearsalServer
from marketd.rehearsal.faults import Latency
from tests.canary import unseen
from tests.command import NOW_MS, configuration, eventually, server_at

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
MODULE = ("-m", "marketd")


async def start(
    *words: str, cwd: Path | None = None, stdin: int | None = None, stdout: int = PIPE,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Process:  # fmt: skip
    keep = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_CONFIG") if name in os.environ
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=stdin, stdout=stdout, stderr=PIPE, cwd=cwd,
        env={**keep, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


async def ended(process: Process) -> tuple[int, str, str]:
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, unseen((out or b"").decode()), unseen(err.decode())


@asynccontextmanager
async def exchange() -> AsyncIterator[RehearsalServer]:
    async with server_at(ScaledClock(NOW_MS)) as server:
        yield server


async def until(process: Process, said: str) -> str:
    """Read standard error up to a line that holds ``said``."""
    assert process.stderr is not None
    seen = ""
    while said not in seen:
        line = await process.stderr.readline()
        assert line, seen
        seen += line.decode()
    return seen


async def first_page(dsn: str) -> None:
    """Wait until a page is stored."""
    connection = await asyncpg.connect(dsn)
    try:
        await eventually(lambda: connection.fetchval("SELECT count(*) FROM candles"))
    finally:
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_comes_at_a_page_border_and_says_how_to_go_on(
    database: str, tmp_path: Path, number: signal.Signals
) -> None:
    async with exchange() as server:
        server.faults.add(Latency(delay_s=0.2))
        config = configuration(tmp_path, database, server.base_url)
        config.write_text(config.read_text() + "page_limit = 1000\n")
        words = ("backfill", "--symbol", "BTCUSD", "--timeframe", "1m", "--timeframe", "1h", "--start", "2024-02-01")
        process = await start(*MODULE, "--config", str(config), *words)
        await first_page(database)
        process.send_signal(number)
        code, out, err = await ended(process)
        assert code == 1
        assert "stopping at the next page border" in err
        again = re.search(r"To go on: marketd (.*)", err)
        assert again is not None
        assert again[1] == f"--config {config} {words[0]} --exchange bitfinex {' '.join(words[1:])} --resume"
        assert "interrupted" in out
        assert "not begun" in out
        server.faults.clear()
        code, out, err = await ended(await start(*MODULE, *again[1].split(), "--json"))
        assert code == 0
        connection = await asyncpg.connect(database)
        runs = await connection.fetch("SELECT status, candles_inserted FROM market_data_job_runs ORDER BY id")
        stored = await connection.fetchval("SELECT count(*) FROM candles WHERE timeframe = '1m'")
        await connection.close()
        assert [run["status"] for run in runs] == ["interrupted", "success", "success"]
        assert runs[0]["candles_inserted"] > 0
        assert runs[0]["candles_inserted"] + runs[1]["candles_inserted"] == stored


async def test_a_second_signal_stops_at_once(database: str, tmp_path: Path) -> None:
    async with exchange() as server:
        server.faults.add(Latency(delay_s=20, asks=("candles",)))
        config = configuration(tmp_path, database, server.base_url)
        words = ("backfill", "--symbol", "BTCUSD", "--timeframe", "1m", "--start", "2024-02-01")
        process = await start(*MODULE, "--config", str(config), *words)
        connection = await asyncpg.connect(database)

        async def asked() -> bool:
            return server.stats.kinds["candles"] > 0

        await eventually(asked)  # what is under way lasts longer than the test
        process.send_signal(signal.SIGINT)
        await until(process, "once more stops at once")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            code, _, err = await ended(process)
        assert code == 1
        assert "To go on: marketd" in err
        row = await connection.fetchrow("SELECT status, error_message FROM market_data_job_runs")
        free = await connection.fetchval("SELECT expires_at <= clock_timestamp() FROM exchange_leases")
        await connection.close()
        assert row is not None
        assert tuple(row) == ("interrupted", "stopped by hand")
        assert free


async def test_a_closed_pipe_is_quiet(database: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, database, "http://127.0.0.1:1/v2")
    reader, writer = os.pipe()
    os.close(reader)
    process = await start(*MODULE, "--config", str(config), "check", "--print", stdout=writer)
    os.close(writer)
    code, _, err = await ended(process)
    assert code == 1
    assert "Traceback" not in err
    assert "Errno" not in err


async def test_the_daemon_serves_until_sigterm(database: str, tmp_path: Path) -> None:
    async with exchange() as server:
        jobs = tmp_path / "jobs.toml"
        jobs.write_text(
            '[[jobs]]\nexchange = "bitfinex"\nsymbols = ["BTCUSD"]\ntimeframes = ["1h"]\njob_type = "backfill"\n'
            "start = 2024-02-20\n"
        )
        config = configuration(tmp_path, database, server.base_url, 'jobs_file = "jobs.toml"')
        process = await start(*MODULE, "run", "--config", str(config))
        address = re.search(r"address=(\S+)", await until(process, "listening"))
        assert address is not None
        await first_page(database)
        async with aiohttp.ClientSession() as session, session.get(f"http://{address[1]}/health") as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        code, out, err = await ended(process)
        assert (code, out) == (0, "")
        assert "Traceback" not in err


async def test_a_hangup_before_the_daemon_can_hear_it_ends_nothing(database: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, database, "http://127.0.0.1:1/v2")
    process = await start(*MODULE, "run", "--config", str(config))

    async def hears_no_hangup() -> bool:
        return "SIGHUP" in _ignored(process.pid)

    await eventually(hears_no_hangup)
    process.send_signal(signal.SIGHUP)
    await until(process, "listening")
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0


def _ignored(pid: int) -> set[str]:
    """Names of the signals that a process ignores."""
    status = Path(f"/proc/{pid}/status").read_text()
    bits = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    return {number.name for number in signal.Signals if bits & 1 << (number - 1)}


async def test_rehearse_serves_until_it_is_stopped(tmp_path: Path) -> None:
    words = (
        "rehearse",
        "--synthetic",
        "7",
        "--symbols",
        "BTCUSD,DOGE:USD",
        "--now",
        "2024-03-01",
        "--since",
        "2024-02-01",
    )
    process = await start(*MODULE, *words)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    name, _, base_url = line.strip().partition("=")
    assert name == "MARKETD_EXCHANGES__BITFINEX__BASE_URL"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base_url}/conf/pub:list:pair:exchange") as reply:
            assert await reply.json() == [["BTCUSD", "DOGE:USD"]]
        async with session.get(f"{base_url}/candles/trade:1D:tBTCUSD/hist?limit=1&sort=1") as reply:
            assert (await reply.json())[0][0] == 1_706_745_600_000
    process.send_signal(signal.SIGINT)
    assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("name", "path", "listed"),
    [
        ("gate", "/spot/currency_pairs", ["BTC_USDT", "ETH_USDT", "LTC_USDT"]),
        ("coinbase", "/products", ["BTC-USD", "ETH-USD", "LTC-USD"]),
    ],
)
async def test_rehearse_speaks_for_the_exchange_that_is_named(name: str, path: str, listed: list[str]) -> None:
    process = await start(*MODULE, "rehearse", "--exchange", name, "--now", "2024-03-01", "--since", "2024-02-01")
    assert process.stdout is not None
    variable, _, base_url = (await process.stdout.readline()).decode().strip().partition("=")
    assert variable == f"MARKETD_EXCHANGES__{name.upper()}__BASE_URL"
    async with aiohttp.ClientSession() as session, session.get(f"{base_url}{path}") as reply:
        assert [market["id"] for market in await reply.json()] == listed
    process.send_signal(signal.SIGINT)
    assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--data", "/", "--synthetic", "1"), 2, "exclude each other"),
        (("--exchange", "bitfynex"), 2, "unknown exchange 'bitfynex'"),
        (("--exchange", "kraken", "--symbols", "BTC-USD"), 2, "not a Kraken pair"),
        (("--symbols", "BTCUSD,BTCUSD"), 2, "names a symbol twice"),
        (("--symbols", "btc"), 2, "not a Bitfinex pair"),
        (("--speed", "0"), 2, "--speed"),
        (("--data", "{folder}"), 78, "no recorded candles in"),
        (("--scenario", "{folder}/bad.toml"), 78, "unknown kind 'boredom'"),
    ],
)
async def test_a_rehearsal_that_cannot_be_is_refused(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "bad.toml").write_text('[[fault]]\nkind = "boredom"\n')
    filled = [word.format(folder=tmp_path) for word in words]
    result = await ended(await start(*MODULE, "rehearse", *filled))
    assert result[0] == code
    assert said in result[2]


async def test_the_scripts_are_the_commands(database: str, tmp_path: Path) -> None:
    async with exchange() as server:
        environ = {"MARKETD_CONFIG": str(configuration(tmp_path, database, server.base_url))}
        words = ("--symbol", "BTCUSD", "--start", "2024-01-01", "--resume", "--json")
        code, out, _ = await ended(
            await start("-m", "scripts.ingest_multi_timeframe", *words, cwd=ROOT, environ=environ)
        )
        assert code == 0
        assert [row["timeframe"] for row in json.loads(out)] == ["1h", "1d"]
        some = ("--symbol", "BTCUSD", "--timeframe", "1h", "--max-gaps", "100", "--json")
        code, out, _ = await ended(await start("-m", "scripts.repair_gaps", *some, cwd=ROOT, environ=environ))
        assert code == 0
        assert json.loads(out)[0]["status"] == "success"
        code, _, err = await ended(await start("-m", "scripts.repair_gaps", "--max-gaps", "none", cwd=ROOT))
        assert code == 2
        assert "'none' is not a valid integer" in err


async def test_the_demonstration_tells_its_story_and_ends_by_itself(pg_folder: Path) -> None:
    folder = pg_folder / "demo"
    folder.mkdir(mode=0o711)
    async with asyncio.timeout(100):
        code, out, err = await ended(
            await start(*MODULE, "demo", cwd=folder, environ={"DATABASE_URL": "postgresql://127.0.0.1:1/real"})
        )
    assert code == 0, out + err
    for chapter in ("1. The stage", "2. A month of history", "3. Damage", "4. Twenty-six hours off", "5. The proof"):
        assert chapter in out
    assert "clean: " in out
    assert "All 18 series are complete" in out
    assert "Traceback" not in err
    code, out, _ = await ended(await start(*MODULE, "--config", ".demo/marketd.toml", "status", "--json", cwd=folder))
    assert code == 0
    assert len(json.loads(out)["series"]) == 18


async def test_the_demonstration_leaves_a_folder_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "mine").write_text("precious")
    code, _, err = await ended(await start(*MODULE, "demo", cwd=tmp_path))
    assert code == 2
    assert "is not the demo's own" in err
    assert (tmp_path / ".demo" / "mine").read_text() == "precious"
