"""The five things that marketd does, each as a command that can be struck.

Owns what each begins from, what the world does meanwhile, and what must hold after its death and after its end.
Refuses to strike (see ``faults``) and to choose where (see ``campaign``).
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

from marketd.rehearsal.stats import Asked
from tests.jobfile import entry
from tests.prove import catalog, checks
from tests.prove.children import Child
from tests.prove.scenery import NAME, NOW, SYMBOLS
from tests.prove.stage import Seen, Stage

_LOOK_S = 0.015
_FIRST, _SECOND = SYMBOLS
_SYMBOLS = ("--exchange", NAME, "--symbol", _FIRST, "--symbol", _SECOND)

_CONFIG = f"""
jobs_file = "{{folder}}/jobs.toml"
owner = "prove"
timeframes = ["1m", "5m"]
[exchanges.{NAME}]
derive = {{{{"5m" = "1m"}}}}
[engine]
drain_s = 5
"""


class Flow:
    """A command, from ``template`` to its end; those below say more."""

    name: ClassVar[str]
    template: ClassVar[str] = "fresh"
    words: ClassVar[tuple[str, ...]]
    speed: ClassVar[float] = 1.0

    def set(self, stage: Stage, *, again: bool) -> None:
        """Write the files that the run reads."""
        (stage.folder / "marketd.toml").write_text(_CONFIG.format(folder=stage.folder))

    async def before(self, stage: Stage) -> Seen:
        return Seen(frozenset(await _wrong(stage)), await checks.uncounted(stage.connection))

    async def enact(self, stage: Stage, child: Child, *, again: bool) -> None:
        """What the world does while the run is under way; ended with it."""

    async def after_strike(self, stage: Stage, seen: Seen) -> list[str]:
        """What is wrong with what the struck run has left."""
        connection = stage.connection
        said = [one for one in await _wrong(stage) if one not in seen.wrong]
        said += await checks.late_pages(connection)
        uncounted = await checks.uncounted(connection)
        if uncounted != seen.uncounted:
            said.append(f"counters: the runs have counted {seen.uncounted - uncounted} candles more than they stored")
        seen.known, seen.asks = await checks.answered(connection), len(stage.asks)
        return said

    async def after_end(self, stage: Stage, seen: Seen) -> list[str]:
        """What is wrong after the second run, which nothing has struck."""
        known, asks = seen.known, seen.asks
        said = await self.after_strike(stage, Seen(uncounted=seen.uncounted))
        said += await checks.ended(stage.connection)
        said += await checks.complete(stage.connection, NOW)
        return [*said, *self.wasted(stage.asks[asks:], known)]

    def wasted(self, asks: Sequence[Asked], known: Mapping[tuple[str, str], frozenset[int]]) -> list[str]:
        """Asks of the second run that need not have been made."""
        return []


class Backfill(Flow):
    """Eight pages of two series, newest first, each with one built from it."""

    name = "backfill"
    words = ("backfill", *_SYMBOLS, "--timeframe", "5m", "--json")

    def wasted(self, asks: Sequence[Asked], known: Mapping[tuple[str, str], frozenset[int]]) -> list[str]:
        return checks.asked_again(asks, known)


class Repair(Flow):
    """Rows have disappeared, two candles could never be read; ordered by hand."""

    name = "repair"
    template = "holed"
    words = ("repair-gaps", *_SYMBOLS, "--json")


class Served(Flow):
    """A daemon, stopped by SIGTERM once ``done``."""

    words = ("run",)
    jobs: ClassVar[str]

    def set(self, stage: Stage, *, again: bool) -> None:
        super().set(stage, again=again)
        (stage.folder / "jobs.toml").write_text(self.jobs)

    async def enact(self, stage: Stage, child: Child, *, again: bool) -> None:
        done = await self.end_of(stage)
        await _until(done)
        child.send(signal.SIGTERM)

    async def end_of(self, stage: Stage) -> Callable[[], Awaitable[bool]]:
        """A condition that holds when the daemon that begins now has done enough."""
        connection = stage.connection
        last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM market_data_job_runs")

        async def done() -> bool:
            return bool(await connection.fetchval(_CYCLES, last)) and not await checks.owed(connection)

        return done


_CYCLES = """
SELECT count(*) = 4 AND min(runs) >= 2
FROM (SELECT r.job_id, count(*) AS runs FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
      WHERE r.id > $1 AND r.status = 'success' AND j.job_type <> 'backfill' GROUP BY r.job_id) AS each
"""


class Continuous(Served):
    """Two and more cycles of two series and those built from them; every other minute a repair with its looks."""

    name = "continuous"
    template = "filled"
    speed = 300.0
    jobs = entry("continuous", SYMBOLS, ("1m",), exchange=NAME, schedule="* * * * *") + entry(
        "gap_repair", SYMBOLS, ("1m",), exchange=NAME, schedule="*/2 * * * *"
    )


class Reload(Served):
    """The job file changes in every way under a daemon, and so does a row that an operator has made."""

    name = "reload"
    template = "filled"
    speed = 150.0
    jobs = entry("continuous", (_FIRST,), ("1m", "5m"), exchange=NAME, schedule="* * * * *") + entry(
        "backfill", (_FIRST,), ("1m",), exchange=NAME
    )
    new_jobs = f"""
