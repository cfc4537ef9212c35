"""Several programs take turns at one exchange, by two rows of the database."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from marketd.clock import ScaledClock, SystemClock
from marketd.errors import StoreError
from marketd.limiter import Budget
from marketd.model import Claim
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from marketd.store.session import Database
from marketd.store.turns import Turns
from tests.daemons import running, until
from tests.jobfile import entry
from tests.roles import login

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DAY = 86_400_000
PER_MINUTE = 600.0
SPACING_S = 60 / PER_MINUTE


@pytest.fixture
async def owner(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO exchange_budgets (exchange, per_minute) VALUES ('bitfinex', $1)", PER_MINUTE)
    await connection.execute(
        "INSERT INTO exchange_leases (exchange, holder, kind, epoch, expires_at) "
        "VALUES ('bitfinex', 'a', 'daemon', 1, now())"
    )
    yield connection
    await connection.close()


async def reserve(connection: Connection, weight: int = 1) -> float | None:
    wait_s: float | None = await connection.fetchval("SELECT marketd_reserve('bitfinex', $1)", weight)
    return wait_s


async def test_turns_are_evenly_spaced_and_idle_time_is_not_saved_up(owner: Connection) -> None:
    began_s = time.monotonic()
    first = [await reserve(owner) or 0.0 for _ in range(4)]
    assert first[0] < SPACING_S / 2
    assert first[3] == pytest.approx(3 * SPACING_S - (time.monotonic() - began_s), abs=SPACING_S / 2)
    await asyncio.sleep(1)
    again = [await reserve(owner) or 0.0 for _ in range(3)]
    assert again[0] == 0
    assert again[2] > SPACING_S


async def test_a_request_of_weight_takes_as_many_turns(owner: Connection) -> None:
    await reserve(owner, 20)
    assert await reserve(owner) == pytest.approx(20 * SPACING_S, abs=SPACING_S)
    assert await owner.fetchval("SELECT taken FROM exchange_turns") == 21


@pytest.mark.parametrize("weight", [0, -1, None, 3001, 2**31 - 1])
async def test_weights_of_no_use_are_refused(owner: Connection, weight: int | None) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=f"weight {'<NULL>' if weight is None else weight} is"):
        await owner.fetchval("SELECT marketd_reserve('bitfinex', $1)", weight)


async def test_an_exchange_whose_budget_nobody_shares_is_refused(database: str) -> None:
    async with Database(database) as opened:
        with pytest.raises(StoreError, match="no budget is shared for exchange bitfinex"):
            await Turns(opened).take("bitfinex")


async def test_who_is_told_to_wait_says_so_for_all(owner: Connection) -> None:
    await owner.execute("SELECT marketd_be_silent('bitfinex', 60)")
    await owner.execute("SELECT marketd_be_silent('bitfinex', 5)")
    waits = [await reserve(owner) or 0.0 for _ in range(2)]
    assert waits[0] == pytest.approx(60, abs=1)
    assert waits[1] > waits[0], "they do not all come back at the same moment"
    await owner.execute("SELECT marketd_be_silent('bitfinex', 'Infinity')")
    before = await owner.fetchval("SELECT free_at FROM exchange_turns")
    assert await reserve(owner) is None
    assert await owner.fetchval("SELECT free_at FROM exchange_turns") == before, "nothing was taken"


async def test_a_clock_that_was_set_back_holds_nobody_up(owner: Connection) -> None:
    await reserve(owner)
    await owner.execute("UPDATE exchange_turns SET free_at = now() + interval '1 hour'")
    assert await reserve(owner) == 0


async def test_who_takes_turns_needs_no_other_right(database: str, owner: Connection) -> None:
    bot = await asyncpg.connect(await login(owner, database, "marketd_turns"))
    try:
        assert await reserve(bot) == 0
        await bot.execute("SELECT marketd_be_silent('bitfinex', 1)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bot.fetchval("SELECT count(*) FROM candles")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bot.execute("UPDATE exchange_turns SET free_at = now()")
    finally:
        await bot.close()
    reader = await asyncpg.connect(await login(owner, database, "marketd_read"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reserve(reader)
    finally:
        await reader.close()


async def test_two_programs_together_have_the_rate_of_one(database: str, owner: Connection) -> None:
    at: list[float] = []

    async def program(budget: Budget) -> None:
        for _ in range(15):
            await budget.acquire(Claim.BACKFILL)
            at.append(time.monotonic())

    async with Database(database) as one, Database(database) as other, asyncio.TaskGroup() as group:
        for opened in (one, other):
            group.create_task(program(Budget(PER_MINUTE, partial(Turns(opened).take, "bitfinex"), 0.5)))
    assert len(at) / (at[-1] - at[0] + SPACING_S) <= PER_MINUTE / 60 * 1.02
    # A crowded host wakes somebody late now and then, and the next one on time.
    assert sum(later - earlier < SPACING_S / 2 for earlier, later in pairwise(at)) <= 3
    assert await owner.fetchval("SELECT taken FROM exchange_turns") == 30


@pytest.mark.timeout(60)
async def test_a_daemon_takes_turns_with_a_bot(database: str, tmp_path: Path) -> None:
    clock = ScaledClock(SystemClock().now_ms())
    market = synthetic(3, ("BTCUSD",), clock.now_ms() - 30 * DAY, clock.now_ms() + DAY, 0.2)
    (tmp_path / "marketd.toml").write_text(
        f'jobs_file = "{tmp_path}/jobs.toml"\nowner = "test"\n'
        "[exchanges.bitfinex]\nshare = 0.5\npage_limit = 200\n[engine]\ndrain_s = 1\n"
    )
    connection = await asyncpg.connect(database)
    try:
        async with (
            RehearsalServer(market, clock) as server,
            running(database, tmp_path, server.base_url, clock, jobs=entry("backfill", ("BTCUSD",), ("1m",))),
        ):

            async def asked() -> bool:
                return server.stats.requests >= 20

            await until(asked)
            taken = await connection.fetchval("SELECT taken FROM exchange_turns")
            assert taken >= server.stats.requests >= 20
            assert await connection.fetchval("SELECT per_minute FROM exchange_budgets") == 60_000
            await connection.execute("SELECT marketd_be_silent('bitfinex', 3600)")
            await asyncio.sleep(0.5)
            silent = server.stats.requests
            await asyncio.sleep(1)
            assert server.stats.requests == silent, "what a bot was told holds for the daemon"
    finally:
        await connection.close()
