"""Budgets that several programs share.

Owns the two rows of an exchange by which marketd and the bots beside it take turns: the rate that all of them together
may have, and when the next turn is free. Times are the database's. Refuses to wait.
"""

from marketd.store.queries import sql
from marketd.store.session import Database


class Turns:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def share(self, exchange: str, per_minute: float) -> None:
        """Tell all programs how many requests a minute they may send together."""
        async with self._database.session() as connection:
            await connection.execute(sql("share_budget"), exchange, per_minute)

    async def take(self, exchange: str) -> float | None:
        """In how many seconds it is this program's turn, which is taken; None: not within minutes, nothing was taken.

        StoreError as from any session, and where no budget of ``exchange`` is shared.
        """
        async with self._database.session() as connection:
            wait_s: float | None = await connection.fetchval(sql("take_turn"), exchange)
        return wait_s
