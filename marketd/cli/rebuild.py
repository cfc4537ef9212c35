"""``marketd verify --rebuild-ledger``: the ledger made anew from the candles that are there.

Owns which series that concerns, the lease of each exchange meanwhile, and the run that counts what was done. For a
database that was restored in part: candles of one time, a ledger of another one or none. The exchange is not asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from marketd import assembly, words
from marketd.blocks import CHUNK, chunks
from marketd.cli.output import Seldom, say, show_json, talk
from marketd.clock import Clock
from marketd.config import Config
from marketd.errors import Busy, ExchangeHeld, MarketdError
from marketd.exchanges import EXCHANGES
from marketd.model import JobType, RunStatus, Series
from marketd.ports import Events, Progress
from marketd.store.oracle import Oracle
from marketd.store.orders import OrderRow
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.verification import Which
from marketd.walker import Account


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A series whose ledger was made anew: candles it knows, and intervals it knew before and does not any more."""

    series: Series
    stored: int
    forgotten: int

    def shape(self) -> dict[str, Any]:
        return {**self.series._asdict(), "stored": self.stored, "forgotten": self.forgotten}


async def rebuilt(config: Config, clock: Clock, which: Which) -> list[Rebuilt]:
    """Every series of ``which`` that is asked for; those that are built from another follow it.

    Busy where a daemon works on the exchange; other commands are waited for.
    """
    done: list[Rebuilt] = []
    async with assembly.database(config, application="marketd verify") as opened:
        chosen = [series for series in await Oracle(opened).series() if which.concerns(series._asdict())]
        for exchange, series in groupby(chosen, key=lambda one: one.exchange):
            if exchange not in EXCHANGES:
                talk(f"{exchange}: not an exchange that this version knows; its series are left alone")
                continue
            done += await _of_exchange(config, clock, opened, exchange, list(series))
    return done


async def _of_exchange(
    config: Config, clock: Clock, opened: Database, exchange: str, chosen: Sequence[Series]
) -> list[Rebuilt]:
    try:
        lease = await assembly.patient_lease(exchange, opened, wait=True, tell=talk)
    except ExchangeHeld as held:
        raise Busy(f"{held}: stop it first, its ledger would change under it") from held
    books = assembly.Books.of(opened)
    async with (
        Transport(clock) as transport,
        assembly.lane(
            exchange, config, books, transport, clock, Events(), Progress(),
            leases=assembly.leases_of(opened, "command"), lease=lease,
        ) as lane,
    ):  # fmt: skip
        work = _Work(lane, books, clock, config)
        return [one for series in chosen if (one := await work.one(series)) is not None]


@dataclass(frozen=True, slots=True)
class _Work:
    lane: assembly.Lane
    books: assembly.Books
    clock: Clock
    config: Config

    async def one(self, series: Series) -> Rebuilt | None:
        """The ledger of ``series``; None for one that is built from another, which is noted where it was not."""
        facts = await self.books.reader.facts(series)
        parent = self.config.derive[series.exchange].get(series.timeframe) or (facts.derived_from if facts else None)
        await self.books.reader.know(series, parent)
        if parent is not None:
            return None
        (job,) = await self.books.orders.give([OrderRow(*series, JobType.GAP_REPAIR)], assembly.holder())
        begun = await self.books.runs.begin(self.lane.name, [(job, self.clock.now_ms())], self.lane.lease.epoch)
        account, before = Account(begun[job], self.lane.lease.epoch, 0), await self._answered(series)
        try:
            await self._blocks(series, account)
        except MarketdError as error:
            await self.books.runs.finish(begun[job], RunStatus.FAILED, str(error), 0)
            raise
        await self.books.runs.finish(begun[job], RunStatus.SUCCESS, None, 0)
        after = await self._answered(series)
        return Rebuilt(series, after, max(0, before - after))

    async def _blocks(self, series: Series, account: Account) -> None:
        await self.books.reader.note_rebuilt(series)
        blocks = await self.books.reader.blocks(series)
        seldom = Seldom()
        for number, chunk in enumerate(chunks(blocks)):
            seldom(f"{series}: {number * CHUNK} of {len(blocks)} blocks")
            await account.write(partial(self.books.pages.rebuild, series, chunk, at_ms=self.clock.now_ms()))

    async def _answered(self, series: Series) -> int:
        return (await self.books.reader.answered(series, (-(2**31) + 1440, 2**31 - 1441))).size


def show_rebuilt(done: Sequence[Rebuilt], *, as_json: bool) -> None:
    if as_json:
        show_json({"series": [one.shape() for one in done]})
        return
    for one in done:
        say(f"{one.series}: {words.count(one.stored)} stored, {words.count(one.forgotten)} no longer known")
    if any(one.forgotten for one in done):
        say("what is not known any more is asked for again by the next backfill of each series")
    elif not done:
        say("no series yet")
