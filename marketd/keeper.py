"""The keeper of the job set.

Owns what happens at the start, at every reload and in between: configuration and job file are read whole or refused
whole, the job table is followed all the time, and every reload ends in a verdict. Refuses to work on jobs; whoever
does is handed the configuration and the job set in one step.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from marketd.bulletin import ACCEPTED, REFUSED, WAITING, Bulletin, News, Verdict
from marketd.changes import Changes, changes
from marketd.clock import Clock
from marketd.config import Config
from marketd.errors import DatabaseUnavailable, MarketdError, StoreError
from marketd.jobset import JobSet
from marketd.jobtable import JobTable, job_file
from marketd.model import JobRow

log = logging.getLogger(__name__)

EVERY_S: Final = 15.0
_MOST_SAID: Final = 20
_TRY_AGAIN_S: Final = 1.0
TURN_EVERY_S: Final = 1.0

Take = Callable[[Config, JobSet], None]
Tell = Callable[[Verdict], None]
"""Hears that a reload has begun (``begun``, with the last verdict) or what came of it."""


@dataclass(slots=True)
class Keeper:
    """``await keep(specs, wanted)`` for ever; ``load`` reads the configuration anew, ``wanted`` asks for a reload.

    ``take`` is handed what is in force from now on; ``begin`` and ``tell`` hear of each reload,
    ``turned`` of each turn.
    """

    load: Callable[[], Config]
    table: JobTable
    clock: Clock
    bulletin: Bulletin
    take: Take
    begin: Callable[[], None]
    tell: Tell
    turned: Callable[[], None]
    config: Config
    jobs: JobSet
    news: News
    _owed: bool = False

    def put_off(self, wanted: asyncio.Event, error: StoreError) -> None:
        """There is nothing to reload yet: whoever asks hears that, and gets a verdict once there is."""
        say_away(error)
        if wanted.is_set():
            wanted.clear()
            self._owed = True
            self._begin()
            self._conclude(WAITING, reason=_waits_for(error))

    async def keep(self, specs: Sequence[JobRow] | None, wanted: asyncio.Event) -> None:
        """Begin with the job file as it was read at the start, ``specs``; a later one with a mistake is refused."""
        await self._start(specs, wanted)
        if self._owed:
            wanted.set()
        while True:
            self.turned()
            if wanted.is_set():
                wanted.clear()  # before anything is read: what is asked for from now on is another reload
                await self._reload(wanted)
            else:
                self.bulletin.tend()
                await self._follow_table()
            await self._rest(wanted)

    async def _rest(self, wanted: asyncio.Event) -> None:
        """Until the table is read again, or a reload is ``wanted``; one that waits is not one that hangs."""
        for _ in range(round(EVERY_S / TURN_EVERY_S)):
            if wanted.is_set():
                return
            self.turned()
            await _set_within(wanted, TURN_EVERY_S)

    async def _start(self, specs: Sequence[JobRow] | None, wanted: asyncio.Event) -> None:
        while True:
            try:
                await self._swap(self.config, specs)
                break
            except StoreError as error:
                self.put_off(wanted, error)
            self.turned()
            await self.clock.sleep(_TRY_AGAIN_S)

    async def _follow_table(self) -> None:
        """A change made by SQL or by a command is taken up without a signal."""
        try:
            before, found = self.jobs, await self.table.read_changed(self.config)
            if found is not None and found != before:
                await self._use(self.config, found)
                _say("job table changed", changes((self.config, before), (self.config, self.jobs)))
        except MarketdError as error:
            say_away(error)

    async def _reload(self, wanted: asyncio.Event) -> None:
        """Configuration and job file, all or nothing: a mistake changes nothing and is said."""
        self._begin()
        before = (self.config, self.jobs)
        try:
            config = self.load()
            specs = job_file(config, self.clock.now_ms())
            if not await self._swapped(config, specs, wanted):
                return
        except MarketdError as error:
            log.error("reload refused", extra={"fields": {"error": str(error)}})
            self._conclude(REFUSED, reason=str(error))
            return
        made = changes(before, (self.config, self.jobs))
        _say("reloaded", made)
        self._conclude(ACCEPTED, made)

    async def _swapped(self, config: Config, specs: Sequence[JobRow] | None, wanted: asyncio.Event) -> bool:
        """True once the new set is in force; False when another reload was asked for while the database was away."""
        told = False
        while True:
            try:
                await self._swap(config, specs)
                return True
            except DatabaseUnavailable as error:
                say_away(error)
                if not told:
                    self._conclude(WAITING, reason=_waits_for(error))
                    told = True
            self.turned()
            await _set_within(wanted, _TRY_AGAIN_S)
            if wanted.is_set():
                return False

    async def _swap(self, config: Config, specs: Sequence[JobRow] | None) -> None:
        await self.table.follow(config, specs)
        await self._use(config, await self.table.read(config))

    async def _use(self, config: Config, jobs: JobSet) -> None:
        refused = {number: why for number, why in jobs.refused.items() if self.jobs.refused.get(number) != why}
        self.config, self.jobs = config, jobs
        self.take(config, jobs)
        if refused:  # whoever wrote the row by SQL looks for the reason there
            await self.table.runs.note_refused(refused)

    def _begin(self) -> None:
        self.news = replace(self.news, begun=self.news.begun + 1)
        self.bulletin.post(self.news)
        self.begin()

    def _conclude(self, outcome: str, made: Changes | None = None, reason: str | None = None) -> None:
        verdict = Verdict(
            self.news.begun, outcome, self.clock.now_ms(), reason, "" if made is None else str(made),
            {} if made is None else made.shape(),
        )  # fmt: skip
        self.news = replace(self.news, last=verdict)
        self.bulletin.post(self.news)
        self.tell(verdict)


async def _set_within(event: asyncio.Event, longest_s: float) -> None:
    """Wait for ``event``, for ``longest_s`` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()


def _say(event: str, made: Changes) -> None:
    log.info(event, extra={"fields": {"changes": str(made)}})
    for kind, sentences in made.items():
        for sentence in sentences[:_MOST_SAID]:
            level = logging.WARNING if kind in ("refused", "infeasible") else logging.INFO
            log.log(level, kind, extra={"fields": {"what": sentence}})
        if len(sentences) > _MOST_SAID:
            log.info(kind, extra={"fields": {"and_more": len(sentences) - _MOST_SAID}})


def _waits_for(error: StoreError) -> str:
    return f"the database is away, the reload waits for it: {error}"


def say_away(error: MarketdError) -> None:
    log.warning("database away", extra={"fields": {"error": str(error), "once": "database"}})
