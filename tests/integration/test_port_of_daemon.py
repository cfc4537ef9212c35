"""What a living daemon answers: right after its first start, during a backfill, and with the database away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.daemon import Daemon
from marketd.rehearsal.faults import Faults, Latency
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests import shapes
from tests.daemons import running, until
from tests.wire import Wire

pytestmark = pytest.mark.once

DAY = 86_400_000
START = 1_700_006_400_000
ONE = "?exchange=bitfinex&symbol=BTCUSD&timeframe=1m"
HELD = (
    "INSERT INTO exchange_leases (exchange, holder, kind, epoch, expires_at) "
    "VALUES ('bitfinex', 'elsewhere:7', 'daemon', 1, now() + interval '1 hour')"
)


async def answer(daemon: Daemon, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{daemon.address}{path}") as reply:
        return reply.status, await reply.json()


async def check(daemon: Daemon, table: Mapping[str, tuple[int, Any]]) -> Mapping[str, Any]:
    """The answers to the paths of ``table``, each with its status and exactly its shape."""
    found = {}
    for path, (status, shape) in table.items():
        code, found[path] = await answer(daemon, path)
        assert code == status, path
        assert shapes.mistakes(found[path], shape, path) == []
    return found


REACHED = {
    f"/ingestion/status{ONE}": (200, shapes.SERIES),
    "/ingestion/status?exchange=bitfinex&symbol=NONE&timeframe=1m": (200, shapes.SERIES),
    "/ingestion/status": (200, shapes.WHOLE),
    "/ingestion/status?exchange=bitfinex&limit=1": (200, shapes.WHOLE),
    "/ingestion/status?symbol=BTCUSD": (422, {"detail": str}),
    "/ingestion/status?timeframe=1m": (422, {"detail": str}),
    "/jobs": (200, shapes.JOBS),
    "/health": (200, shapes.HEALTH),
    "/readyz": (200, {"status": str, "reasons": (str,)}),
}
CUT = {
    f"/ingestion/status{ONE}": (200, {**shapes.SERIES, **shapes.AWAY}),
    "/ingestion/status": (200, {**shapes.WHOLE, **shapes.AWAY}),
    "/ingestion/status?exchange=bitfinex&limit=1": (200, {**shapes.WHOLE, **shapes.AWAY}),
    "/ingestion/status?symbol=BTCUSD": (422, {"detail": str}),
    "/jobs": (503, {"detail": str}),
    "/health": (503, shapes.UNHEALTHY),
    "/readyz": (503, {"status": str, "reasons": (str,)}),
    "/livez": (200, {"status": str, "last_turn_seconds": float}),
}  # fmt: skip


async def test_every_answer_has_its_keys_and_types_in_every_state(database: str, tmp_path: Path) -> None:
    market, clock = synthetic(3, ("BTCUSD",), START, START + 60 * DAY, 0.2), ScaledClock(START + 50 * DAY)
    faults = Faults(clock)
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(HELD)  # a standby: no job runs yet
        async with (
            Wire(database).laid() as wire,
            RehearsalServer(market, clock, faults) as server,
            running(wire.dsn, tmp_path, server.base_url, clock) as daemon,
        ):
            await until(lambda: loaded(daemon))
            before_any_run(await check(daemon, REACHED))
            faults.add(Latency(delay_s=1, timeframes=("1m",)))
            await connection.execute("UPDATE exchange_leases SET expires_at = now()")
            await until(lambda: stored(daemon))
            daemon.reload()
            await until(lambda: told(daemon))
            during_a_backfill(await check(daemon, REACHED))
            wire.cut()
            while_it_is_away(await check(daemon, CUT))
            wire.mend()
            await until(lambda: ready(daemon))
            await check(daemon, REACHED)
    finally:
        await connection.close()


def before_any_run(found: Mapping[str, Any]) -> None:
    one, whole = found[f"/ingestion/status{ONE}"], found["/ingestion/status"]
    assert (one["candles_count"], one["latest_candle_open_time"], one["last_run"]) == (0, None, None)
    assert (one["db_ok"], one["schema_ok"], one["complete"]) == (True, True, False)
    assert (whole["runs_24h"]["total"], whole["last_run"], whole["last_success"]) == (0, None, None)
    assert len(whole["jobs"]) == len(found["/jobs"]["jobs"]) == 7
    assert found["/jobs"]["last_reload"] is None


def during_a_backfill(found: Mapping[str, Any]) -> None:
    one, whole, jobs = found[f"/ingestion/status{ONE}"], found["/ingestion/status"], found["/jobs"]
    assert one["candles_count"] > 0
    assert one["unknown_intervals"] > 0
    assert one["last_run"]["status"] == "running"
    assert whole["runs_24h"]["running"] > 0
    assert [each for each in whole["series"] if each["timeframe"] == "1m"] != []
    assert [job for job in jobs["jobs"] if job["running"] and job["job_type"] == "backfill"] != []
    assert jobs["last_reload"]["outcome"] == "accepted"


def while_it_is_away(found: Mapping[str, Any]) -> None:
    one, whole = found[f"/ingestion/status{ONE}"], found["/ingestion/status"]
    for shape in (one, whole):
        assert (shape["db_ok"], shape["schema_ok"], shape["error"]) == (False, False, "DatabaseUnavailable")
    assert (one["candles_count"], one["latest_candle_open_time"]) == (None, None)
    assert (whole["series"], whole["jobs"]) == ([], [])
    assert found["/readyz"]["reasons"] == ["the database is out of reach"]


async def loaded(daemon: Daemon) -> bool:
    return bool((await answer(daemon, "/jobs"))[1]["jobs"]) and await ready(daemon)


async def ready(daemon: Daemon) -> bool:
    return (await answer(daemon, "/readyz"))[0] == 200


async def stored(daemon: Daemon) -> bool:
    return bool((await answer(daemon, f"/ingestion/status{ONE}"))[1]["candles_count"])


async def told(daemon: Daemon) -> bool:
    return (await answer(daemon, "/jobs"))[1]["last_reload"] is not None
