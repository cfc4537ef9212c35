"""``marketd try``: a daemon to look at, with trouble, that leaves nothing behind."""

import asyncio
import shutil
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from marketd import assembly
from marketd.cli.app import App, command, pass_app
from marketd.cli.output import say, talk
from marketd.cli.start import log_errors, on_loop
from marketd.cli.sweeper import PREFIX
from marketd.cli.trouble import SYMBOLS, Troubles, first_day
from marketd.clock import ScaledClock
from marketd.config import Config, load
from marketd.daemon import Daemon
from marketd.rehearsal import Faults, RehearsalServer, synthetic

SPEED: Final = 60.0
_PORT: Final = 8000
_DAY_MS: Final = 86_400_000
_HISTORY_DAYS: Final = 20
_MARKET_DAYS: Final = 400
_SEED: Final = 11

_CONFIGURATION: Final = """\
jobs_file = "jobs.toml"
[database]
embedded = true
data_dir = "postgres"
[http]
listen = "127.0.0.1:{port}"
[exchanges.bitfinex]
base_url = "{base_url}"
requests_per_minute = 1200
page_limit = 500
"""

_JOBS: Final = """\
[[jobs]]
exchange = "bitfinex"
symbols = {symbols}
timeframes = ["1m", "1h"]
job_type = "continuous"
schedule = "* * * * *"

[[jobs]]
exchange = "bitfinex"
symbols = {symbols}
timeframes = ["1m", "1h"]
job_type = "backfill"
start = {start}

[[jobs]]
exchange = "bitfinex"
job_type = "gap_repair"
schedule = "*/5 * * * *"
"""


@command("try")
@pass_app
def trial(app: App) -> int:
    """Look at it: a daemon with its status page, a made-up market, and something going wrong all the time.

    Needs no network, no configuration and no database of yours: a private PostgreSQL and a local exchange run in a
    temporary folder, which is gone when this ends, however it ends. A minute passes in a second. Ctrl-C ends it.

    \b
    Example:
      marketd try
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    return on_loop(_stage(app, folder))


async def _stage(app: App, folder: Path) -> int:
    now_ms = app.clock.now_ms()
    clock = ScaledClock(now_ms, SPEED)
    faults = Faults(clock)
    market = synthetic(_SEED, SYMBOLS, now_ms - _MARKET_DAYS * _DAY_MS, now_ms + _MARKET_DAYS * _DAY_MS, 0.05)
    async with _swept(folder), RehearsalServer(market, clock, faults) as server:
        config = _configured(folder, server.base_url, now_ms)
        log_errors(config)
        daemon = Daemon(lambda: config, clock, environ={"MARKETD_RUN_DIR": str(folder / "run")})
        running = asyncio.create_task(daemon.run())
        with suppress(asyncio.CancelledError):
            await _shown(daemon, running)
            say(f"The status page: http://{daemon.address}")
            say("A minute passes in a second. What goes wrong meanwhile is told here; Ctrl-C ends it.")
            async with assembly.database(config, application="marketd try") as opened:
                troubles = asyncio.create_task(Troubles(opened, clock, faults, talk).go_on())
                await asyncio.wait({running, troubles}, return_when=asyncio.FIRST_COMPLETED)
                troubles.cancel()
        await running
    talk("gone, and nothing is left")
    return 0


async def _shown(daemon: Daemon, running: "asyncio.Task[None]") -> None:
    """Until the page answers, or the daemon has ended."""
    listening = asyncio.create_task(daemon.listening.wait())
    await asyncio.wait({listening, running}, return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if running.done():
        running.result()


def _configured(folder: Path, base_url: str, now_ms: int) -> Config:
    path = folder / "marketd.toml"
    path.write_text(_CONFIGURATION.format(port=_free_port(), base_url=base_url), encoding="utf-8")
    start = first_day(now_ms - _HISTORY_DAYS * _DAY_MS)
    jobs = _JOBS.format(symbols=list(SYMBOLS[:-1]), start=start).replace("'", '"')
    (folder / "jobs.toml").write_text(jobs, encoding="utf-8")
    return load(path, {})  # not the environment's database: it may be a real one


def _free_port() -> int:
    """The usual port; another one where somebody has it."""
    for port in (_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return 0


@asynccontextmanager
async def _swept(folder: Path) -> AsyncIterator[None]:
    """Whatever happens to this process, the folder goes, and the server that runs in it.

    Another process waits for the end of this one, which closes the pipe between them even when it is killed.
    """
    sweeper = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketd.cli.sweeper", str(folder), stdin=PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if sweeper.stdin is not None:
            sweeper.stdin.close()
        await sweeper.wait()
