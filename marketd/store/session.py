"""Sessions with PostgreSQL that cannot hang or lose a cancellation.

Owns the pool and the one place where foreign database errors become ours. Every use goes through ``Database.session``,
but for migrations, which need a connection without time limits of its own: ``connection_for_schema``.
Refuses to know any table, and to wait for a server longer than a statement may take: a call ends within ten seconds,
a cancelled one within five. The settings are what it took to survive dead links: asyncpg's own time-outs bound neither
the release of a connection nor the ROLLBACK that follows a time-out or a cancellation.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import asyncpg

from marketd.errors import DatabaseUnavailable, DiskFull, PrivilegeError, SchemaError, StoreError
from marketd.secret import masked_dsn
from marketd.store.queries import sql
from marketd.text import clean

log = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""What a session yields."""

_ACQUIRE_S = 5
_CLOSE_S = 1
_CANCEL_S = 1.0
_STATEMENT_S = 7.0
_MARGIN_S = 0.5  # by which the server, where it is there, is the first to end a statement that takes too long
_CONNECT_EVERY_S = 1.0
_STATEMENTS = 100  # prepared ones that each connection keeps
_SETTINGS = {
    "timezone": "UTC",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "jit": "off",
}
# Connection lost, server shutting down or starting, read-only after a failover, serialisation, lock not available.
_WAIT = ("08", "57P", "57014", "55000", "25006", "40001", "40P01", "55P03", "53300")
_CONNECTION_LOST = "08006"
_UNSUPPORTED = "unsupported startup parameter"  # so says pgbouncer, with 08P01
_POOLER = (
    "the database at {} cannot be used: a pooler stands before it that does not pass on the settings of a session, "
    "such as its time limits: point the URL at PostgreSQL itself, or set [database] pooler = true"
)
_READ_ONLY = "25006"
# InternalClientError: the server's last word has arrived on a connection that is not known to be closed yet.
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class _Link(asyncpg.Connection):
    """A connection that does not outlive a server that has stopped to listen."""

    def get_reset_query(self) -> str:
        """Nothing: no session here changes more than its own transaction, and asking costs each one a round trip."""
        return ""

    def _cancel_current_command(self, *waiters: Any) -> None:
        """asyncpg calls this where a time-out or a cancellation ends a statement, and then waits for the server.

        So does the ROLLBACK that follows. A server that is there says within milliseconds that the statement has ended.
        """
        super()._cancel_current_command(*waiters)  # type: ignore[misc]  # no public name tells of it
        asyncio.get_running_loop().call_later(_CANCEL_S, self._end_if_silent)

    def _end_if_silent(self) -> None:
        if not self.is_closed() and self._protocol._is_cancelling():  # type: ignore[attr-defined]
            self.terminate()


@dataclass(frozen=True, slots=True)
class Use:
    """Connections of a pool: at work, open without work, and how many there may be."""

    used: int
    idle: int
    most: int


