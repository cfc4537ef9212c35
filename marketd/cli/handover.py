"""An order in the hands of the daemon.

Owns the rows by which it is handed over, one a series, and the look at how far they are. Refuses to say what came of
them (see ``orders``).
"""

from dataclasses import dataclass, field
from typing import Final, Self

from marketd.model import JobType, Series
from marketd.ports import Progress
from marketd.runner import Order
from marketd.store.orders import OrderRow, Orders, OrderState

_PAGE: Final = 10_000  # what is left is guessed in pages of this size


def order_row(series: Series, order: Order) -> OrderRow:
    return OrderRow(
        *series, order.job_type, order.start_ms, order.end_ms, order.refetch,
        order.job_type is JobType.BACKFILL and not order.newest_first, order.most_gaps,
    )  # fmt: skip


@dataclass(slots=True)
class HandedOver:
    """``jobs`` maps each series that has not ended to the row of its order; ``begun``: one of them was at work."""

    jobs: dict[Series, int]
    rows: Orders
    progress: Progress
    begun: bool = False
    _planned: dict[Series, int] = field(default_factory=dict)

    @classmethod
    async def give(cls, order: Order, rows: Orders, progress: Progress) -> Self:
        """Write a row for each series of ``order``; whoever works on the exchange carries them out."""
        return cls({series: await rows.give(order_row(series, order)) for series in order.series}, rows, progress)

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

    def _tell(self, series: Series, state: OrderState) -> None:
        tally = state.tally
        if tally.planned != self._planned.get(series, 0):
            self._planned[series] = tally.planned
            self.progress.began(series, tally.left, -(-tally.left // _PAGE))
        if tally.planned:
            self.progress.advanced(series, tally.left, tally)
        if state.ended and state.run_id is not None:
            self.progress.ended(series, tally)
