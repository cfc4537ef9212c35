"""Who works on an exchange.

Owns the lease row: one holder at a time, an epoch that fences late pages, an expiry that is renewed, and the ban that
outlives its holder. Times are the database's.
"""

from dataclasses import dataclass

from marketd.errors import ExchangeHeld, LeaseLost
from marketd.store.queries import sql
from marketd.store.session import Database

LEASE_S = 15.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was taken; ``blocked_s`` is what remains of a ban that an earlier holder met."""

    exchange: str
    epoch: int
    blocked_s: float


class Leases:
    def __init__(self, database: Database, holder: str, kind: str) -> None:
        self._database = database
        self._holder = holder
        self._kind = kind

    async def take(self, exchange: str) -> Lease:
        """Take the exchange; ExchangeHeld names the living holder. Runs of a dead one are closed as interrupted."""
        async with self._database.session() as connection, connection.transaction():
            epoch = await connection.fetchval(sql("create_lease"), exchange, self._holder, self._kind, LEASE_S)
            if epoch is None:
                held = await connection.fetchrow(sql("lock_lease"), exchange)
                if held is not None and held["alive"]:
                    raise ExchangeHeld(exchange, held["kind"], held["holder"])
                epoch = await connection.fetchval(sql("take_lease"), exchange, self._holder, self._kind, LEASE_S)
            await connection.execute(sql("interrupt_runs"), exchange, epoch)
            blocked_s = await connection.fetchval(sql("blocked_for"), exchange)
        return Lease(exchange, epoch, blocked_s or 0.0)

    async def try_take(self, exchange: str) -> Lease | ExchangeHeld:
        """The lease, or who has it."""
        try:
            return await self.take(exchange)
        except ExchangeHeld as held:
            return held

    async def is_held(self, exchange: str) -> bool:
        """True while a living process works on the exchange."""
        async with self._database.session() as connection:
            return bool(await connection.fetchval(sql("lease_alive"), exchange))

    async def renew(self, lease: Lease) -> None:
        """Hold on to the exchange; LeaseLost when somebody else has it."""
        async with self._database.session() as connection:
            epoch = await connection.fetchval(sql("renew_lease"), lease.exchange, lease.epoch, LEASE_S)
        if epoch is None:
            raise LeaseLost(f"another process has taken {lease.exchange} over")

    async def release(self, lease: Lease) -> None:
        async with self._database.session() as connection:
            await connection.execute(sql("release_lease"), lease.exchange, lease.epoch)

    async def note_block(self, lease: Lease, seconds: float) -> None:
        """Remember for whoever comes next that the exchange wants silence for ``seconds``."""
        async with self._database.session() as connection:
            await connection.execute(sql("block_lease"), lease.exchange, lease.epoch, seconds)