class Database:
    """A pool of connections to ``dsn``; open it with ``async with``.

    The pool connects lazily, so opening succeeds while the server is away; ``session`` then raises
    DatabaseUnavailable. ``prepare`` is a statement that every new connection runs first. Behind a ``pooler`` that gives
    each transaction whatever connection is free, every session is one transaction, with settings of its own.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 8,
        application: str = "marketd",
        statement_s: float = _STATEMENT_S,
        prepare: str | None = None,
        pooler: bool = False,
    ) -> None:
        self.dsn = dsn
        self._size = size
        self._pooler = pooler
        self._application = application
        self._settings = _SETTINGS | {"statement_timeout": str(int(statement_s * 1000))}
        self._command_s = statement_s + _MARGIN_S
        self._prepare = prepare
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        # Who waits for others of this process must not take it for a database that is out of reach.
        self._places = asyncio.Semaphore(size)
        self._failure: OSError | asyncpg.PostgresError | DatabaseUnavailable | None = None
        self._connect_again_s = 0.0

    @property
    def where(self) -> str:
        """The address without its password, for messages."""
        return masked_dsn(self.dsn)

    @property
    def use(self) -> Use:
        """What the pool is doing right now; nothing while it is closed."""
        if self._pool is None:
            return Use(0, 0, self._size)
        idle = self._pool.get_idle_size()
        return Use(self._pool.get_size() - idle, idle, self._size)

    async def __aenter__(self) -> Self:
        try:
            self._pool = asyncpg.create_pool(
                self.dsn,
                min_size=0,
                max_size=self._size,
                timeout=_ACQUIRE_S,
                command_timeout=self._command_s,
                max_inactive_connection_lifetime=300,
                connection_class=_Link,
                init=self._init,
                server_settings={"application_name": self._application} | ({} if self._pooler else self._settings),
                # What one transaction has prepared, the connection of the next one does not know.
                statement_cache_size=0 if self._pooler else _STATEMENTS,
            )
            await self._pool
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise translated(error, self.where) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await pool.close()
        except _FAILURES:
            pool.terminate()

    @asynccontextmanager
    async def session(self, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        """One connection; whatever the database raises inside comes out as a StoreError of ours.

        A ``snapshot`` is one transaction that sees everything as it is at its first statement, and changes nothing.

        A cancellation comes out as a cancellation even where asyncpg replaces it by its own error, which it does when
        the connection died meanwhile.
        """
        if self._pool is None:
            raise DatabaseUnavailable("the database pool is closed")
        connection: Connection | None = None
        async with self._places:
            try:
                connection = await self._acquire(self._pool)
                async with self._framed(connection, snapshot=snapshot):
                    yield connection
            except _FAILURES as error:
                _reraise_cancellation(error)
                if _sqlstate(error) == _READ_ONLY:
                    await self._pool.expire_connections()  # they lead to the server that was the primary
                raise translated(error, self.where) from error
            finally:
                if connection is not None:
                    await self._release(connection)

    @asynccontextmanager
    async def _framed(self, connection: Connection, *, snapshot: bool) -> AsyncIterator[None]:
        if not (snapshot or self._pooler):
            yield
            return
        kind: dict[str, Any] = {"isolation": "repeatable_read", "readonly": True} if snapshot else {}
        async with connection.transaction(**kind):
            if self._pooler:
                await connection.fetch(sql("session_settings"), list(self._settings), list(self._settings.values()))
                if self._prepare is not None and not snapshot:
                    await connection.execute(self._prepare)
            yield

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        """However many sessions wait for a server that is away, it is tried once a second; the others fail at once."""
        loop = asyncio.get_running_loop()
        if self._failure is not None and loop.time() < self._connect_again_s and not pool.get_idle_size():
            raise self._failure.with_traceback(None)
        try:
            connection = await pool.acquire(timeout=_ACQUIRE_S)
        except (OSError, asyncpg.PostgresError, DatabaseUnavailable) as error:
            # From the end of the attempt: one that takes long must not be followed by that of whoever waits next.
            self._failure, self._connect_again_s = error, loop.time() + _CONNECT_EVERY_S
            raise
        self._failure = None
        return connection

    async def _release(self, connection: Connection) -> None:
        if self._pool is None:
            return
        try:
            if connection.is_in_transaction():  # its ROLLBACK was lost, as where the server goes away in between
                connection.terminate()
            await self._pool.release(connection, timeout=1)
        except _FAILURES:
            with suppress(asyncpg.InterfaceError):
                connection.terminate()

    async def _init(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        _keep_alive(connection)
        if self._pooler:
            return
        if await connection.fetchval(sql("session_lock_timeout")) != self._settings["lock_timeout"]:
            raise DatabaseUnavailable(_POOLER.format(self.where))
        if self._prepare is not None:
            await connection.execute(self._prepare)


@asynccontextmanager
async def connection_for_schema(
    dsn: str, *, pooler: bool = False
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One connection without a pool; it fails as ``Database.session`` does, as long as it lasts.

    Behind a ``pooler`` all of it is one transaction.
    """
    where = masked_dsn(dsn)
    settings: dict[str, Any] = {"statement_cache_size": 0} if pooler else {"server_settings": {"timezone": "UTC"}}
    try:
        connection = await asyncpg.connect(dsn, timeout=10, command_timeout=60, **settings)
    except (*_FAILURES, ValueError) as error:
        raise translated(error, where) from error
    try:
        async with connection.transaction() if pooler else nullcontext():
            yield connection
    except _FAILURES as error:
        _reraise_cancellation(error)
        raise translated(error, where) from error
    finally:
        await _closed(connection)


def unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's handler of what nobody waits for.

    A connection that is lost may leave a future of the driver behind, with an error that was never raised: who asked
    has had its own, or has gone. All else is said as ever.
    """
    error = context.get("exception")
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and error.__traceback__ is None:
        log.debug("connection lost", extra={"fields": {"error": error}})
    else:
        loop.default_exception_handler(context)


async def _closed(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.close(timeout=_CLOSE_S)
    except _FAILURES:
        connection.terminate()


def _keep_alive(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let the kernel notice a dead link within seconds; off by default."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 2), ("TCP_USER_TIMEOUT", 4000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _reraise_cancellation(error: BaseException) -> None:
    task = asyncio.current_task()
    if task is not None and task.cancelling() and not isinstance(error, TimeoutError):
        raise asyncio.CancelledError from error


def translated(error: BaseException, where: str) -> Exception:
    """Our error for ``error``: *wait* (DatabaseUnavailable) or what to tell the operator."""
    state = _sqlstate(error)
    text = clean(str(error)) or type(error).__name__
    if state is None:
        if isinstance(error, ValueError):
            return SchemaError(f"the database URL cannot be used: {text}")
        return DatabaseUnavailable(f"the database at {where} is out of reach: {text}", _CONNECTION_LOST)
    if state.startswith("28") or state == "3D000":
        return DatabaseUnavailable(f"the database at {where} refuses the connection: {text}", state)
    if _UNSUPPORTED in text:
        return DatabaseUnavailable(_POOLER.format(where), state)
    if state.startswith(_WAIT) or isinstance(error, asyncpg.InvalidCachedStatementError):  # a table was altered
        return DatabaseUnavailable(f"the database at {where} is not available: {text}", state)
    if state == "53100":
        return DiskFull(f"no space left at the database server: {text}", state)
    if state == "42501":
        return PrivilegeError(f"the database role lacks a right: {text}")
    if state in ("42P01", "42703", "42883", "3F000"):
        return SchemaError(f"the schema is not marketd's or not current ({text}): run `marketd migrate`")
    return StoreError(f"the database refused: {text}", state)


def _sqlstate(error: BaseException) -> str | None:
    """The first server code in the chain: asyncpg may hide it behind an error of its own.

    That the connection is gone is only what followed, where something else is said too.
    """
    seen: BaseException | None = error
    lost = None
    while seen is not None:
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str) and not state.startswith("08"):
            return state
        lost = lost or state
        seen = seen.__cause__ or seen.__context__
    return lost