[[jobs]]
exchange = "{NAME}"
symbols = ["{_FIRST}", "{_SECOND}"]
timeframes = ["1m"]
job_type = "continuous"
schedule = "*/2 * * * *"

[[jobs]]
exchange = "{NAME}"
symbols = ["{_FIRST}"]
timeframes = ["1m"]
job_type = "backfill"
start = 2023-11-15T02:00:00Z

[[jobs]]
exchange = "{NAME}"
job_type = "gap_repair"
schedule = "*/3 * * * *"
"""

    def set(self, stage: Stage, *, again: bool) -> None:
        super().set(stage, again=again)
        if again:
            (stage.folder / "jobs.toml").write_text(self.new_jobs)

    async def enact(self, stage: Stage, child: Child, *, again: bool) -> None:
        if not again:
            await _until(lambda: _has_rows(stage, OLD_ROWS))
            await stage.connection.execute(_OPERATORS_ROW)
            (stage.folder / "jobs.toml").write_text(self.new_jobs)
            child.send(signal.SIGHUP)
        await _until(lambda: _has_rows(stage, NEW_ROWS))
        await _until(await self.end_of(stage))
        child.send(signal.SIGTERM)

    async def end_of(self, stage: Stage) -> Callable[[], Awaitable[bool]]:
        connection = stage.connection
        last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM market_data_job_runs")

        async def done() -> bool:
            return bool(await connection.fetchval(_A_RUN_OF_EACH, last)) and not await checks.owed(connection)

        return done

    async def after_strike(self, stage: Stage, seen: Seen) -> list[str]:
        said = await super().after_strike(stage, seen)
        rows = await _file_rows(stage)
        if rows not in (frozenset(), OLD_ROWS, NEW_ROWS):
            said.append(f"job rows: neither those of the old file nor of the new one: {sorted(rows)}")
        return said

    async def after_end(self, stage: Stage, seen: Seen) -> list[str]:
        said = await super().after_end(stage, seen)
        rows = await _file_rows(stage)
        return said if rows == NEW_ROWS else [*said, f"job rows: not those of the new file: {sorted(rows)}"]


_OPERATORS_ROW = f"""
INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule)
VALUES ('{NAME}', '{_SECOND}', '5m', 'continuous', '* * * * *')
"""

_FILE_ROWS = """
SELECT coalesce(symbol, '*') || ' ' || coalesce(timeframe, '*') || ' ' || job_type || ' ' || coalesce(schedule, 'never')
    || coalesce(' from ' || to_char(start_time AT TIME ZONE 'UTC', 'HH24:MI'), '')
FROM market_data_jobs WHERE origin = 'file' AND enabled
"""

_A_RUN_OF_EACH = """
SELECT count(DISTINCT j.job_type) = 2 FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id
WHERE r.id > $1 AND r.status = 'success' AND j.job_type <> 'backfill'
"""

OLD_ROWS = frozenset(
    {f"{_FIRST} 1m continuous * * * * *", f"{_FIRST} 5m continuous * * * * *", f"{_FIRST} 1m backfill never"}
)
NEW_ROWS = frozenset(
    {
        f"{_FIRST} 1m continuous */2 * * * *",
        f"{_SECOND} 1m continuous */2 * * * *",
        f"{_FIRST} 1m backfill never from 02:00",
        "* * gap_repair */3 * * * *",
    }
)


async def _file_rows(stage: Stage) -> frozenset[str]:
    return frozenset(row[0] for row in await stage.connection.fetch(_FILE_ROWS))


async def _has_rows(stage: Stage, wanted: frozenset[str]) -> bool:
    return await _file_rows(stage) == wanted


class Migration(Flow):
    """An empty database."""

    name = "migration"
    template = "version_0"
    words = ("migrate",)

    async def before(self, stage: Stage) -> Seen:
        return Seen()

    async def after_strike(self, stage: Stage, seen: Seen) -> list[str]:
        return await catalog.torn(stage.connection, stage.scenery.versions)

    async def after_end(self, stage: Stage, seen: Seen) -> list[str]:
        said = await catalog.torn(stage.connection, stage.scenery.versions[-1:])
        return said or await checks.promises(stage.dsn)


class Upgrade(Migration):
    """A database at the first version, with rows in it."""

    name = "upgrade"
    template = "version_1"

    async def after_end(self, stage: Stage, seen: Seen) -> list[str]:
        said = await super().after_end(stage, seen)
        rows = await stage.connection.fetchval("SELECT count(*) FROM candles")
        return said if rows == catalog.ROWS else [*said, f"{rows} candles are left of {catalog.ROWS}"]


FLOWS: Mapping[str, Flow] = {
    flow.name: flow for flow in (Backfill(), Continuous(), Repair(), Reload(), Migration(), Upgrade())
}


async def _wrong(stage: Stage) -> list[str]:
    return [*await checks.promises(stage.dsn), *await checks.truth(stage.connection)]


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110  (it is in another process)
        await asyncio.sleep(_LOOK_S)
