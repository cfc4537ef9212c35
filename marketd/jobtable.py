"""The job table as the daemon reads it.

Owns the way from the job file into the table and from the table to the job set of this moment. A file with a mistake
changes nothing; a row with a mistake is left out and named. Refuses to decide when it is read.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marketd.autorows import auto_rows
from marketd.clock import Clock
from marketd.config import Config, read_text
from marketd.errors import ConfigError
from marketd.jobfile import read_jobs
from marketd.joblist import difference
from marketd.jobset import JobSet, job_set
from marketd.model import JobRow
from marketd.store.runs import Runs

log = logging.getLogger(__name__)


@dataclass(slots=True)
class JobTable:
    runs: Runs
    clock: Clock
    _digest: str | None = None

    async def follow(self, config: Config, specs: Sequence[JobRow] | None) -> None:
        """Bring the rows of the job file up to date, all or nothing. A missing file changes nothing."""
        if specs is None:
            return
        owner = config.owner or socket.gethostname()
        change = difference(specs, await self.runs.file_jobs(owner))
        if not change:
            return
        await self.runs.follow_file([replace(row, owner=owner) for row in change.added], change.changed, change.removed)

    async def read_changed(self, config: Config) -> JobSet | None:
        """The job set that the enabled rows make now; None where no row has changed since it was read last."""
        return None if await self.runs.jobs_digest() == self._digest else await self.read(config)

    async def read(self, config: Config) -> JobSet:
        """The job set that the enabled rows make now, after the backfill rows are made that marketd makes by itself."""
        found = await self.seen(config)
        rows = await self.runs.backfill_rows()
        own = await asyncio.to_thread(auto_rows, found.jobs.values(), rows, config.timeframes)
        if own:
            await self.runs.keep_auto(own.create, own.enable, own.disable)
            found = await self.seen(config)
        return found

    async def seen(self, config: Config) -> JobSet:
        """The job set that the enabled rows make now; nothing is written."""
        # Taken before the rows: what changes in between is read once more.
        digest = await self.runs.jobs_digest()
        rows = await self.runs.enabled_jobs()
        # Many rows take seconds to check, and a while to look through; whoever waits on the loop must not.
        found = await asyncio.to_thread(
            job_set, rows, config.timeframes, config.derive, config.budgets, config.engine.settle_s
        )
        self._digest = digest
        return found


def job_file(config: Config, now_ms: int) -> Sequence[JobRow] | None:
    """What the job file wants; None where there is none to follow. ConfigError, with the path, on a mistake."""
    if config.jobs_file is None:
        return None
    specs = read_specs(config.jobs_file, config, now_ms)
    if specs is None:
        log.warning("job file missing", extra={"fields": {"path": str(config.jobs_file)}})
    return specs


def read_specs(path: Path, config: Config, now_ms: int) -> tuple[JobRow, ...] | None:
    """The entries of the job file; None where there is no file. ConfigError, with the path, where it is of no use."""
    text = read_text(path)
    if text is None:
        return None
    try:
        specs = read_jobs(text, now_ms, config.derive)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not specs:
        raise ConfigError(f"{path}: no [[jobs]] entry; it would disable every job that came from it")
    return specs
