"""The lane of an exchange: a lease that is lost is noticed, counted, and ends the work."""

import asyncio
from dataclasses import dataclass, field

import pytest

from marketd import assembly
from marketd.clock import SystemClock
from marketd.config import build
from marketd.errors import LeaseLost
from marketd.ports import Events, Progress
from marketd.store.session import Database
from marketd.transport import Transport


@dataclass
class Heard(Events):
    failed: list[str] = field(default_factory=list)

    def store_failed(self, kind: str) -> None:
        self.failed.append(kind)


async def test_a_lease_that_is_taken_over_ends_the_lane_and_is_counted(database: str) -> None:
    heard = Heard()
    with pytest.raises(LeaseLost):
        await lose_the_lease(database, heard)
    assert heard.failed == ["lease_lost"]


async def lose_the_lease(dsn: str, events: Events) -> None:
    """Be in a lane whose lease another process takes, until that ends it."""
    clock, config = SystemClock(), build("", {}, None, lambda path: None, need_database=False)
    async with (
        asyncio.timeout(20),
        Database(dsn) as opened,
        Transport(clock) as transport,
        assembly.lane(
            "bitfinex",
            config,
            assembly.Books.of(opened),
            transport,
            clock,
            events,
            Progress(),
            leases=assembly.leases_of(opened, "command"),
        ),
    ):
        async with opened.session() as connection:
            await connection.execute("UPDATE exchange_leases SET epoch = epoch + 1")
        await asyncio.Event().wait()
