"""Reloads of a living daemon: what changes, what is refused, and that none is lost."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from marketd import bulletin
from marketd.bulletin import News
from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import JOBS, get, running, until
from tests.jobfile import entry

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
ETH = entry("continuous", ("ETHUSD",), ("1h",), schedule="*/15 * * * *")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def house(database: str, folder: Path) -> AsyncIterator[tuple[Daemon, Connection]]:
    market, clock = synthetic(3, ("BTCUSD", "ETHUSD"), START, START + 20 * DAY, 0.2), ScaledClock(START + 2 * DAY)
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            running(database, folder, server.base_url, clock) as daemon,
        ):
            await until(lambda: _ready(daemon))
            yield daemon, connection
    finally:
        await connection.close()


async def _ready(daemon: Daemon) -> bool:
    return bool((await get(daemon, "/jobs"))["jobs"])


def news(folder: Path) -> News:
    found = bulletin.read(folder / "run-one")
    assert found is not None
    return found


async def verdict(folder: Path, number: int) -> bulletin.Verdict:
    """The verdict on reload ``number`` or a later one."""

    async def there() -> bool:
        last = news(folder).last
        return last is not None and last.number >= number and last.outcome != bulletin.WAITING

    await until(there, 20)
    last = news(folder).last
    assert last is not None
    return last


async def reloaded(daemon: Daemon, folder: Path) -> bulletin.Verdict:
    number = news(folder).begun + 1
    daemon.reload()
    return await verdict(folder, number)


async def rows(connection: Connection) -> Mapping[str, bool]:
    found = await connection.fetch("SELECT symbol, timeframe, job_type, enabled FROM market_data_jobs ORDER BY id")
    return {f"{row['job_type']} {row['symbol']} {row['timeframe']}": row["enabled"] for row in found}


async def test_the_difference_is_said_everywhere_and_what_left_the_file_is_disabled(
    database: str, tmp_path: Path
) -> None:
    async with house(database, tmp_path) as (daemon, connection):
        (tmp_path / "jobs.toml").write_text(JOBS.replace('"1h", "1d"', '"1h"').replace("*/5", "*/10") + ETH)
        said = await reloaded(daemon, tmp_path)
        assert said.outcome == "accepted"
        assert len(said.changes["changed"]) == 2, "1m and 1h every ten minutes"
        assert "schedule */5 * * * * -> */10 * * * *" in said.changes["changed"][0]
        assert [sentence.partition("(")[2] for sentence in said.changes["added"]] == [
            "continuous bitfinex ETHUSD 1h), */15 * * * *", "backfill bitfinex ETHUSD 1h)",
        ]  # fmt: skip
        assert len(said.changes["removed"]) == 2, "continuous and backfill of 1d"
        assert said.said == "2 added, 2 changed, 2 removed"
        found = await rows(connection)
        assert found["continuous BTCUSD 1d"] is False
        assert found["continuous ETHUSD 1h"] is True
        shown = (await get(daemon, "/jobs"))["last_reload"]
        assert shown["outcome"] == "accepted"
        assert shown["changes"]["added"] == list(said.changes["added"])
        metrics = await get(daemon, "/metrics")
        assert 'marketd_config_reloads_total{outcome="accepted"} 1.0' in metrics
        assert "marketd_config_last_reload_successful 1.0" in metrics


async def test_a_mistake_anywhere_changes_nothing_and_is_said(database: str, tmp_path: Path) -> None:
    """fault_59."""
    async with house(database, tmp_path) as (daemon, connection):
        before, config = await rows(connection), (tmp_path / "marketd.toml").read_text()
        for file, text, reason in (
            ("jobs.toml", JOBS + ETH.replace("*/15", "61"), "61"),
            ("jobs.toml", "not toml [", "not TOML"),
            ("jobs.toml", "", "would disable every job"),
            ("marketd.toml", config + "\n[engine]\nsettle_s = -1\n", "engine.settle_s"),
        ):
            good = (tmp_path / file).read_text()
            (tmp_path / file).write_text(text)
            said = await reloaded(daemon, tmp_path)
            assert said.outcome == "refused"
            assert reason in str(said.reason)
            assert await rows(connection) == before
            assert len((await get(daemon, "/jobs"))["jobs"]) == len(before)
            (tmp_path / file).write_text(good)
        assert "marketd_config_last_reload_successful 0.0" in await get(daemon, "/metrics")
        assert (await reloaded(daemon, tmp_path)).said == "nothing changed"
        assert "marketd_config_last_reload_successful 1.0" in await get(daemon, "/metrics")


async def test_settings_are_taken_over_or_wait_for_a_restart_and_a_lane_is_opened_anew(
    database: str, tmp_path: Path
) -> None:
    async with house(database, tmp_path) as (daemon, connection):
        config = (tmp_path / "marketd.toml").read_text()
        (tmp_path / "marketd.toml").write_text(
            config + '[engine]\nsettle_s = 60\n[log]\nlevel = "debug"\n[exchanges.bitfinex]\npage_limit = 500\n'
        )
        lease = "SELECT epoch FROM exchange_leases"
        await until(lambda: connection.fetchval(lease))
        epoch = await connection.fetchval(lease)
        said = await reloaded(daemon, tmp_path)
        assert said.changes["settings"] == (
            ["exchanges.bitfinex.page_limit: default -> 500", "engine.settle_s: 120.0 -> 60.0"]
        )
        assert said.changes["needs_restart"] == ["log.level: info -> debug"]

        async def anew() -> bool:
            return bool(await connection.fetchval("SELECT epoch > $1 FROM exchange_leases", epoch))

        await until(anew)


async def test_a_thousand_hang_ups_change_nothing_and_none_is_lost(database: str, tmp_path: Path) -> None:
    """fault_5."""
    async with house(database, tmp_path) as (daemon, connection):
        before = await rows(connection)
        for number in range(1000):
            os.kill(os.getpid(), signal.SIGHUP)
            if number % 100 == 0:
                await asyncio.sleep(0.01)
        (tmp_path / "jobs.toml").write_text(JOBS + ETH)
        os.kill(os.getpid(), signal.SIGHUP)

        async def added() -> bool:  # which of the reloads did it is not said: the last may have found nothing left
            return len(await rows(connection)) == len(before) + 2

        await until(added, 20)
        assert news(tmp_path).begun < 100, "those that came while one was waiting are one"
        after = await rows(connection)
        assert {key: after[key] for key in before} == before
        assert (await reloaded(daemon, tmp_path)).outcome == "accepted", "and it hears the next one"


async def test_a_row_made_by_sql_is_noticed_checked_and_told_what_is_wrong(database: str, tmp_path: Path) -> None:
    """fault_56, fault_57."""
    async with house(database, tmp_path) as (daemon, connection):
        insert = (
            "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule) "
            "VALUES ($1, $2, $3, $4, $5) RETURNING id"
        )
        good = await connection.fetchval(insert, "bitfinex", "ETHUSD", "1h", "continuous", "*/5 * * * *")
        bad = await connection.fetchval(insert, "bitfinex", "ETHUSD", "1h", "gap_repair", "31 2 31 2 *")
        said = await reloaded(daemon, tmp_path)
        assert [sentence for sentence in said.changes["refused"] if f"job {bad}:" in sentence]

        async def noted() -> bool:
            return bool(await connection.fetchval("SELECT status = 'refused' FROM market_data_jobs WHERE id = $1", bad))

        await until(noted)
        assert "schedule" in await connection.fetchval("SELECT last_error FROM market_data_jobs WHERE id = $1", bad)
        auto = await connection.fetchrow("SELECT * FROM market_data_jobs WHERE origin = 'auto'")
        assert auto is not None
        assert (auto["caused_by"], auto["symbol"], auto["timeframe"], auto["job_type"], auto["schedule"]) == (
            good, "ETHUSD", "1h", "backfill", None,
        )  # fmt: skip

        async def filled() -> Any:
            return (
                await connection.fetchval("SELECT count(*) FROM candles WHERE symbol = 'ETHUSD' AND timeframe = '1h'")
                >= 40
            )

        await until(filled)
        await connection.execute("UPDATE market_data_jobs SET enabled = false WHERE id = $1", good)
        await reloaded(daemon, tmp_path)
        enabled = "SELECT enabled FROM market_data_jobs WHERE id = $1"
        assert await connection.fetchval(enabled, auto["id"]) is False
        await connection.execute("UPDATE market_data_jobs SET enabled = true WHERE id = $1", good)
        await reloaded(daemon, tmp_path)
        assert await connection.fetchval(enabled, auto["id"]) is True
        assert await connection.fetchval("SELECT count(*) FROM market_data_jobs WHERE origin = 'auto'") == 1


async def test_a_daemon_outlives_its_run_directory_and_takes_over_what_is_new(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as (daemon, connection):
        shutil.rmtree(tmp_path / "run-one")
        (tmp_path / "jobs.toml").write_text(JOBS + ETH)
        daemon.reload()

        async def taken() -> bool:
            return bool((await rows(connection)).get("continuous ETHUSD 1h"))

        await until(taken)
        assert (await verdict(tmp_path, 1)).outcome == "accepted", "and it can be found again"
        # Nothing can be made there any more.
        shutil.rmtree(tmp_path / "run-one")
        (tmp_path / "run-one").write_text("")
        (tmp_path / "jobs.toml").write_text(JOBS)
        daemon.reload()

        async def gone() -> bool:
            return not (await rows(connection))["continuous ETHUSD 1h"]

        await until(gone)
        assert (await get(daemon, "/livez"))["status"] == "ok"
