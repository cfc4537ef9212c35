"""A whole daemon in the test's own loop, and the means to ask it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from marketd.clock import ScaledClock
from marketd.config import Config, build, read_text
from marketd.daemon import Daemon
from marketd.notify import Notifier
from tests.canary import unseen
from tests.jobfile import entry

JOBS = (
    entry("continuous", ("BTCUSD",), ("1m", "1h", "1d"), schedule="*/5 * * * *")
    + entry("backfill", ("BTCUSD",), ("1m", "1h", "1d"))
    + entry("gap_repair", schedule="0 * * * *")
)


@asynccontextmanager
async def running(
    dsn: str, folder: Path, base_url: str, clock: ScaledClock, *, jobs: str = JOBS, name: str = "one",
    notifier: Notifier | None = None,
) -> AsyncIterator[Daemon]:  # fmt: skip
    """A daemon on ``dsn``; it reads ``folder/marketd.toml`` and ``folder/jobs.toml`` at the start and at reloads."""
    config, run_dir = folder / "marketd.toml", folder / f"run-{name}"
    (folder / "jobs.toml").write_text(jobs)
    if not config.exists():
        config.write_text(f'jobs_file = "{folder}/jobs.toml"\nowner = "test"\n')
    environ = {
        "DATABASE_URL": f"postgresql://{dsn.partition('://')[2]}",
        "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url,
        "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "60000",
        "MARKETD_HTTP__LISTEN": "127.0.0.1:0",
    }

    def load() -> Config:
        return build(config.read_text(), environ, config, read_text)

    daemon = Daemon(load, clock, notifier or Notifier({}), environ={"MARKETD_RUN_DIR": str(run_dir)})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(daemon.run())
        async with asyncio.timeout(20):
            await daemon.listening.wait()
        yield daemon
        daemon.stop()
        async with asyncio.timeout(20):
            await task


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  (the condition lies in the database)
            await asyncio.sleep(0.1)


async def get(daemon: Daemon, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"http://{daemon.address}{path}") as reply:
        text = unseen(await reply.text())
        return json.loads(text) if "json" in reply.headers["Content-Type"] else text
