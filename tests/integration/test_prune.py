"""What has become old is taken away, and what is still needed of it stays."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest

from marketd.errors import PrivilegeError
from marketd.store import pruning
from marketd.store.pruning import Cutoffs, Pruning
from marketd.store.session import Database
from tests.oracle import violations
from tests.roles import login

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
BEFORE = Cutoffs(NOW - timedelta(days=90), NOW - timedelta(days=90), NOW - timedelta(days=90))

_RUNS = """
INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status, epoch, candles_inserted,
                                  error_message)
SELECT $1, t, t, t + interval '1 second', $2, 1, 7, CASE WHEN $2 <> 'success' THEN 'no' END
FROM generate_series($3::timestamptz, $3 + ($4 - 1) * interval '5 minutes', interval '5 minutes') AS t
"""
_GAP = """
INSERT INTO candle_gaps (exchange, symbol, timeframe, owed, missing, detected_at, repaired_at, cause, resolution,
                         gap_start, gap_end)
VALUES ('bitfinex', 'BTCUSD', '1m', '{[100,110)}', '{}', $1, $2, $3, 'not_wanted', to_timestamp(6000),
        to_timestamp(6600))
"""
_REVISION = """
INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low, old_close,
                              old_volume, new_open, new_high, new_low, new_close, new_volume, new_answered_at)
SELECT 'bitfinex', 'BTCUSD', '1m', $1, $2::text, 1, 1, 1, 1, 1, n, n, n, n, n, $1
FROM (SELECT CASE WHEN $2 = 'revised' THEN 2 END AS n) AS new
"""


@pytest.fixture
async def owner(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def job(owner: Connection, origin: str = "file", *, enabled: bool = True) -> int:
    found: int = await owner.fetchval(
        "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, origin, enabled, updated_at)"
        " VALUES ('bitfinex', 'BTCUSD', '1m', 'continuous', $1, $2, $3) RETURNING id",
        origin, enabled, LONG_AGO,
    )  # fmt: skip
    return found


async def count(owner: Connection, statement: str, *values: Any) -> int:
    return int(await owner.fetchval(f"SELECT count(*) FROM {statement}", *values))


async def test_old_runs_go_and_their_figures_stay(
    database: str, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_PORTION", 10)
    working, stopped, done, waiting = [
        await job(owner), await job(owner, enabled=False), await job(owner, "order", enabled=False),
        await job(owner, "order"),
    ]  # fmt: skip
    await owner.execute(_RUNS, working, "success", LONG_AGO, 30)
    await owner.execute(_RUNS, working, "failed", NOW - timedelta(days=1), 3)
    await owner.execute(_RUNS, stopped, "success", LONG_AGO, 2)
    await owner.execute(_RUNS, stopped, "partial", LONG_AGO + timedelta(days=1), 5)
    for each in (done, waiting):
        await owner.execute(_RUNS, each, "success", LONG_AGO, 1)
    figures = await owner.fetch("SELECT * FROM run_figures ORDER BY hour")
    async with Database(await login(owner, database, "marketd_retain")) as opened:
        assert (await Pruning(opened).prunable(BEFORE))["runs"] == 29 + 5 + 1
        assert (await Pruning(opened).prune(BEFORE))["runs"] == 29 + 5 + 1
        assert (await Pruning(opened).prune(BEFORE))["runs"] == 0
    left = await owner.fetch("SELECT job_id, status, count(*) FROM market_data_job_runs GROUP BY 1, 2 ORDER BY 1, 2")
    assert [tuple(row) for row in left] == [
        (working, "failed", 3), (working, "success", 1), (stopped, "partial", 1), (stopped, "success", 1),
        (waiting, "success", 1),
    ]  # fmt: skip
    assert await owner.fetch("SELECT * FROM run_figures ORDER BY hour") == figures
    assert await count(owner, "market_data_jobs WHERE id = $1", done) == 0
    assert await count(owner, "market_data_jobs") == 3
    assert await violations(database) == {}
    await owner.execute("SELECT marketd_count_figures()")
    assert await owner.fetch("SELECT * FROM run_figures ORDER BY hour") == figures
    await owner.execute("UPDATE run_figures SET failed = failed + 1 WHERE hour > $1", NOW - timedelta(days=2))
    assert set(await violations(database)) == {"i20_run_figures"}


async def test_old_gaps_and_revisions_go_but_for_what_they_have_settled(database: str, owner: Connection) -> None:
    for ended, cause in ((LONG_AGO, "failed"), (LONG_AGO, "suspect"), (NOW, "failed")):
        await owner.execute(_GAP, LONG_AGO, ended, cause)
    for revised, kind in ((LONG_AGO, "revised"), (LONG_AGO, "vanished"), (NOW, "revised")):
        await owner.execute(_REVISION, revised, kind)
    async with Database(database) as opened:
        assert await Pruning(opened).prune(BEFORE) == {"runs": 0, "gaps": 1, "revisions": 1}
    assert [row[0] for row in await owner.fetch("SELECT cause FROM candle_gaps ORDER BY id")] == ["suspect", "failed"]
    kept = await owner.fetch("SELECT kind FROM candle_revisions ORDER BY id")
    assert [row[0] for row in kept] == ["vanished", "revised"]
    assert await count(owner, "marketd_pruned") == 3


async def test_the_runtime_role_takes_nothing_away(database: str, owner: Connection) -> None:
    async with Database(await login(owner, database, "marketd_run")) as opened:
        with pytest.raises(PrivilegeError):
            await Pruning(opened).prune(BEFORE)
