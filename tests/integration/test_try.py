"""``marketd try``: a page with trouble within seconds, and nothing left of it, however it ends."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.daemons import until
from tests.processes import ROOT

pytestmark = pytest.mark.once


@asynccontextmanager
async def tried(folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """The process, and where its page is."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketd", "try", stdout=PIPE, stderr=PIPE, env=environ, cwd=folder
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = await process.stdout.readline()
        found = re.search(rb"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said
        yield process, found[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def page(url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(url) as reply:
        return await reply.text()


def left(folder: Path) -> list[Path]:
    return list(folder.glob("marketd-try-*"))


def servers(folder: Path) -> list[str]:
    """Processes that were started for what lies in the folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = one.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.timeout(90)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
async def test_a_page_with_trouble_and_nothing_left_of_it(tmp_path: Path, end: signal.Signals) -> None:
    async def gone() -> bool:
        return not left(tmp_path) and not servers(tmp_path)

    async def stored() -> bool:
        return "100 %" in await page(url)

    async with tried(tmp_path) as (process, url):
        await until(stored)
        assert left(tmp_path)
        assert servers(tmp_path)
        process.send_signal(end)
        assert await process.wait() == (0 if end is signal.SIGINT else -signal.SIGKILL)
        await until(gone, 15)
