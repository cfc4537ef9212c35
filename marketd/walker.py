"""Walking a series, page by page.

Owns the pipeline: while one page is stored the next one is fetched, each page is one transaction, and a walk stops
only at a page border. Deals with answers that prove nothing: tried three times, refused pages asked in halves.
What to walk is decided by ``planner``, what an answer changes by ``ledger``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from marketd import planner
from marketd.blocks import union
from marketd.clock import Clock
from marketd.errors import BadReply, DatabaseUnavailable, DiskFull, ExchangeError, MarketdError, StoreError, leaf
from marketd.fetcher import Asking
from marketd.model import ADDED, Answer, Ask, Series, Tally
from marketd.page import TooManyDropped
from marketd.planner import Edges, Walk
from marketd.ports import Events, Pages, Progress, SeriesReader, Stored, Writing
from marketd.ranges import NOTHING, Ranges, highest

_TRIES = 3
_HOPELESS = 4  # single intervals that cannot be answered, in one walk: then it is the exchange, not the interval
_STORE_TRIES = 4


class Stopped(MarketdError):
    """The walk was asked to stop and did so at a page border."""


@dataclass(slots=True)
class Account:
    """One run's own: where its pages are counted, and whether it shall stop. Series of a run may share it at once."""

    run_id: int
    epoch: int
    settle_ms: int
    tally: Tally = field(default_factory=Tally)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _fetched: int = 0
    _left: dict[Series, int] = field(default_factory=dict)

    def writing(self) -> Writing:
        return Writing(self.epoch, self.run_id, replace(self.tally, fetched=self._fetched), self.settle_ms)

    def asked(self) -> None:
        """Count a request."""
        self.tally = replace(self.tally, requests=self.tally.requests + 1)

    def began(self, series: Series, intervals: int) -> None:
        """So many intervals are to be asked for."""
        self.tally = replace(self.tally, planned=self.tally.planned + intervals)
        self.is_left(series, intervals)

    def is_left(self, series: Series, intervals: int) -> None:
        """So many intervals of the series are still to be asked for."""
        left = self.tally.left + intervals - self._left.get(series, 0)
        self._left[series] = intervals
        self.tally = replace(self.tally, left=left)

    def in_hand(self, answer: Answer) -> None:
        """Count an answer that is about to be stored."""
        self._fetched += answer.fetched

    async def write(self, page: Callable[[Writing], Awaitable[Stored]]) -> Stored:
        """Write ``page`` on this account, and count what it has changed.

        What the run's row counts holds what other pages have changed meanwhile, too.
        """
        writing = self.writing()
        stored = await page(writing)
        now, before, after = self.tally, writing.tally, stored.tally
        kept = {name: max(getattr(now, name), getattr(after, name)) for name in ("fetched", *ADDED)}
        self.tally = replace(
            now,
            **kept,
            derived=now.derived + after.derived - before.derived,
            dropped=now.dropped + after.dropped - before.dropped,
            last_open_ms=highest(now.last_open_ms, after.last_open_ms),
        )
        return stored


