"""Jobs and their runs.

Owns the rows of ``market_data_jobs`` and ``market_data_job_runs``: a firing is recorded before it starts and runs
once; an order by hand is a job row of its own; rows from a job file follow the file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from marketd.clock import at
from marketd.errors import LeaseLost
from marketd.model import JobRow, RunStatus
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Connection, Database


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def enabled_jobs(self) -> Sequence[Mapping[str, Any]]:
        """Rows of all enabled jobs but orders, lowest id first; not validated."""
        async with self._database.session() as connection:
            return [dict(row) for row in await connection.fetch(sql("enabled_jobs"))]

    async def jobs_digest(self) -> str:
        """Another text whenever something has changed of which the job set is made."""
        async with self._database.session() as connection:
            found: str = await connection.fetchval(sql("jobs_digest"))
        return found

    async def file_jobs(self, owner: str) -> Sequence[Mapping[str, Any]]:
        async with self._database.session() as connection:
            return [dict(row) for row in await connection.fetch(sql("file_jobs"), owner)]

    async def add_job(self, job: JobRow) -> int:
        """Write a job; returns its id."""
        async with self._database.session() as connection:
            found: int = await connection.fetchval(sql("insert_job"), *insertable(job))
        return found

    async def follow_file(self, added: Sequence[JobRow], changed: Mapping[int, JobRow], removed: Sequence[int]) -> None:
        """Bring the rows of a job file up to date, in one transaction; entries that left it are disabled."""
        async with self._database.session() as connection, connection.transaction():
            for job in added:
                await connection.execute(sql("insert_job"), *insertable(job))
            for number, job in changed.items():
                await connection.execute(
                    sql("update_file_job"), number, job.schedule, job.enabled, codec.moment(job.start_ms),
                    codec.moment(job.end_ms), job.catch_up, job.timeout_s, job.freshness_s, job.jitter_s,
                )  # fmt: skip
            await connection.execute(sql("disable_jobs"), list(removed))

    async def backfill_rows(self) -> Sequence[Mapping[str, Any]]:
        """All backfill rows but orders, enabled or not; not validated."""
        async with self._database.session() as connection:
            return [dict(row) for row in await connection.fetch(sql("backfill_rows"))]

    async def keep_auto(self, create: Sequence[int], enable: Sequence[int], disable: Sequence[int]) -> None:
        """Make the backfill rows that the rows ``create`` cause; enable and disable others of origin auto."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("create_auto_jobs"), list(create))
            await connection.execute(sql("need_auto_jobs"), list(enable), list(disable))

    async def note_refused(self, reasons: Mapping[int, str]) -> None:
        """Write into each row why it is left out."""
        async with self._database.session() as connection:
            await connection.execute(sql("note_refused"), list(reasons), list(reasons.values()))

    async def last_firings(self) -> dict[int, int]:
        """The newest recorded ``scheduled_for`` of each job, in ms."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("last_firings"))
        return {row["job_id"]: codec.millis(row["scheduled_for"]) or 0 for row in rows}

    async def begin(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int) -> dict[int, int]:
        """Record (job id, scheduled ms) firings as running; job id -> run id of those that may start.

        The caller runs none of these jobs, so rows that are still marked running are closed first. LeaseLost when
        another process has taken the exchange over: only the holder records firings.
        """
        jobs = [job for job, _ in firings]
        times = [at(ms) for _, ms in firings]
        async with self._database.session() as connection, connection.transaction():
            await _fence(connection, exchange, epoch)
            await connection.execute(sql("close_orphans"), jobs, epoch)
            rows = await connection.fetch(sql("begin_runs"), jobs, times, epoch)
        return {row["job_id"]: row["id"] for row in rows}

    async def under_way(self, exchange: str, epoch: int) -> dict[int, int]:
        """Job id -> run id of what this holder has begun and not ended; orders by hand are in ``Orders.open``."""
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("under_way"), exchange, epoch)
        return {row["job_id"]: row["id"] for row in rows}

    async def skip(self, exchange: str, firings: Sequence[tuple[int, int]], epoch: int, reason: str) -> None:
        """Record (job id, scheduled ms) firings that start nothing; LeaseLost as in ``begin``."""
        async with self._database.session() as connection, connection.transaction():
            await _fence(connection, exchange, epoch)
            await connection.execute(
                sql("skip_runs"), [job for job, _ in firings], [at(ms) for _, ms in firings], epoch, reason
            )

    async def finish(self, run: int, status: RunStatus, error: str | None, requests: int) -> None:
        """Close a run that is open still; what it has stored and found was counted with its pages."""
        async with self._database.session() as connection:
            await connection.execute(sql("finish_run"), run, status, error, requests)

    async def note_job(self, job: int, status: str, error: str | None) -> None:
        async with self._database.session() as connection:
            await connection.execute(sql("note_job"), job, status, error)

    async def interrupt(self, exchange: str, epoch: int) -> None:
        """Close what this holder of the exchange leaves unfinished."""
        async with self._database.session() as connection:
            await connection.execute(sql("interrupt_runs"), exchange, epoch + 1)


async def _fence(connection: Connection, exchange: str, epoch: int) -> None:
    if await connection.fetchval(sql("fence"), exchange, epoch) is None:
        raise LeaseLost(f"another process has taken {exchange} over")


def insertable(job: JobRow) -> tuple[Any, ...]:
    """A new row, in the order of ``insert_job``."""
    return (
        job.exchange, job.symbol, job.timeframe, job.job_type, job.schedule, job.enabled, codec.moment(job.start_ms),
        codec.moment(job.end_ms), job.origin, job.owner, job.catch_up, job.timeout_s, job.freshness_s,
        job.jitter_s,
    )  # fmt: skip
