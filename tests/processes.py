"""``marketd run`` as a process of its own: its log, its port, its end."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.canary import unseen
from tests.daemons import until

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Answer:
    status: int
    shape: Any


@dataclass
class Marketd:
    """A daemon that was started; ``environ`` is what it sees, for commands that shall speak to it."""

    process: Process
    log: Path
    environ: Mapping[str, str]

    def lines(self, event: str = "") -> Sequence[Mapping[str, Any]]:
        """What it has logged so far: all of it, or the lines of one event."""
        found = [json.loads(line) for line in unseen(self.log.read_text()).splitlines()]
        return [line for line in found if event in ("", line["event"])]

    async def said(self, event: str, seconds: float = 20) -> Mapping[str, Any]:
        """The first line of ``event``."""

        async def there() -> bool:
            return bool(self.lines(event))

        await until(there, seconds)
        return self.lines(event)[0]

    async def get(self, path: str) -> Answer:
        address = (await self.said("listening"))["address"]
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as reply:
            text = unseen(await reply.text())
            return Answer(reply.status, json.loads(text) if "json" in reply.headers["Content-Type"] else text)

    async def lease_held(self) -> bool:
        return 'marketd_lease_held{exchange="bitfinex"} 1.0' in (await self.get("/metrics")).shape

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def ignores_hang_ups(self) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored, 16) & 1 << (signal.SIGHUP - 1))

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


def environment(folder: Path, dsn: str, base_url: str, name: str, **more: str) -> Mapping[str, str]:
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_CONFIG") if key in os.environ}
    return {
        **keep, "PYTHONPATH": str(ROOT), "DATABASE_URL": f"postgresql://{dsn.partition('://')[2]}",
        "MARKETD_CONFIG": str(folder / "marketd.toml"), "MARKETD_RUN_DIR": str(folder / f"run-{name}"),
        "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url,
        "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "60000",
        "MARKETD_HTTP__LISTEN": "127.0.0.1:0", "MARKETD_LOG__FORMAT": "json", **more,
    }  # fmt: skip


async def called(environ: Mapping[str, str], *words: str) -> tuple[int | None, str]:
    """The exit code of a command, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketd", *words, env=environ, stdout=PIPE, stderr=STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def succeed(environ: Mapping[str, str], *words: str) -> None:
    code, said = await called(environ, *words)
    assert code == 0, (words, said)


@asynccontextmanager
async def started(
    folder: Path, dsn: str, base_url: str, name: str = "one", *, program: str = "marketd", **more: str
) -> AsyncIterator[Marketd]:
    """A daemon that reads ``folder/marketd.toml``; ``more`` is added to its environment. Stopped at the end."""
    environ, log = environment(folder, dsn, base_url, name, **more), folder / f"{name}.log"
    with log.open("wb") as stream:  # a file, not a pipe: a daemon that is never read from must not wait
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            program,
            "run",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=stream,
            env=environ,
            cwd=folder,
        )
    daemon = Marketd(process, log, environ)
    try:
        yield daemon
    finally:
        await _ended(daemon)
    unseen(log.read_text())


async def _ended(daemon: Marketd) -> None:
    if not daemon.alive:
        return
    daemon.send(signal.SIGCONT)
    daemon.send(signal.SIGTERM)
    try:
        async with asyncio.timeout(10):
            await daemon.process.wait()
    except TimeoutError:
        daemon.send(signal.SIGKILL)
        await daemon.process.wait()
