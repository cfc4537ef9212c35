"""What tests of commands share: a configuration, a rehearsal exchange that runs meanwhile, and calling a command."""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
import stamina

from marketd.cli import main
from marketd.cli.root import COMMANDS, root
from marketd.clock import ScaledClock
from marketd.config import BORROWED
from marketd.rehearsal import Faults, RehearsalServer, synthetic
from tests.canary import unseen
from tests.conftest import BackgroundLoop

NOW_MS = 1_709_251_205_000  # 2024-03-01 00:00:05
FIRST_MS = 1_706_745_600_000  # 2024-02-01
SYMBOLS = ("BTCUSD", "ETHUSD", "LTCUSD")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A place to call commands from: ``desk("status", "--json")``."""

    config: Path
    server: RehearsalServer
    clock: ScaledClock
    capsys: pytest.CaptureFixture[str]

    @property
    def faults(self) -> Faults:
        return self.server.faults

    def __call__(self, *words: str) -> Said:
        self.capsys.readouterr()
        code = main(["--config", str(self.config), *words])
        captured = self.capsys.readouterr()
        return Said(code, unseen(captured.out), unseen(captured.err))

    @property
    def asked(self) -> int:
        """Requests that the exchange has had."""
        return requests(self.server)


def configuration(folder: Path, dsn: str, base_url: str, more: str = "") -> Path:
    path = folder / "marketd.toml"
    path.write_text(
        f'timeframes = ["1h", "1d"]\n{more}\n[database]\nurl = {json.dumps(dsn)}\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[exchanges.bitfinex]\nbase_url = "{base_url}"\nrequests_per_minute = 60000\n',
        encoding="utf-8",
    )
    return path


def server_at(clock: ScaledClock) -> RehearsalServer:
    """A made-up market of the February of 2024, seen from ``clock``."""
    return RehearsalServer(synthetic(3, SYMBOLS, FIRST_MS, 2 * NOW_MS), clock, Faults(clock))


@contextmanager
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of the environment away; the log and the retries as they were, afterwards."""
    for name in [name for name in os.environ if name.startswith("MARKETD_") or name in ("DATABASE_URL", *BORROWED)]:
        if name not in ("MARKETD_TEST_PG", "MARKETD_RECORDED_DATA"):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        stamina.instrumentation.set_on_retry_hooks(None)


def every_command() -> dict[str, click.Command]:
    """All commands by the words that call them, those of groups included."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = root.get_command(click.Context(root), name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {each}": below for each, below in command.commands.items()}
    return found


def requests(server: RehearsalServer) -> int:
    """How many requests a server has had."""
    counted = server.stats.as_dict(0)["requests"]
    assert isinstance(counted, int)
    return counted


def execute(background: BackgroundLoop, dsn: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """What one statement returns, for a test without an event loop."""

    async def work() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    return background.run(work())


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait for what another process does; the test's own time limit bounds it."""
    while not await condition():  # noqa: ASYNC110  nothing of that process can be awaited here
        await asyncio.sleep(0.01)


@contextmanager
def desk_at(
    background: BackgroundLoop, database: str, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, more: str = "",
) -> Iterator[Desk]:  # fmt: skip
    """A desk with an exchange that runs meanwhile; ``more`` is added to its configuration."""
    clock = ScaledClock(NOW_MS)
    server = server_at(clock)
    background.run(server.__aenter__())
    try:
        with clean_process(monkeypatch):
            yield Desk(configuration(folder, database, server.base_url, more), server, clock, capsys)
    finally:
        background.run(server.__aexit__(None, None, None))
