"""Chromium, and what must hold of every page that it shows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, async_playwright

from tests.sites import rows, site

__all__ = ["rows", "site"]

CHROMIUM = "/usr/bin/chromium"
PICTURES = Path(__file__).parents[2] / "build" / "pictures"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@dataclass
class Eyes:
    """One window, and what went wrong in it."""

    page: Page
    name: str
    width: int
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type != "log" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    async def look(self, url: str) -> str:
        """Open a page, keep a picture of it, hold it against what must always hold; what a person reads there."""
        await self.page.goto(url)
        await self.page.wait_for_load_state("networkidle")
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{self.name}.png", full_page=True)
        assert self.complaints == []
        origin = "/".join(url.split("/")[:3])
        assert [one for one in self.asked if not one.startswith((origin, "data:"))] == []
        assert await self.page.evaluate("document.documentElement.scrollWidth") <= self.width, "wider than the window"
        await self.is_accessible()
        return await self.page.inner_text("body")

    async def is_accessible(self) -> None:
        """Contrast, labels, landmarks, headings: by axe."""
        found: Any = await Axe().run(self.page)
        said = [
            f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for each in found.response["violations"] for node in each["nodes"][:3]
        ]  # fmt: skip
        assert said == []


@pytest.fixture(params=[f"{size}-{scheme}" for size in SIZES for scheme in SCHEMES])
async def eyes(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Eyes]:
    size, scheme = request.param.split("-")
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    name = request.node.name.replace("[", "-").replace("]", "").removeprefix("test_")
    yield Eyes(await context.new_page(), name, width)
    await context.close()
