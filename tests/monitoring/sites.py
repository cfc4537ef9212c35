"""Sites: a database, an exchange, and daemons between them, as processes that can be hurt.

Owns the files that a daemon reads, its process and its log. Refuses to know what a scene is about.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from marketd.clock import SystemClock
from marketd.rehearsal import Faults, RehearsalServer, synthetic
from tests.conftest import migrated_database
from tests.daemons import until

ROOT: Final = Path(__file__).parents[2]
SYMBOLS: Final = ("BTCUSD", "ETHUSD", "LTCUSD", "XRPUSD")
MORTAL: Final = ("setpriv", "--pdeathsig", "KILL")
"""Before a program's words: it does not outlive the tests, however they end."""
HISTORY_MS: Final = 6 * 3_600_000
STARTS_S: Final = 60
"""How long a daemon may take until its metrics say that all is well: a standby reads how far its series are only once
it has been up for half a minute."""


def said(log: Path) -> str:
    """What stands in a log so far."""
    return log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Daemon:
    """A daemon's process; ``address`` is where it listens."""

    process: Process
    log: Path
    address: str = ""

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def learn_address(self) -> None:
        while not (found := re.search(r"listening.* address=(\S+)", said(self.log))):
            assert self.process.returncode is None, said(self.log)
            await asyncio.sleep(0.05)
        self.address = found[1]

    async def is_well(self) -> bool:
        """True once it has jobs, and every series has been answered."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}/metrics") as reply:
            page = await reply.text()
        values: dict[str, list[float]] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.labels.get("state", "enabled") == "enabled":
                    values.setdefault(sample.name, []).append(sample.value)
        answered = values.get("marketd_series_answered_until_timestamp_seconds", [])
        return sum(values["marketd_jobs"]) > 0 and bool(answered) and all(answered)


@dataclass
class Site:
    """``folder`` holds what its daemons read and write; ``admin`` is the superuser's way to the whole server."""

    folder: Path
    admin: str
    dsn: str
    exchange: RehearsalServer
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def disk(self) -> Path:
        """What the daemon takes for the disk of its database; not there, nobody knows."""
        return self.folder / "disk"

    def write_config(self, requests_per_minute: float = 6000) -> None:
        (self.folder / "marketd.toml").write_text(
            f'jobs_file = "jobs.toml"\nowner = "test"\n[database]\nurl = {json.dumps(self.dsn)}\n'
            f'disk = "{self.disk}"\n'
            f'[http]\nlisten = "127.0.0.1:0"\n[engine]\nsettle_s = 10\n[verify]\nschedule = "* * * * *"\n'
            f'[exchanges.bitfinex]\nbase_url = "{self.exchange.base_url}"\n'
            f"requests_per_minute = {requests_per_minute}\n"
        )

    def write_jobs(self, symbols: Iterable[str], more: str = "", *, enabled: bool = True) -> None:
        """Every symbol's minutes are kept fresh; marketd adds a backfill by itself. ``more`` comes below."""
        (self.folder / "jobs.toml").write_text(
            f'[[jobs]]\nexchange = "bitfinex"\nsymbols = {json.dumps(list(symbols))}\ntimeframes = ["1m"]\n'
            f'job_type = "continuous"\nschedule = "* * * * *"\nenabled = {json.dumps(enabled)}\n{more}\n'
        )

    def reload(self) -> None:
        self.daemons[0].signal(signal.SIGHUP)

    async def start_daemon(self) -> Daemon:
        number = len(self.daemons)
        log = self.folder / f"daemon-{number}.log"
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        run_dir = self.folder / f"run-{number}"
        with log.open("wb") as to:
            process = await asyncio.create_subprocess_exec(
                *MORTAL, sys.executable, "-m", "marketd", "--config", str(self.folder / "marketd.toml"), "run",
                stdin=DEVNULL, stdout=to, stderr=to, cwd=ROOT, env={**keep, "MARKETD_RUN_DIR": str(run_dir)},
            )  # fmt: skip
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    async def get_well(self) -> None:
        for daemon in self.daemons:
            await until(daemon.is_well, STARTS_S)

    async def execute(self, *statements: str) -> None:
        """As superuser, in the site's own database."""
        await _execute(self.dsn, *statements)

    async def lock_out(self) -> None:
        """The database takes no connections any more, and drops those that it has."""
        name = self.dsn.partition("///")[2].partition("?")[0]
        await _execute(
            self.admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )  # fmt: skip


@asynccontextmanager
async def site(admin: str, folder: Path) -> AsyncIterator[Site]:
    """A site in ``folder``, without daemons, whose exchange has six hours of candles behind it and a day before it."""
    now_ms = int(time.time() * 1000)
    clock = SystemClock()
    market = synthetic(5, SYMBOLS, now_ms - HISTORY_MS, now_ms + 86_400_000, no_trade_share=0)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(migrated_database(admin))
        exchange = await stack.enter_async_context(RehearsalServer(market, clock, Faults(clock)))
        here = Site(folder, admin, dsn, exchange)
        stack.push_async_callback(_end_all, here)
        yield here


async def _end_all(here: Site) -> None:
    for daemon in here.daemons:
        await daemon.end()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
