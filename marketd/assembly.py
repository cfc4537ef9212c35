"""Putting the parts together.

Owns the one place where engine and edges are introduced to each other, for the daemon and for commands alike: the
database as configured, and the lane of an exchange, held under its lease.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from marketd.clock import Clock
from marketd.config import Config
from marketd.embedded import EmbeddedPostgres, running_dsn
from marketd.errors import ConfigError, DatabaseUnavailable, LeaseLost, StoreError, leaf
from marketd.exchanges import exchange as exchange_called
from marketd.fetcher import Fetcher
from marketd.limiter import Budget
from marketd.ports import Events, Progress, Transport
from marketd.room import Room
from marketd.runner import Runner
from marketd.store import instance, migrations
from marketd.store.leases import LEASE_S, Lease, Leases
from marketd.store.migrations import Connection, Migration
from marketd.store.orders import Orders
from marketd.store.pages import Pages
from marketd.store.queries import sql
from marketd.store.runs import Runs
from marketd.store.series import SeriesReader
from marketd.store.session import Database, connection_for_schema
from marketd.store.turns import Turns

log = logging.getLogger(__name__)

_GIVE_BACK_S = 2


@dataclass(frozen=True, slots=True)
class Books:
    """What work on an exchange is read from and written to: the tables of one database."""

    pages: Pages
    reader: SeriesReader
    runs: Runs
    orders: Orders
    turns: Turns

    @classmethod
    def of(cls, opened: Database) -> Self:
        return cls(Pages(opened), SeriesReader(opened), Runs(opened), Orders(opened), Turns(opened))


@dataclass(slots=True)
class Lane:
    """What works on one exchange while its lease is held."""

    name: str
    fetcher: Fetcher
    budget: Budget
    runner: Runner
    runs: Runs
    orders: Orders
    lease: Lease


def room_of(config: Config) -> Room:
    """What has to be left of the disk on which the database lies, where this host sees it."""
    database = config.database
    return Room(database.disk or (database.data_dir if database.uses_embedded else None), database.least_free_mb)


def holder() -> str:
    """This process as others see it in the lease: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def leases_of(opened: Database, kind: str) -> Leases:
    """The leases as this process takes them; ``kind`` is ``daemon`` or ``command``."""
    return Leases(opened, holder(), kind)


@asynccontextmanager
async def database_url(config: Config, *, join: bool = True) -> AsyncIterator[str]:
    """The address of the database; starts the private server where the configuration says so.

    A command joins a private server that is running already, and loses it with its owner; the daemon does not
    ``join``: Busy, until the command that has started it ends.
    """
    if not config.database.uses_embedded:
        if config.database.url is None:
            raise ConfigError("no database: set DATABASE_URL, or [database] url or embedded = true")
        yield config.database.url.reveal()
        return
    if config.database.data_dir is None:
        raise ConfigError("[database] embedded = true needs data_dir")
    running = running_dsn(config.database.data_dir) if join else None
    if running is not None:
        yield running
        return
    async with EmbeddedPostgres(config.database.data_dir, bin_dir=config.database.bin_dir) as server:
        yield server.dsn


@asynccontextmanager
async def database(
    config: Config, *, application: str, size: int = 8, statement_s: float = 25
) -> AsyncIterator[Database]:
    """The database, with a schema that this program can work with; migrated first where that is configured."""
    async with database_url(config) as url:
        await ready_schema(
            url, migrate=config.database.auto_migrate, name=config.database.instance, pooler=config.database.pooler
        )
        async with Database(
            url, size=size, application=application, statement_s=statement_s, prepare=sql("page_table"),
            pooler=config.database.pooler,
        ) as opened:  # fmt: skip
            yield opened


async def ready_schema(url: str, *, migrate: bool, name: str | None = None, pooler: bool = False) -> None:
    """SchemaError with the command to run where the schema is not current and may not be brought up to date here, or
    where the database belongs to another instance than ``name``.
    """
    async with connection_for_schema(url, pooler=pooler) as connection:
        if migrate:
            for migration in await migrated(connection, name):
                log.info("migrated", extra={"fields": {"migration": str(migration)}})
        else:
            await migrations.check(connection)
            await instance.check(connection, name)


