"""The stage: all scenes at once, each at a site of its own, before one Prometheus.

Each scene is a scrape job and has its own copy of the rules, so the scenes do not see each other, and all of them
together take no longer than the longest.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.daemons import until
from tests.monitoring.compression import SHORTEST_MS, compressed
from tests.monitoring.prometheus import Prometheus, running
from tests.monitoring.scenes import HEALTHY, NO_TARGET, SCENES, Scene
from tests.monitoring.sites import ROOT, STARTS_S, Site, said, site

SHIPPED: Final = ROOT / "packaging" / "prometheus" / "marketd-alerts.yml"
CALM_S: Final = 2 * SHORTEST_MS / 1000
"""How long everything is watched before anything is hurt: long enough for most alerts to fire."""
PATIENCE_S: Final = 150
"""How long after the rules are loaded the last alert may fire."""
ENDS_S: Final = 110
"""The least that a test waits, for an alert to end too: promises are held once a minute, figures read twice."""
LOG_LINES: Final = 25


@dataclass(frozen=True, slots=True)
class Stage:
    """``calm`` says for each scene which alerts fired before anything was hurt; ``rules`` where its rules are."""

    sites: Mapping[str, Site]
    prometheus: Prometheus
    rules: Mapping[str, Path]
    began_s: float
    calm: Mapping[str, set[str]]

    async def until(self, scene: str, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for ``condition``; a wait in vain tells the story of ``scene``.

        Time runs for all scenes at once, so where one has been waited for in vain, the others need not be.
        """
        left_s = self.began_s + PATIENCE_S - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            await until(condition, max(left_s, ENDS_S))
            return
        pytest.fail(await self.story(scene), pytrace=False)

    async def story(self, scene: str) -> str:
        """The state of the rules of ``scene``, and the ends of all logs that may explain it."""
        rules = await self.prometheus.rules(self.rules[scene])
        told = [f"{rule['name']} {rule['state']} {rule.get('lastError', '')} {rule['alerts']}" for rule in rules]
        logs = [daemon.log for daemon in self.sites[scene].daemons] if scene in self.sites else []
        for log in (*logs, self.prometheus.log):
            lines = [line for line in said(log).splitlines() if "level=info" not in line]
            told += [f"--- the end of {log.name}", *lines[-LOG_LINES:]]
        fired = " ".join(sorted(await self.prometheus.fired(scene))) or "nothing"
        return "\n".join([f"scene {scene}: {fired} has fired", *told])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """All scenes, struck."""
    folder = tmp_path_factory.mktemp("stage")
    async with AsyncExitStack() as stack:
        sites = {}
        for name in SCENES:
            (folder / name).mkdir()
            sites[name] = await stack.enter_async_context(site(server, folder / name))
        async with asyncio.TaskGroup() as group:
            for name, scene in SCENES.items():
                group.create_task(_furnish(sites[name], scene))
        targets = {name: [daemon.address for daemon in sites[name].daemons[-SCENES[name].scraped :]] for name in sites}
        rules = {name: folder / f"{name}.yml" for name in (*SCENES, NO_TARGET)}
        prometheus = await stack.enter_async_context(running(folder, (SHIPPED, folder / "*.yml"), targets))
        for here in sites.values():
            await here.get_well()
        # Only now: no shortened time could bear with the first seconds of a Prometheus or a daemon.
        for name, file in rules.items():
            file.write_text(compressed(SHIPPED.read_text(), job=name))
        await prometheus.load(rules[HEALTHY])
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(CALM_S)
        calm = {name: await prometheus.fired(name) for name in SCENES}
        for name, scene in SCENES.items():
            if scene.strike is not None:
                await scene.strike(sites[name])
        yield Stage(sites, prometheus, rules, began_s, calm)


async def _furnish(here: Site, scene: Scene) -> None:
    """Start the daemons one after another, so that the first one is at work."""
    here.exchange.faults.add(*scene.faults)
    here.write_config()
    here.write_jobs(scene.symbols)
    for _ in range(scene.daemons):
        daemon = await here.start_daemon()
        async with asyncio.timeout(STARTS_S):
            await daemon.learn_address()
