"""Rows of the job table as operators change and see them.

Owns the transaction in which a change is decided and made: nobody else's change comes in between, and nothing of it
stays when it is refused. Refuses to judge (who may change which row is said by the caller, and by the database).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from marketd.clock import at, ms_of
from marketd.model import JobRow, JobType, Slot
from marketd.store.queries import sql
from marketd.store.runs import insertable
from marketd.store.session import Connection, Database
from marketd.text import clean


@dataclass(frozen=True, slots=True)
class KnownJob:
    """What is known of a row before it is changed; not validated."""

    id: int
    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    enabled: bool
    origin: str
    owner: str | None
    removed: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            row["id"], row["exchange"], row["symbol"], row["timeframe"], JobType(row["job_type"]), row["enabled"],
            row["origin"], row["owner"], row.get("removed_at") is not None,
        )  # fmt: skip

    @property
    def slot(self) -> Slot:
        return self.exchange, self.symbol, self.timeframe, self.job_type

    def __str__(self) -> str:
        return clean(str(JobRow(*self.slot)))


@dataclass(frozen=True, slots=True)
class Pause:
    """An exchange of which nothing is fired before ``until_ms``, in the year 9999 where only a resume ends it."""

    exchange: str
    until_ms: int
    noted_ms: int


class JobRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(
        self, exchange: str | None, symbol: str | None, job_type: str | None, *, everything: bool
    ) -> Sequence[Mapping[str, Any]]:
        """Rows that match, by id, not validated; with ``everything`` removed ones and ended orders too."""
        async with self._database.session() as connection:
            found = await connection.fetch(sql("listed_jobs"), exchange, symbol, job_type, everything)
        return [dict(row) for row in found]

    async def known(self, ids: Sequence[int]) -> dict[int, KnownJob]:
        """The rows with these ids that exist."""
        async with self._database.session() as connection:
            return await _known(connection, ids)

    async def pauses(self, exchange: str | None = None) -> tuple[Pause, ...]:
        """Pauses of whole exchanges that are not over."""
        async with self._database.session() as connection:
            found = await connection.fetch(sql("exchange_pauses"), exchange)
        return tuple(Pause(row["exchange"], ms_of(row["paused_until"]), ms_of(row["noted_at"])) for row in found)

    async def pause_exchange(self, exchange: str, until_ms: int | None) -> None:
        """Pause all jobs of an exchange; None: until it is resumed."""
        async with self._database.session() as connection:
            await connection.execute(sql("pause_exchange"), exchange, _until(until_ms))

    async def resume_exchange(self, exchange: str) -> None:
        async with self._database.session() as connection:
            await connection.execute(sql("resume_exchange"), exchange)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator["JobChange"]:
        """One change of the table, whole or not at all: an error that leaves the block undoes it."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_jobs"))
            yield JobChange(connection)


@dataclass(frozen=True, slots=True)
class JobChange:
    """A change under way. Those that update return the ids that the role was allowed to reach."""

    connection: Connection

    async def known(self, ids: Sequence[int]) -> dict[int, KnownJob]:
        return await _known(self.connection, ids)

    async def enabled(self) -> Sequence[Mapping[str, Any]]:
        """Rows of all enabled jobs but orders, not validated."""
        return [dict(row) for row in await self.connection.fetch(sql("enabled_jobs"))]

    async def add(self, job: JobRow) -> int:
        found: int = await self.connection.fetchval(sql("insert_job"), *insertable(job))
        return found

    async def enable(self, ids: Sequence[int], enabled: bool) -> set[int]:
        return {row["id"] for row in await self.connection.fetch(sql("enable_jobs"), ids, enabled)}

    async def remove(self, ids: Sequence[int]) -> set[int]:
        """Disabled and out of sight; the rows stay, since their runs are history."""
        return {row["id"] for row in await self.connection.fetch(sql("remove_jobs"), ids)}

    async def pause(self, ids: Sequence[int], until_ms: int | None) -> None:
        """None: until they are resumed."""
        await self.connection.execute(sql("pause_jobs"), ids, _until(until_ms))

    async def resume(self, ids: Sequence[int]) -> None:
        await self.connection.execute(sql("pause_jobs"), ids, None)


async def _known(connection: Connection, ids: Sequence[int]) -> dict[int, KnownJob]:
    rows = await connection.fetch(sql("known_jobs"), ids)
    return {row["id"]: KnownJob.of(dict(row)) for row in rows}


def _until(ms: int | None) -> str:
    return "infinity" if ms is None else at(ms).isoformat()
