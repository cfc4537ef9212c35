"""The rows of an order.

Owns how they are handed over to whoever works on the exchange, one a series, the look at how far they are, and taking
back what is left of them. Refuses to say what came of them (see ``orders``).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from marketd.errors import DatabaseUnavailable, StoreError
from marketd.model import JobType, Series
from marketd.ports import Progress
from marketd.runner import Order
from marketd.store.orders import OrderRow, Orders, OrderState

_PAGE: Final = 10_000  # what is left is guessed in pages of this size
_TAKE_BACK_S: Final = 10.0
_TRY_EVERY_S: Final = 0.5


def order_row(series: Series, order: Order) -> OrderRow:
    return OrderRow(
        *series, order.job_type, order.start_ms, order.end_ms, order.refetch,
        order.job_type is JobType.BACKFILL and not order.newest_first, order.most_gaps,
    )  # fmt: skip


@dataclass(slots=True)
class HandedOver:
    """``jobs`` maps each series that has not ended to the row of its order; ``begun``: one of them was at work.

    ``giver`` names this command in its rows.
    """

    rows: Orders
    progress: Progress
    giver: str
    jobs: dict[Series, int] = field(default_factory=dict)
    begun: bool = False
    _giving: bool = False
    _planned: dict[Series, int] = field(default_factory=dict)

    @property
    def left(self) -> bool:
        """True where rows may be there that have not ended."""
        return self._giving or bool(self.jobs)

    async def give(self, order: Order) -> None:
        """Write a row for each series of ``order``, all or none; whoever works on the exchange carries them out."""
        self._giving = True  # and so it stays where this fails: nobody knows then what the database has
        numbers = await self.rows.give([order_row(series, order) for series in order.series], self.giver)
        self.jobs |= zip(order.series, numbers, strict=True)
        self._giving = False

    async def look(self) -> list[tuple[Series, OrderState]]:
        """Tell ``progress`` how far the orders are; returns those that have ended, which are followed no longer."""
        states = await self.rows.follow(list(self.jobs.values()))
        ended = []
        for series, number in list(self.jobs.items()):
            state = states[number]
            self.begun |= state.run_id is not None
            self._tell(series, state)
            if state.ended:
                ended.append((series, state))
                del self.jobs[series]
        return ended

    async def withdraw(self) -> None:
        await self.rows.withdraw(list(self.jobs.values()))

    async def take_back(self) -> str | None:
        """Withdraw whatever is left, for some seconds at most; the reason where it could not be done."""
        reason = "the database does not answer"
        try:
            async with asyncio.timeout(_TAKE_BACK_S):
                while True:
                    try:
                        await self.rows.withdraw_all(self.giver)
                        return None
                    except DatabaseUnavailable as error:
                        reason = str(error)
                    await asyncio.sleep(_TRY_EVERY_S)
        except TimeoutError:
            return reason
        except StoreError as error:
            return str(error)

    def _tell(self, series: Series, state: OrderState) -> None:
        tally = state.tally
        if tally.planned != self._planned.get(series, 0):
            self._planned[series] = tally.planned
            self.progress.began(series, tally.left, -(-tally.left // _PAGE))
        if tally.planned:
            self.progress.advanced(series, tally.left, tally)
        if state.ended and state.run_id is not None:
            self.progress.ended(series, tally)
