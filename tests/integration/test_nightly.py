"""The nightly look of the daemon: when it is due, what it keeps, and what metrics say of it."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from marketd.clock import ScaledClock, ms_of
from marketd.figures import Verification
from marketd.metrics import Metrics
from marketd.nightly import Nightly, due, until_next_s
from marketd.ranges import Ranges
from marketd.store.reports import Reports
from marketd.store.session import Database
from tests.daemons import until
from tests.integration.ledger_rows import BLOCK, DAY, START, Rows

NIGHT_MS = ms_of(START) + int(timedelta(hours=3, minutes=30).total_seconds() * 1000)
DAY_MS = 86_400_000
NIGHTLY = "30 3 * * *"


def ended(at_ms: int) -> Verification:
    return Verification(at_ms - 1000, at_ms, "sample", 1, 1, {})


@pytest.mark.parametrize(
    ("schedule", "last", "now_ms", "is_due"),
    [
        (NIGHTLY, None, NIGHT_MS, True),
        (NIGHTLY, ended(NIGHT_MS - 1000), NIGHT_MS - 1, False),
        (NIGHTLY, ended(NIGHT_MS - 1000), NIGHT_MS, True),
        (NIGHTLY, ended(NIGHT_MS + 5000), NIGHT_MS + DAY_MS - 1, False),
        (NIGHTLY, ended(NIGHT_MS + 5000), NIGHT_MS + DAY_MS, True),
        (NIGHTLY, ended(NIGHT_MS + 5000), NIGHT_MS + 9 * DAY_MS, True),
        ("", None, NIGHT_MS, False),
    ],
)
def test_it_is_due_once_a_firing_and_when_nobody_ever_looked(
    schedule: str, last: Verification | None, now_ms: int, is_due: bool
) -> None:
    assert due(schedule, last, now_ms) is is_due


def test_it_waits_for_the_next_firing_but_not_for_long() -> None:
    assert until_next_s(NIGHTLY, NIGHT_MS - 5000) == 5
    assert until_next_s(NIGHTLY, NIGHT_MS) == until_next_s("", NIGHT_MS) == 600
    assert until_next_s("* * * * *", NIGHT_MS + 1500) == 58.5


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"marketd_{name}", labels)
    assert found is not None
    return found


async def runs(connection: "asyncpg.Connection[asyncpg.Record]") -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT kind, violations::text FROM verify_runs ORDER BY id")
    return [tuple(row) for row in rows]


async def test_what_it_finds_is_kept_and_after_it_all_is_looked_at(database: str) -> None:
    connection = await asyncpg.connect(database)
    rows, clock, metrics = Rows(connection), ScaledClock(NIGHT_MS, speed=600), Metrics()
    await rows.block(BLOCK, Ranges.of(DAY))
    async with Database(database, size=1) as opened, asyncio.TaskGroup() as group:
        watch = group.create_task(Nightly(opened, clock, metrics, lambda: NIGHTLY).watch())

        async def looked(times: int) -> bool:
            return len(await runs(connection)) == times

        await until(lambda: looked(1), 20)
        clock.jump(24 * 3600)
        await until(lambda: looked(2), 20)
        await connection.execute("DELETE FROM candle_coverage")
        clock.jump(24 * 3600)
        await until(lambda: looked(3), 20)
        watch.cancel()
        last = await Reports(opened).last_verification()
    kinds = [(kind, violations != "{}") for kind, violations in await runs(connection)]
    assert kinds == [("sample", True), ("full", True), ("full", False)]
    assert value(metrics, "verify_runs_total", outcome="violated") == 2
    assert value(metrics, "verify_runs_total", outcome="clean") == 1
    assert last is not None
    metrics.last_verification(last)
    assert value(metrics, "invariant_violations", id="i01_accounted") == 0
    assert value(metrics, "verify_last_run_timestamp_seconds") == pytest.approx(
        NIGHT_MS / 1000 + 48 * 3600, abs=12 * 3600
    )
    assert value(metrics, "verify_last_run_ratio") == 1
    await connection.close()


async def test_a_database_that_is_away_is_waited_for() -> None:
    metrics = Metrics()
    away = Database("postgresql://nobody@127.0.0.1:9/none", size=1)
    async with away, asyncio.TaskGroup() as group:
        watch = group.create_task(Nightly(away, ScaledClock(NIGHT_MS), metrics, lambda: NIGHTLY).watch())

        async def failed() -> bool:
            return value(metrics, "verify_runs_total", outcome="failed") == 1

        await until(failed, 20)
        assert not watch.done()
        watch.cancel()
