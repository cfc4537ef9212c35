"""A real Prometheus on loopback, and the means to ask it.

Owns its process, its configuration and the four questions that tests have. Refuses to know what is scraped.
"""

import asyncio
import json
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.daemons import until
from tests.monitoring.sites import MORTAL, said

HISTORY: Final = "30m"  # longer than any of these tests
PATIENCE_S: Final = 20


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Answers of the one at ``url``, which writes its log to ``log``."""

    url: str
    log: Path
    process: Process
    session: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:
        """The ``data`` of a reply of its HTTP API."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as reply:
            said = await reply.json()
        assert said["status"] == "success", said
        return said["data"]

    async def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """(labels, value) of each sample that ``expression`` yields now."""
        found = (await self.ask("query", query=expression))["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    async def load(self, file: Path) -> None:
        """Read the configuration anew, and wait until the rules of ``file`` are evaluated."""
        self.process.send_signal(signal.SIGHUP)

        async def evaluated() -> bool:
            rules = await self.rules(file)
            return bool(rules) and all(rule["health"] != "unknown" for rule in rules)

        await until(evaluated, PATIENCE_S)

    async def rules(self, file: Path) -> Sequence[Mapping[str, Any]]:
        """The alert rules of ``file`` as Prometheus understands them, with their state."""
        groups = (await self.ask("rules", type="alert"))["groups"]
        return [rule for group in groups if group["file"] == str(file) for rule in group["rules"]]

    async def firing(self, job: str) -> set[str]:
        """Alerts of ``job`` that fire at this moment."""
        alerts = (await self.ask("alerts"))["alerts"]
        mine = [alert["labels"] for alert in alerts if alert["state"] == "firing" and alert["labels"]["job"] == job]
        return {labels["alertname"] for labels in mine}

    async def fired(self, job: str) -> set[str]:
        """Alerts of ``job`` that have ever fired: some end by themselves before a test looks."""
        ever = f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing", job="{job}"}}[{HISTORY}]))'
        return {labels["alertname"] for labels, _ in await self.query(ever)}


@asynccontextmanager
async def running(
    folder: Path, rule_files: Sequence[Path], targets: Mapping[str, Sequence[str]]
) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes ``targets`` (job -> addresses), and evaluates ``rule_files`` that there are, once a
    second. It is at work when the block begins: its first scrapes come some seconds after its start.
    """
    program = shutil.which("prometheus")
    assert program is not None, "these tests need Debian's package prometheus"
    config, log = folder / "prometheus.json", folder / "prometheus.log"
    config.write_text(json.dumps(_configuration(rule_files, targets)))  # JSON is YAML
    words = (f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", "--web.listen-address=127.0.0.1:0")
    with log.open("wb") as to:
        process = await asyncio.create_subprocess_exec(
            *MORTAL, program, *words, stdin=DEVNULL, stdout=DEVNULL, stderr=to
        )
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(PATIENCE_S):
                url = f"http://{await _address(process, log)}"
            await until(lambda: _ready(session, url), PATIENCE_S)
            prometheus = Prometheus(url, log, process, session)
            scraped = sum(len(addresses) for addresses in targets.values())
            await until(lambda: _all_up(prometheus, scraped), PATIENCE_S)
            yield prometheus
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _configuration(rule_files: Sequence[Path], targets: Mapping[str, Sequence[str]]) -> Mapping[str, object]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rule_files],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
        ],
    }


async def _address(process: Process, log: Path) -> str:
    """Where it listens: it picks a free port by itself, and says which one."""
    while not (found := re.search(r'msg="Listening on" address=(\S+)', said(log))):
        assert process.returncode is None, said(log)
        await asyncio.sleep(0.05)
    return found[1]


async def _all_up(prometheus: Prometheus, targets: int) -> bool:
    return await prometheus.query("sum(up)") == [({}, targets)]


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/-/ready") as reply:
        return reply.status == 200
