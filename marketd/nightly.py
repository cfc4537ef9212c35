"""The nightly look: a sample of the tables held against every promise, once a firing of its schedule.

Owns when it is due and what is done about its result: it is kept in the database, where every daemon's metrics read it,
and logged. After a run that found something everything is looked at, so that what is mended stops being said. Whoever
ran last, the command too, counts. Refuses to mend anything.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from marketd import cron
from marketd.clock import Clock
from marketd.errors import PrivilegeError, SchemaError, StoreError
from marketd.figures import Verification
from marketd.metrics import Metrics
from marketd.store.oracle import Oracle
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.verification import Sampling, Verdict, hold

log = logging.getLogger(__name__)

LONGEST_S: Final = 600.0
"""Within which another schedule is noticed, and a failure tried again."""


@dataclass(slots=True)
class Nightly:
    """``schedule`` is asked each time: it may have changed with the configuration; empty means never."""

    database: Database
    clock: Clock
    metrics: Metrics
    schedule: Callable[[], str]

    async def watch(self) -> None:
        """Run whenever it is due; needs the schema to be there."""
        while True:
            try:
                last = await Reports(self.database).last_verification()
                if due(self.schedule(), last, self.clock.now_ms()):
                    await self._run(last)
                wait_s = until_next_s(self.schedule(), self.clock.now_ms())
            except (StoreError, SchemaError, PrivilegeError) as error:
                self.metrics.verified("failed")
                log.warning("not verified", extra={"fields": {"error": str(error), "once": "verify"}})
                wait_s = LONGEST_S
            await self.clock.sleep(wait_s)

    async def _run(self, last: Verification | None) -> None:
        now_ms = self.clock.now_ms()
        oracle = Oracle(self.database)
        sampling = None if last is not None and last.violations else Sampling(now_ms)
        verdict = await hold(oracle, now_ms, sampling=sampling)
        await oracle.record(verdict.summary)
        self.metrics.verified("violated" if verdict.violations else "clean")
        _tell(verdict)


def due(schedule: str, last: Verification | None, now_ms: int) -> bool:
    """Whether nobody has looked since the latest firing of ``schedule``."""
    if not schedule:
        return False
    return last is None or last.ended_ms < cron.parse(schedule).latest_at_or_before(now_ms)


def until_next_s(schedule: str, now_ms: int) -> float:
    """How long nothing can become due."""
    if not schedule:
        return LONGEST_S
    return min(LONGEST_S, (cron.parse(schedule).next_after(now_ms) - now_ms) / 1000)


def _tell(verdict: Verdict) -> None:
    pieces = f"{verdict.pieces} of {verdict.pieces_known}"
    fields = {"kind": verdict.kind, "pieces": pieces, "took_s": round(verdict.seconds, 1)}
    log.info("verified", extra={"fields": fields})
    for finding in verdict.violations:
        shown = {key: value for key, value in finding.rows[0].items() if value is not None}
        log.error("promise broken", extra={"fields": {"id": finding.query.name, "rows": finding.total, **shown}})
