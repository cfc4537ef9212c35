"""Orders by hand, as rows.

Owns the job rows of origin ``order``: given by a command, carried out by whoever works on the exchange, followed from
anywhere. A row is enabled from when it is given until its run has ended; disabling it withdraws it. Its owner is who
gave it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketd.model import JobType, RunStatus, Tally
from marketd.store import codec
from marketd.store.queries import sql
from marketd.store.session import Connection, Database


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order as it is given; ``symbol`` None: every tracked series, ``timeframe`` None: all configured ones."""

    exchange: str
    symbol: str | None
    timeframe: str | None
    job_type: JobType
    start_ms: int | None = None
    end_ms: int | None = None
    refetch: bool = False
    oldest_first: bool = False
    most_gaps: int | None = None


@dataclass(frozen=True, slots=True)
class OrderState:
    """How far an order is. ``status`` None: not begun; ``waiting`` False then says that it was withdrawn."""

    id: int
    waiting: bool
    run_id: int | None
    status: RunStatus | None
    tally: Tally
    error: str | None

    @property
    def ended(self) -> bool:
        return not self.waiting if self.status is None else self.status is not RunStatus.RUNNING


class Orders:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def give(self, orders: Sequence[OrderRow], giver: str) -> Sequence[int]:
        """Write the orders, all of them or none; returns the ids of their rows.

        ``giver`` is a name that nobody else gives orders by: where the answer to this is lost, they can be taken back
        by it.
        """
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_orders"), giver)
            return [await _insert(connection, order, giver) for order in orders]

    async def open(self, exchange: str) -> Sequence[Mapping[str, Any]]:
        """Rows of orders that wait or are under way, oldest first; not validated.

        ``run_id``, ``run_status`` and ``epoch`` are of its run, None while it waits.
        """
        async with self._database.session() as connection:
            return [dict(row) for row in await connection.fetch(sql("open_orders"), exchange)]

    async def withdraw(self, ids: Sequence[int]) -> None:
        """Take orders back: what waits is never begun, what runs stops at its next page border."""
        async with self._database.session() as connection:
            await connection.execute(sql("withdraw_orders"), list(ids))

    async def withdraw_all(self, giver: str) -> None:
        """Take back all that ``giver`` has given, also what is being given right now."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(sql("lock_orders"), giver)
            await connection.execute(sql("withdraw_all_orders"), giver)

    async def follow(self, ids: Sequence[int]) -> Mapping[int, OrderState]:
        async with self._database.session() as connection:
            rows = await connection.fetch(sql("follow_orders"), list(ids))
        return {row["id"]: _state(dict(row)) for row in rows}


async def _insert(connection: Connection, order: OrderRow, giver: str) -> int:
    found: int = await connection.fetchval(
        sql("insert_order"), order.exchange, order.symbol, order.timeframe, order.job_type,
        codec.moment(order.start_ms), codec.moment(order.end_ms), order.refetch, order.oldest_first, order.most_gaps,
        giver,
    )  # fmt: skip
    return found


def _state(row: Mapping[str, Any]) -> OrderState:
    begun = row["run_id"] is not None
    tally = Tally(
        requests=row["requests"], fetched=row["candles_fetched"], inserted=row["candles_inserted"],
        updated=row["candles_updated"], empties=row["empties"], gaps_opened=row["gaps_opened"],
        gaps_closed=row["gaps_closed"], planned=row["intervals_planned"] or 0, left=row["intervals_left"] or 0,
    ) if begun else Tally()  # fmt: skip
    status = RunStatus(row["status"]) if begun else None
    return OrderState(row["id"], row["enabled"], row["run_id"], status, tally, row["error"])