@dataclass(slots=True)
class Walker:
    asking: Asking
    pages: Pages
    reader: SeriesReader
    clock: Clock
    events: Events
    progress: Progress
    account: Account
    _tries: list[tuple[Ranges, int]] = field(default_factory=list)
    lack: Callable[[], DiskFull | None] = lambda: None
    """Asked before each page whether there is too little room for it."""

    ahead: int = 0
    """Intervals of walks that are still to come, for whoever watches."""

    newest: int | None = None
    """The newest interval of which an answer had a candle."""

    answered_end: int | None = None
    """End of what is answered by now in the blocks that were written."""

    _hopeless: int = 0
    _stalled: int = 0
    _owe: Ranges = NOTHING

    async def take(self, walk: Walk, answer: Answer, *, owe_from: int | None = None) -> Walk:
        """The walk after ``answer``, which came otherwise than by asking for a page; ``owe_from`` as in ``walk``."""
        self._owe_from(owe_from, walk)
        walk = await self._taken(walk, answer)
        self.progress.advanced(walk.series, walk.remaining.size + self.ahead, self.account.tally)
        return walk

    async def walk(self, walk: Walk, *, most_pages: int | None = None, owe_from: int | None = None) -> Walk:
        """Ask until nothing is left or ``most_pages`` are used up; returns what is left.

        ``owe_from``: the end of what was answered before; the first page opens a gap for what it leaves out from
        there. Raises Stopped at a page border, and the ExchangeError or StoreError that ended it.
        """
        self._tries.clear()
        self._owe_from(owe_from, walk)
        self._stalled = pages = 0
        fetched, claimed = None, NOTHING
        edges: Edges | None = None
        lack: DiskFull | None = None
        while True:
            ask = None
            wanted = walk.remaining and (most_pages is None or pages < most_pages) and not self.account.stop.is_set()
            if wanted and (lack := lack or self.lack()) is None:
                edges = edges or await self.reader.edges(walk.series, _current(walk))
                ask = planner.next_ask(walk, edges)
            if ask is None and fetched is None:
                break
            stored, outcome = await self._step(fetched, ask, walk)
            if stored is not None and fetched is not None:
                settled = await self._settle(walk, fetched, stored, claimed)
                if settled is not walk:
                    walk, edges = settled, None
            fetched = None
            if isinstance(outcome, Answer):
                pages += 1
                claimed = _claimed(walk, outcome)
                moved = planner.after(walk, outcome)
                edges = None if edges is None else planner.edges_after(edges, outcome, moved)
                self._refuse_to_stall(walk, moved)
                walk, fetched = moved, outcome
            elif isinstance(outcome, BadReply) and ask is not None:
                walk, edges = await self._refused(walk, ask, outcome), None
            elif outcome is not None:
                raise outcome
            self.progress.advanced(walk.series, walk.remaining.size + self.ahead, self.account.tally)
        if lack is not None:
            raise lack
        if walk.remaining and self.account.stop.is_set():
            raise Stopped("stopped at a page border")
        return walk

    def _owe_from(self, start: int | None, walk: Walk) -> None:
        self._owe = NOTHING if start is None or not walk.remaining else Ranges.of((start, walk.remaining.end))

    def _refuse_to_stall(self, before: Walk, after: Walk) -> None:
        """Answers that speak for nothing new would be asked for without end."""
        self._stalled = self._stalled + 1 if after.remaining == before.remaining else 0
        if self._stalled >= _TRIES:
            raise BadReply(f"{before.series}: {_TRIES} answers in a row spoke for nothing that was asked")

    async def _step(
        self, fetched: Answer | None, ask: Ask | None, walk: Walk
    ) -> tuple[Stored | None, Answer | ExchangeError | None]:
        """Store one page and fetch the next at the same time; a failed fetch does not undo the store."""
        if fetched is None:
            return None, await self._fetch(ask)
        if ask is None:
            return await self._store(fetched, walk), None
        return await _both(self._store(fetched, walk), self._fetch(ask))

    async def _fetch(self, ask: Ask | None) -> Answer | ExchangeError | None:
        if ask is None:
            return None
        try:
            return await self.asking.answer(ask)
        except ExchangeError as error:
            return error

    async def _store(self, answer: Answer, walk: Walk) -> Stored:
        owe = NOTHING
        if answer.covered:
            owe, self._owe = self._owe, NOTHING
        began_ms, series = self.clock.now_ms(), answer.ask.series
        self.account.is_left(series, walk.remaining.size + self.ahead)
        self.account.in_hand(answer)
        stored = await self._written(lambda writing: self.pages.record(answer, writing, owe=owe, first=walk.first))
        self.events.page_stored(
            series, stored.inserted, stored.updated, stored.updated, stored.change.emptied, answer.drops,
            (self.clock.now_ms() - began_ms) / 1000,
        )  # fmt: skip
        self._tell_gaps(series, stored)
        self._look_back(answer, stored)
        return stored

    def _look_back(self, answer: Answer, stored: Stored) -> None:
        ends = (block.answered.end for block in stored.change.blocks if block.answered)
        self.answered_end = highest(self.answered_end, *ends)
        if answer.rows:
            self.newest = highest(self.newest, answer.rows.end - 1)

    async def _written(self, page: Callable[[Writing], Awaitable[Stored]]) -> Stored:
        """A page in hand is not thrown away because the server restarts: storing it again is harmless."""
        for attempt in range(1, _STORE_TRIES + 1):
            try:
                return await self.account.write(page)
            except StoreError as error:
                self.events.store_failed(error.kind)
                if not isinstance(error, DatabaseUnavailable) or attempt == _STORE_TRIES:
                    raise
                await self.clock.sleep(2.0**attempt)
        raise AssertionError("unreachable: the last attempt raises")

    async def _settle(self, walk: Walk, answer: Answer, stored: Stored, claimed: Ranges) -> Walk:
        """The walk after an answer was stored: what it ``claimed`` of the walk but could not prove goes back into it.

        Three times at most, counted for the stretch however its asks are framed; then it is given up.
        """
        unproven = claimed - stored.change.covered
        if not unproven:
            return walk
        before = [(stretch, tries) for stretch, tries in self._tries if stretch & unproven]
        tries = 1 + max((tries for _, tries in before), default=0)
        stretch = union([unproven, *(stretch for stretch, _ in before)])
        self._tries = [entry for entry in self._tries if entry not in before]
        if tries < _TRIES:
            self._tries.append((stretch, tries))
            return replace(walk, remaining=walk.remaining | unproven)
        await self._give_up(walk.series, unproven, "the exchange's answer lacks candles that are known to be there")
        return replace(walk, remaining=walk.remaining - unproven)

    async def _taken(self, walk: Walk, answer: Answer) -> Walk:
        """The walk after ``answer`` is stored, outside of the pipeline."""
        claimed, walk = _claimed(walk, answer), planner.after(walk, answer)
        return await self._settle(walk, answer, await self._store(answer, walk), claimed)

    async def _give_up(self, series: Series, span: Ranges, error: str) -> None:
        at_ms = self.asking.fetcher.now_ms()
        closed = self.asking.fetcher.closed(series)
        span = span & closed
        if not span:
            return  # asked for by a clock that was ahead: what has not closed yet is not owed
        owe, self._owe = self._owe & closed, NOTHING
        stored = await self._written(
            lambda writing: self.pages.record_failure(series, span, writing, at_ms=at_ms, error=error, owe=owe)
        )
        self._tell_gaps(series, stored)

    def _tell_gaps(self, series: Series, stored: Stored) -> None:
        opened, closed = stored.change.opened, stored.change.closed
        if opened or closed:
            self.events.gaps_changed(series, opened, closed)

    async def _refused(self, walk: Walk, ask: Ask, error: BadReply) -> Walk:
        """A page refused once is asked again; refused twice, in halves; what fails alone becomes a failed gap."""
        if isinstance(error, TooManyDropped):
            raise error
        try:
            answer = await self.asking.answer(ask)
        except BadReply as again:
            if ask.end - ask.start > 1:
                low, high = planner.halves(ask)
                for half in (high, low) if ask.newest_first else (low, high):
                    walk = await self._half(walk, half)
                return walk
            return await self._hopeless_interval(walk, ask, again)
        return await self._taken(walk, answer)

    async def _half(self, walk: Walk, ask: Ask) -> Walk:
        if not Ranges.of(ask.span) & walk.remaining:
            return walk
        if self.account.stop.is_set():
            raise Stopped("stopped at a page border")
        try:
            answer = await self.asking.answer(ask)
        except BadReply as error:
            return await self._refused(walk, ask, error)
        return await self._taken(walk, answer)

    async def _hopeless_interval(self, walk: Walk, ask: Ask, error: BadReply) -> Walk:
        self._hopeless += 1
        if self._hopeless >= _HOPELESS:
            raise error
        span = Ranges.of(ask.span)
        await self._give_up(walk.series, span, str(error))
        return replace(walk, remaining=walk.remaining - span)


