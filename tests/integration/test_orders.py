"""Orders by hand while a daemon works on the exchange: handed over, followed, taken back, and done when it is gone."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.rehearsal.faults import Faults, Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.canary import unseen
from tests.daemons import running, until
from tests.jobfile import entry

DAY = 86_400_000
START = 1_700_006_400_000
JOBS = (
    entry("continuous", ("BTCUSD",), ("1h",), schedule="0 0 1 1 *")
    + entry("gap_repair", ("BTCUSD",), ("1h",), schedule="0 0 1 1 *")
    + entry("backfill", ("BTCUSD",), ("1h",))
)
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class House:
    dsn: str
    folder: Path
    server: RehearsalServer
    daemon: Daemon
    connection: Connection

    async def begin(self, *words: str) -> asyncio.subprocess.Process:
        """A command in a process of its own."""
        environ = {
            **os.environ, "DATABASE_URL": f"postgresql://{self.dsn.partition('://')[2]}",
            "MARKETD_EXCHANGES__BITFINEX__BASE_URL": self.server.base_url,
            "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "60000",
        }  # fmt: skip
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "marketd", "--config", str(self.folder / "marketd.toml"), *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environ,
        )  # fmt: skip

    async def told(self, process: asyncio.subprocess.Process) -> tuple[int, str, str]:
        async with asyncio.timeout(40):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, unseen(out.decode()), unseen(err.decode())

    async def value(self, statement: str, *values: object) -> Any:
        return await self.connection.fetchval(statement, *values)

    def when(self, statement: str, *values: object) -> Callable[[], Awaitable[Any]]:
        return lambda: self.value(statement, *values)


@asynccontextmanager
async def house(database: str, folder: Path) -> AsyncIterator[House]:
    market, clock = synthetic(3, ("BTCUSD", "ETHUSD"), START, START + 60 * DAY, 0.2), ScaledClock(START + 30 * DAY)
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock, Faults(clock)) as server,
            running(database, folder, server.base_url, clock, jobs=JOBS) as daemon,
        ):
            found = House(database, folder, server, daemon, connection)
            await until(found.when("SELECT count(*) > 700 FROM candles WHERE timeframe = '1h'"))
            yield found
    finally:
        await connection.close()


async def test_a_backfill_is_handed_to_the_daemon_followed_and_ends_with_its_run(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as found:
        epoch = await found.value("SELECT epoch FROM exchange_leases")
        words = ("backfill", "--symbol", "ETHUSD", "--timeframe", "1m", "--timeframe", "1d", "--json")
        code, out, err = await found.told(await found.begin(*words))
        assert code == 0, err
        results = {row["timeframe"]: row for row in json.loads(out)}
        assert results["1m"]["status"] == results["1d"]["status"] == "success"
        stored = await found.value("SELECT count(*) FROM candles WHERE symbol = 'ETHUSD' AND timeframe = '1m'")
        assert results["1m"]["candles_inserted"] == stored > 30_000
        assert results["1m"]["run_id"] == await found.value(
            "SELECT r.id FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
            "WHERE j.origin = 'order' AND j.timeframe = '1m'"
        )
        assert "it is given the order" in err
        assert "bitfinex ETHUSD 1m: " in err
        assert await found.value("SELECT epoch FROM exchange_leases") == epoch, "nobody took the exchange over"
        assert await found.value("SELECT count(*) FROM market_data_jobs WHERE origin = 'order' AND enabled") == 0
        assert await found.value("SELECT count(*) FROM market_data_jobs WHERE origin = 'auto'") == 0, (
            "it tracks nothing"
        )
        planned, left = await found.connection.fetchrow(  # type: ignore[misc]
            "SELECT intervals_planned, intervals_left FROM market_data_job_runs WHERE id = $1", results["1m"]["run_id"]
        )
        assert planned > 40_000
        assert left == 0


async def test_a_repair_by_hand_and_a_job_run_now_are_carried_out_by_the_daemon(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as found:
        deleted = await found.connection.execute(
            "DELETE FROM candles WHERE timeframe = '1h' AND extract(hour FROM open_time) = 5"
        )
        code, out, _ = await found.told(
            await found.begin("repair-gaps", "--symbol", "BTCUSD", "--timeframe", "1h", "--json")
        )
        assert (code, json.loads(out)[0]["gaps_closed"] > 0) == (0, True)
        assert await found.value(
            "SELECT count(*) FROM candles WHERE timeframe = '1h' AND extract(hour FROM open_time) = 5"
        ) == int(deleted.split()[1])
        job = await found.value("SELECT id FROM market_data_jobs WHERE job_type = 'gap_repair' AND origin = 'file'")
        await found.connection.execute(
            "DELETE FROM candles WHERE timeframe = '1h' AND extract(hour FROM open_time) = 7"
        )
        code, out, err = await found.told(await found.begin("jobs", "run", str(job), "--json"))
        assert (code, json.loads(out)[0]["gaps_closed"] > 0) == (0, True), err
        code, _, err = await found.told(await found.begin("jobs", "run", "999"))
        assert (code, "no enabled job 999" in err) == (1, True)


async def test_an_interrupt_takes_the_order_back(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as found:
        found.server.faults.add(Latency(delay_s=1.5))
        process = await found.begin("backfill", "--symbol", "ETHUSD", "--timeframe", "1m")
        await until(
            found.when(
                "SELECT count(*) FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
                "WHERE j.origin = 'order' AND r.candles_inserted > 0"
            )
        )
        process.send_signal(signal.SIGINT)
        code, out, err = await found.told(process)
        assert code == 1
        assert "stopped; what is stored stays stored. To go on:" in err
        assert "stopped at a page border" in out
        assert await found.value("SELECT count(*) FROM market_data_jobs WHERE origin = 'order' AND enabled") == 0
        status = (
            "SELECT r.status FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id "
            "WHERE j.origin = 'order'"
        )
        assert await found.value(status) in ("partial", "interrupted")


async def test_what_a_daemon_did_not_begin_the_command_does_itself_when_it_is_gone(
    database: str, tmp_path: Path
) -> None:
    async with house(database, tmp_path) as found:
        # A daemon that holds the exchange and does nothing: hung, or about to die.
        await found.connection.execute(
            "UPDATE exchange_leases SET epoch = epoch + 1, holder = 'elsewhere:7', "
            "expires_at = clock_timestamp() + interval '8 seconds'"
        )
        found.daemon.stop()
        code, out, err = await found.told(
            await found.begin("backfill", "--symbol", "ETHUSD", "--timeframe", "1h", "--json")
        )
        assert code == 0, err
        assert "daemon elsewhere:7; it is given the order" in err
        assert json.loads(out)[0]["candles_inserted"] > 100
        assert await found.value("SELECT count(*) FROM market_data_jobs WHERE origin = 'order'") == 1


async def test_an_order_for_a_derived_timeframe_is_handed_over_like_any_other(database: str, tmp_path: Path) -> None:
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n[exchanges.bitfinex]\nderive = {{ "2h" = "1h" }}\n'
    )
    async with house(database, tmp_path) as found:
        words = ("backfill", "--symbol", "BTCUSD", "--timeframe", "2h", "--json")
        code, out, err = await found.told(await found.begin(*words))
        assert code == 0, (out, err)
        assert "it is given the order" in err
        assert await found.value("SELECT count(*) > 300 FROM candles WHERE timeframe = '2h'")


async def test_an_order_that_the_daemon_refuses_says_why(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as found:
        # What this command derives, the daemon does not: another file, or one that was not reloaded.
        config = tmp_path / "marketd.toml"
        config.write_text(config.read_text() + '[exchanges.bitfinex]\nderive = { "2h" = "1h" }\n')
        code, out, _ = await found.told(
            await found.begin("backfill", "--symbol", "BTCUSD", "--timeframe", "2h", "--json")
        )
        assert code == 1
        assert json.loads(out)[0]["error"].startswith("not begun: ")
        assert "unknown timeframe '2h'" in json.loads(out)[0]["error"]
