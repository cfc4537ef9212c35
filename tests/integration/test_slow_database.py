"""A database that answers, but each time late: work becomes slow, and does not pile up."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from marketd.clock import SystemClock
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.oracle import violations
from tests.processes import Marketd, started
from tests.wire import Wire

DAY = 86_400_000
PAGE = 250
SLOW_S = 0.1  # a message; a page takes many
PAGES = 4
PATIENCE_S = 60
JOBS = entry("backfill", ("BTCUSD", "ETHUSD"), ("1m",))


@pytest.mark.timeout(120)
async def test_a_database_that_is_slow_slows_the_work_and_nothing_piles_up(database: str, tmp_path: Path) -> None:
    """fault_24."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n[exchanges.bitfinex]\npage_limit = {PAGE}\n'
    )
    clock = SystemClock()
    market = synthetic(3, ("BTCUSD", "ETHUSD"), clock.now_ms() - 30 * DAY, clock.now_ms() + DAY, 0.2)
    async with (
        RehearsalServer(market, clock) as exchange,
        Wire(database).laid() as wire,
        started(tmp_path, wire.dsn, exchange.base_url) as daemon,
    ):
        await until(lambda: at_work(daemon))
        wire.slow(SLOW_S)
        began_s, before, most = time.monotonic(), await stored(daemon), 0
        while await stored(daemon) < before + PAGES:
            most = max(most, exchange.stats.kinds["candles"] - await stored(daemon))
            assert await daemon.lease_held()
            assert (await daemon.get("/livez")).status == 200
            assert time.monotonic() - began_s < PATIENCE_S
            await asyncio.sleep(0.1)
        assert 1 <= most <= 2 * 2, "of each series one page is being stored and one waits for it"
        assert len(wire.attempts) < 20
        wire.slow(0)
        await until(lambda: complete(daemon))
        assert [line for line in daemon.lines() if line["level"] != "info"] == []
    assert await violations(database) == {}


async def at_work(daemon: Marketd) -> bool:
    return await stored(daemon) > 2


async def stored(daemon: Marketd) -> int:
    """Pages that the daemon has stored."""
    shown = (await daemon.get("/metrics")).shape
    found = re.search(r'^marketd_pages_total{exchange="bitfinex",outcome="stored"} (\S+)$', shown, re.MULTILINE)
    return 0 if found is None else int(float(found[1]))


async def complete(daemon: Marketd) -> bool:
    found = (await daemon.get("/ingestion/status")).shape["series"]
    return len(found) == 2 and all(one["unknown_intervals"] == 0 and one["candles_count"] for one in found)
