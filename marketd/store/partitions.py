"""Giving candles a table for each year.

Owns the steps from one table to many: a mirror, the copy in portions beside everybody else's work, the comparison, and
the moment in which the names change. What is interrupted is gone on with. All of it is for the owner of the table; only
``next_years`` is for the role ``marketd_retain``, too.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from marketd.errors import Busy, DatabaseUnavailable
from marketd.model import Series
from marketd.store.queries import sql
from marketd.store.session import Connection, Database

_PORTION = 20_000  # candles a transaction: writers wait for it
_PATIENCE_S = 2.0
_TRIES = 30
_LOCKED = ("55P03", "40P01")

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """About so many ``candles`` take so many ``bytes``, indexes included, in so many ``tables``; ``begun``: they are
    being copied.
    """

    partitioned: bool
    begun: bool
    candles: int
    bytes: int
    tables: int


@dataclass(frozen=True, slots=True)
class Compared:
    """So many candles are the same in both tables, to the last digit; series that ``differ`` have some that are not."""

    candles: int
    differ: Sequence[Series]


class Partitions:
    """``sleep`` is asked to wait where another session holds a lock for long."""

    def __init__(self, database: Database, sleep: Sleep) -> None:
        self._database = database
        self._sleep = sleep

    async def state(self) -> State:
        async with self._database.session() as connection:
            row = await connection.fetchrow(sql("partition_state"))
        assert row is not None  # noqa: S101  (the schema is current: the table is there)
        return State(*row)

    async def obstacles(self) -> Sequence[str]:
        """What belongs to the table and could not go over to another one."""
        async with self._database.session() as connection:
            return [row["obstacle"] for row in await connection.fetch(sql("partition_obstacles"))]

    async def begin(self) -> None:
        """The new tables, and from now on everything that is written goes to both."""
        await self._patiently(lambda connection: connection.execute(sql("partition_begin")))

    async def reached(self) -> int:
        """How many candles are copied."""
        return await self._patiently(lambda connection: connection.fetchval(sql("partition_reached")))

    async def copy(self) -> int:
        """The next portion; how many candles it had, 0 where all are copied."""
        return await self._patiently(lambda connection: connection.fetchval(sql("partition_copy"), _PORTION))

    async def compare(self, tell: Callable[[str], None]) -> Compared:
        """Hold both tables against each other, series by series: they are the same, or something has gone wrong."""
        found = await self._patiently(lambda connection: connection.fetch(sql("partition_series")))
        candles, differ = 0, list[Series]()
        for number, row in enumerate(found):
            series = Series(*row)
            tell(f"comparing: {number} of {len(found)} series")
            same = await self._same(series)
            if same is None:
                differ.append(series)
            candles += same or 0
        return Compared(candles, tuple(differ))

    async def _same(self, series: Series) -> int | None:
        return await self._patiently(lambda connection: connection.fetchval(sql("partition_same"), *series))

    async def finish(self) -> None:
        """The new tables take the place of the old one, which is gone."""
        await self._patiently(lambda connection: connection.execute(sql("partition_finish")))
        await self._patiently(lambda connection: connection.execute(sql("partition_analyse")))

    async def abandon(self) -> None:
        """As if it had never begun."""
        await self._patiently(lambda connection: connection.execute(sql("partition_abandon")))

    async def next_years(self) -> int:
        """Tables for this year and the next where they are lacking; how many were made."""
        async with self._database.session() as connection:
            return int(await connection.fetchval(sql("partition_years")))

    async def _patiently(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What ``work`` says, as the table's owner; Busy where others hold their locks for a minute."""
        for tries_left in reversed(range(_TRIES)):
            try:
                async with self._database.session() as connection, connection.transaction():
                    await connection.execute(sql("partition_owner"))
                    return await work(connection)
            except DatabaseUnavailable as error:
                if error.sqlstate not in _LOCKED:
                    raise
                if not tries_left:
                    raise Busy(
                        f"another session has held the table candles for a minute ({error}): end it, and run this "
                        "again, it goes on where it was"
                    ) from error
            await self._sleep(_PATIENCE_S)
        raise AssertionError("unreachable: the last try raises")
