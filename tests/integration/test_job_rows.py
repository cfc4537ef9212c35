"""Rows of the job table as operators change them, and what the daemon and the port then see."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import asyncpg
import pytest

from marketd.clock import SystemClock, at
from marketd.config import build, read_text
from marketd.errors import JobRefused
from marketd.jobset import job_set
from marketd.jobtable import JobTable
from marketd.model import JobRow, JobType
from marketd.store.jobrows import JobRows
from marketd.store.reports import Reports
from marketd.store.runs import Runs
from marketd.store.session import Database
from tests.command import NOW_MS

BTC = JobRow("bitfinex", "BTCUSD", "1m", JobType.BACKFILL)


async def test_nobody_changes_the_table_in_between(database: str) -> None:
    connection = await asyncpg.connect(database)
    lock = "BEGIN; LOCK TABLE market_data_jobs IN {} MODE NOWAIT; ROLLBACK"
    try:
        async with Database(database, size=1) as opened, JobRows(opened).changing():
            await connection.execute(lock.format("ROW SHARE"))  # what recording a run takes
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute(lock.format("SHARE ROW EXCLUSIVE"))
    finally:
        await connection.close()


async def test_an_error_undoes_a_change(database: str) -> None:
    async with Database(database, size=1) as opened:

        async def refused() -> None:
            async with JobRows(opened).changing() as change:
                await change.add(BTC)
                raise JobRefused("after all")

        with pytest.raises(JobRefused):
            await refused()
        assert await Runs(opened).enabled_jobs() == []


async def test_the_later_of_two_pauses_counts(database: str) -> None:
    own, of_the_exchange = NOW_MS + 60_000, NOW_MS + 120_000
    async with Database(database, size=2) as opened:
        runs, rows = Runs(opened), JobRows(opened)
        ids = [
            await runs.add_job(JobRow("bitfinex", "BTCUSD", frame, JobType.CONTINUOUS, "* * * * *", jitter_s=7.5))
            for frame in ("1m", "1h", "1d")
        ]  # fmt: skip
        await rows.pause_exchange("kraken", None)
        async with rows.changing() as change:
            await change.pause(ids[:1], own)
            await change.pause(ids[1:2], of_the_exchange + 1)

        async def ends() -> list[int | None]:
            jobs = job_set(await runs.enabled_jobs(), ("1m",), {}, {}, 120).jobs
            assert jobs[ids[0]].jitter_s == 7.5
            return [jobs[number].paused_until_ms for number in ids]

        assert await ends() == [own, of_the_exchange + 1, None]
        await rows.pause_exchange("bitfinex", of_the_exchange)
        assert await ends() == [of_the_exchange, of_the_exchange + 1, of_the_exchange]
        await rows.pause_exchange("bitfinex", None)
        assert {at(ms or 0).year for ms in await ends()} == {9999}
        reported = await Reports(opened).jobs()
        assert {(each.paused, each.paused_until_ms, each.jitter_s) for each in reported} == {(True, None, 7.5)}
        await rows.resume_exchange("bitfinex")
        assert await ends() == [own, of_the_exchange + 1, None]


async def test_the_port_shows_no_removed_job(database: str) -> None:
    async with Database(database, size=1) as opened:
        number = await Runs(opened).add_job(BTC)
        async with JobRows(opened).changing() as change:
            assert await change.remove([number, 99]) == {number}
        assert await Reports(opened).jobs() == ()


async def test_an_entry_of_the_job_file_brings_its_removed_row_back(database: str) -> None:
    async with Database(database, size=1) as opened:
        runs = Runs(opened)
        number = await runs.add_job(replace(BTC, origin="file", owner="here"))
        async with JobRows(opened).changing() as change:
            await change.remove([number])
        await runs.follow_file([], {number: BTC}, [])
        assert [row["id"] for row in await runs.enabled_jobs()] == [number]


GOOD = {
    "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "continuous", "schedule": "*/5 * * * *",
}  # fmt: skip
TAKEN: Sequence[tuple[Mapping[str, object], str]] = (
    ({"exchange": "krakn"}, "unknown exchange"),
    ({"exchange": ""}, "exchange"),
    ({"timeframe": "7x"}, "unknown timeframe"),
    ({"symbol": "x" * 10_000}, "not a Bitfinex pair"),
    ({"symbol": "BTC\x1b[2JUSD"}, "not a Bitfinex pair"),
    ({"symbol": "ＢＴＣＵＳＤ"}, "not a Bitfinex pair"),
    ({"symbol": "'; DROP TABLE candles"}, "not a Bitfinex pair"),
    ({"symbol": "ETHUSD", "schedule": "* * * * * *"}, "6 fields"),
    ({"symbol": "ETHUSD", "schedule": "*/0 * * * *"}, "not acceptable"),
    ({"symbol": "ETHUSD", "schedule": "0 0 31 2 *"}, "is not one"),
    ({"symbol": "ETHUSD", "schedule": "@reboot"}, "words are not accepted"),
    ({"symbol": "ETHUSD", "schedule": "1," * 2048}, "at most 256"),
    ({}, "job 1 does the same"),
)
"""Rows that anybody who may write to the table can leave there, and why they are not worked on."""
REFUSED: Sequence[Mapping[str, object]] = (
    {"job_type": "fill"}, {"job_type": None}, {"exchange": None}, {"enabled": None}, {"timeout_s": -1.0},
    {"freshness_s": 0.0}, {"jitter_s": -5.0}, {"catch_up": "all"}, {"origin": "evil"},
)  # fmt: skip


async def test_rows_of_no_use_are_named_and_the_rest_is_worked_on(database: str) -> None:
    """fault_56, fault_57, fault_71."""
    connection = await asyncpg.connect(database)
    try:
        good = await put(connection, {})
        bad = {await put(connection, columns): reason for columns, reason in TAKEN}
        for columns in REFUSED:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await put(connection, columns)
        assert good == 1
        async with Database(database, size=1) as opened:
            jobs = await JobTable(Runs(opened), SystemClock()).read(
                build("", {"DATABASE_URL": database}, None, read_text)
            )
            assert [number for number, job in jobs.jobs.items() if job.origin == "sql"] == [good]
            assert {number: reason in jobs.refused[number] for number, reason in bad.items()} == dict.fromkeys(
                bad, True
            )
            assert all(why.isprintable() and len(why) < 600 for why in jobs.refused.values())
            await Runs(opened).note_refused(jobs.refused)
        noted = await connection.fetch("SELECT id, last_error FROM market_data_jobs WHERE status = 'refused'")
        assert {row["id"]: row["last_error"] for row in noted} == jobs.refused
    finally:
        await connection.close()


async def put(connection: "asyncpg.Connection[asyncpg.Record]", columns: Mapping[str, object]) -> int:
    row = {**GOOD, **columns}
    names, places = ", ".join(row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
    found: int = await connection.fetchval(
        f"INSERT INTO market_data_jobs ({names}) VALUES ({places}) RETURNING id",
        *row.values(),
    )
    return found
