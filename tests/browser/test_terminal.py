"""The same in a terminal: a picture of what is drawn there, with its colours and without."""

import re
import sys
from collections.abc import Callable
from io import StringIO

import aiohttp
import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from marketd.cli import blocks, top
from marketd.cli.status import show_status
from marketd.cli.tables import console
from marketd.clock import ScaledClock
from marketd.store.session import Database
from tests.browser.conftest import PICTURES
from tests.browser.scenes import SCENES
from tests.integration.ledger_rows import Rows
from tests.sites import Site
from tests.told import NOW_MS

WIDE = 116
Shown = Callable[[str], Text]
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # they are asked from elsewhere


class Screen(StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """A terminal of ``WIDE`` columns from now on; what it shows goes, as a picture, into a file of the given name."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(WIDE))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def picture(name: str) -> Text:
        text = Text.from_ansi(screen.getvalue())
        recorded = Console(record=True, width=WIDE, file=StringIO())
        recorded.print(text)
        PICTURES.mkdir(parents=True, exist_ok=True)
        recorded.save_svg(str(PICTURES / f"{name}.svg"), title=f"marketd {name.split('-')[1]}", code_format=FORMAT)
        return text

    return picture


def coloured(text: Text, part: str) -> bool:
    """Whether the first ``part``, a pattern, stands there in a colour."""
    found = re.search(part, text.plain)
    assert found, part
    at = found.start()
    return any(span.start <= at < span.end and getattr(span.style, "color", None) for span in text.spans)


async def test_status(monkeypatch: pytest.MonkeyPatch, database: str, rows: Rows, site: Site) -> None:
    shown = terminal(monkeypatch)
    await SCENES["holes"].lay(rows, site.told)
    async with Database(database, size=1) as opened:
        await show_status(opened, ScaledClock(NOW_MS, 1e-9))
    console().print(blocks.legend())
    text = shown("terminal-status")
    assert max(len(line) for line in text.plain.splitlines()) <= WIDE
    for cause in ("not_asked", "failed", "late", "lost", "suspect"):
        assert coloured(text, rf"\d {cause}"), cause
    assert all(coloured(text, sign) for sign in ("█", "N{2}", "F{2}", "L{2}", "X{2}"))


async def test_status_without_colours(monkeypatch: pytest.MonkeyPatch, database: str, rows: Rows, site: Site) -> None:
    shown = terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    await SCENES["holes"].lay(rows, site.told)
    async with Database(database, size=1) as opened:
        await show_status(opened, ScaledClock(NOW_MS, 1e-9))
    text = shown("terminal-status-plain")
    assert not any(coloured(text, sign) for sign in ("█", "N{2}", "F{2}", "L{2}", "X{2}"))


async def test_top(monkeypatch: pytest.MonkeyPatch, rows: Rows, site: Site) -> None:
    shown = terminal(monkeypatch)
    await SCENES["backfill"].lay(rows, site.told)
    async with aiohttp.ClientSession() as http:
        console().print(top.drawn(await top.look(http, f"http://{site.address}")))
    text = shown("terminal-top")
    assert max(len(line) for line in text.plain.splitlines()) <= WIDE
    assert "━" in text.plain
    for said in ("26 of 30", "continuous 4, backfill 22", "requests left", "1 min 35 s", " and 2 more"):
        assert said in text.plain