def _claimed(walk: Walk, answer: Answer) -> Ranges:
    """What ``answer`` says it settles of the walk; one that covers nothing claims all that it was asked for."""
    return answer.still_served(walk.remaining & (answer.covered or Ranges.of(answer.ask.span)))


def _current(walk: Walk) -> tuple[int, int]:
    span = walk.current
    assert span is not None  # noqa: S101  (asked only while something is left)
    return span


async def _both(
    store: Awaitable[Stored], fetch: Awaitable[Answer | ExchangeError | None]
) -> tuple[Stored, Answer | ExchangeError | None]:
    """Both at once. A failed store ends the fetch; its error comes out as itself, not as a group.

    It is handed out of the group as a value: a child that fails leaves the count of cancellations of its parent raised
    (Python 3.11), and every later failure in this task would then look like a cancellation.
    """

    async def run_store(fetching: asyncio.Task[Answer | ExchangeError | None]) -> Stored | MarketdError:
        try:
            return await store
        except MarketdError as error:
            fetching.cancel()
            return error

    async def run_fetch() -> Answer | ExchangeError | None:
        return await fetch

    try:
        async with asyncio.TaskGroup() as group:
            fetching = group.create_task(run_fetch())
            storing = group.create_task(run_store(fetching))
    except BaseExceptionGroup as failures:
        raise leaf(failures) from failures
    stored = storing.result()
    if isinstance(stored, MarketdError):
        raise stored
    return stored, fetching.result()
