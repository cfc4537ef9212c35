"""A reload whose database goes away half-way, at each of its sessions: old or new, never something in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from marketd.bulletin import ACCEPTED, WAITING, Bulletin, News, Verdict
from marketd.clock import SystemClock
from marketd.config import Config, build, read_text
from marketd.jobset import JobSet
from marketd.jobtable import JobTable, job_file
from marketd.keeper import Keeper
from marketd.store.runs import Runs
from marketd.store.session import Connection, Database
from tests.daemons import JOBS, until
from tests.jobfile import entry
from tests.wire import Wire

ETH = entry("continuous", ("ETHUSD",), ("1h",), schedule="*/15 * * * *")
OLD, NEW = JOBS, JOBS.replace("*/5", "*/10") + ETH


class Cut(Database):
    """The database is cut off just before its ``left``-th session from now."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire.dsn, size=1)
        self._wire = wire
        self.left = 0

    @asynccontextmanager
    async def session(self, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        self.left -= 1
        if self.left == 0:
            self._wire.cut()
        async with super().session(snapshot=snapshot) as connection:
            yield connection


@dataclass
class Told:
    """What a daemon hears of its keeper."""

    sets: list[JobSet] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def take(self, config: Config, jobs: JobSet) -> None:
        self.sets.append(jobs)

    async def heard(self) -> bool:
        return bool(self.verdicts)


def schedules(jobs: JobSet) -> Mapping[str, str | None]:
    return {f"{job.symbol} {job.timeframe}": job.schedule for job in jobs.jobs.values() if job.schedule is not None}


async def test_a_database_that_goes_half_way_through_a_reload_leaves_the_old_set_in_force(
    database: str, tmp_path: Path
) -> None:
    """fault_59."""
    file = tmp_path / "jobs.toml"
    file.write_text(OLD)
    config = build(f'jobs_file = "{file}"\nowner = "test"', {"DATABASE_URL": database}, None, read_text)
    clock, told, wanted = SystemClock(), Told(), asyncio.Event()
    async with Wire(database).laid() as wire, Cut(wire) as opened:
        keeper = Keeper(
            lambda: config, JobTable(Runs(opened), clock), clock, Bulletin(tmp_path / "run"), take=told.take,
            begin=lambda: None, tell=told.verdicts.append, turned=lambda: None, config=config, jobs=JobSet(),
            news=News(1),
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(keeper.keep(job_file(config, clock.now_ms()), wanted))
        await until(lambda: _holds(told, "*/5 * * * *"))
        sessions = 0
        while opened.left <= 0:  # until one ends before it is cut off
            sessions += 1
            wished = "*/10 * * * *" if sessions % 2 else "*/5 * * * *"
            file.write_text(NEW if sessions % 2 else OLD)
            before = told.sets[-1]
            told.verdicts.clear()
            opened.left = sessions
            wanted.set()
            await until(told.heard)
            if told.verdicts[0].outcome == WAITING:
                assert told.sets[-1] is before, f"cut off before session {sessions}"
                wire.mend()
            await until(lambda: _concluded(told))
            assert schedules(told.sets[-1])["BTCUSD 1m"] == wished
            assert ("ETHUSD 1h" in schedules(told.sets[-1])) == bool(sessions % 2)
        assert sessions > 4
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _holds(told: Told, schedule: str) -> bool:
    return bool(told.sets) and schedules(told.sets[-1]).get("BTCUSD 1m") == schedule


async def _concluded(told: Told) -> bool:
    assert {verdict.outcome for verdict in told.verdicts} <= {WAITING, ACCEPTED}, told.verdicts
    return told.verdicts[-1].outcome == ACCEPTED
