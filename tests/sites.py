"""A port in front of a real database, with the means to ask it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest

from marketd.metrics import Metrics
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.web import Port
from marketd.web.guard import Door
from tests.integration.ledger_rows import Rows
from tests.told import Told

AWAY = "postgresql://secret_user:secret_word@127.0.0.1:9/none"


@dataclass
class Site:
    """A port with the means to ask it."""

    told: Told
    http: aiohttp.ClientSession
    address: str

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON at ``path``, which must answer with ``status``."""
        async with self.http.get(f"http://{self.address}{path}", **options) as response:
            assert response.status == status, await response.text()
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            return await response.json()

    async def text(self, path: str) -> str:
        async with self.http.get(f"http://{self.address}{path}") as response:
            assert response.status == 200
            return await response.text()

    async def raw(self, sent: bytes, wait_s: float = 5) -> bytes:
        """All that comes back for ``sent`` until the port closes the connection."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), wait_s)
        finally:
            writer.close()


@asynccontextmanager
async def served(dsn: str, door: Door | None = None) -> AsyncIterator[Site]:
    told = Told()
    async with (
        Database(dsn, size=2) as opened,
        Port("127.0.0.1:0", Reports(opened), told, Metrics().registry, door) as port,
        aiohttp.ClientSession() as http,
    ):
        yield Site(told, http, port.address)


@pytest.fixture
async def site(database: str) -> AsyncIterator[Site]:
    async with served(database) as found:
        yield found


@pytest.fixture
async def away() -> AsyncIterator[Site]:
    """A port whose database cannot be reached."""
    async with served(AWAY) as found:
        yield found


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Rows]:
    connection = await asyncpg.connect(database)
    try:
        yield Rows(connection)
    finally:
        await connection.close()