async def migrated(connection: Connection, name: str | None, *, dry_run: bool = False) -> Sequence[Migration]:
    """What had to be applied to a database of the instance ``name``, which carries that name from then on; in a
    ``dry_run`` what would be.
    """
    await instance.check_before(connection, name)
    applied = await migrations.apply(connection, dry_run=dry_run)
    if not dry_run:
        await instance.claim(connection, name)
    return applied


@asynccontextmanager
async def lane(
    name: str, config: Config, books: Books, transport: Transport, clock: Clock, events: Events, progress: Progress,
    *, leases: Leases, lease: Lease | None = None,
) -> AsyncIterator[Lane]:  # fmt: skip
    """The lane of exchange ``name`` under its lease, which is renewed until the block is left, and then given back.

    Busy when another process holds it. LeaseLost ends the block when another process takes it over.
    """
    facts = exchange_called(name)
    lease = lease or await leases.take(name)
    silences: asyncio.Queue[float] = asyncio.Queue()
    budget = await _budget(name, config, books.turns)
    if lease.blocked_s:
        budget.block(lease.blocked_s)
    fetcher = Fetcher(
        facts, config.base_url_of(name), transport, budget, clock, events, silences.put_nowait,
        proxy=config.proxy_of(name), page=config.page_limits_of(name)[0],
        archive_url=config.archive_url_of(name),
    )  # fmt: skip
    runner = Runner(
        fetcher, books.pages, books.reader, clock, events, progress, config.derive[name], room_of(config).lack
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_give_back, leases, lease)
        await stack.enter_async_context(_kept(leases, lease, silences, events))
        yield Lane(name, fetcher, budget, runner, books.runs, books.orders, lease)


async def _budget(name: str, config: Config, turns: Turns) -> Budget:
    """The budget of an exchange, shared with other programs where that is configured."""
    per_minute, share = config.requests_per_minute_of(name), config.exchanges[name].share
    if share is None:
        return Budget(per_minute)
    await turns.share(name, per_minute)
    return Budget(per_minute, partial(turns.take, name), share)


@asynccontextmanager
async def _kept(leases: Leases, lease: Lease, silences: "asyncio.Queue[float]", events: Events) -> AsyncIterator[None]:
    """Renew ``lease`` while the block runs; the loss of it comes out as LeaseLost, not as a group."""
    try:
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(_renew(leases, lease, events))
            noting = group.create_task(_note_silences(leases, lease, silences, events))
            try:
                yield
            finally:
                renewing.cancel()
                noting.cancel()
    except BaseExceptionGroup as failures:
        raise leaf(failures) from failures


async def _renew(leases: Leases, lease: Lease, events: Events) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        try:
            await leases.renew(lease)
        except StoreError as error:
            events.store_failed(error.kind)
            if not isinstance(error, DatabaseUnavailable):
                raise
            # The fence refuses pages when somebody else has the lease by then; until it is known, go on trying.
            log.warning(
                "lease not renewed",
                extra={"fields": {"exchange": lease.exchange, "error": str(error), "once": "lease"}},
            )


async def _note_silences(leases: Leases, lease: Lease, silences: "asyncio.Queue[float]", events: Events) -> None:
    while True:
        seconds = await silences.get()
        try:
            await leases.note_block(lease, seconds)
        except StoreError as error:
            events.store_failed(error.kind)
            if not isinstance(error, DatabaseUnavailable):
                raise
            log.warning("silence not noted", extra={"fields": {"exchange": lease.exchange, "seconds": seconds}})


async def _give_back(leases: Leases, lease: Lease) -> None:
    try:
        async with asyncio.timeout(_GIVE_BACK_S):
            await leases.release(lease)
    except (DatabaseUnavailable, LeaseLost, TimeoutError):
        log.info("lease left to expire", extra={"fields": {"exchange": lease.exchange}})


async def patient_lease(name: str, opened: Database, *, wait: bool, tell: Callable[[str], None]) -> Lease:
    """The lease of an exchange for a command; other commands are waited for, ``tell`` hears for whom.

    ExchangeHeld at once where a daemon has it, which does not end by itself, or where ``wait`` is False.
    """
    told = False
    while True:
        lease = await leases_of(opened, "command").try_take(name)
        if isinstance(lease, Lease):
            return lease
        if not wait or lease.kind == "daemon":
            raise lease
        if not told:
            tell(f"{lease}; waiting (--no-wait ends instead)")
            told = True
        await asyncio.sleep(1)
