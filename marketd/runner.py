"""Runs: one execution of a job for its series.

Owns what each job type does with a series: continuous keeps it fresh, backfill fills its wanted history, gap repair
tries what is owed and looks at empties again. Derived series are worked by way of their parents. Refuses to know
cron, and who gave the order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from marketd import archive, backlog, beginning, derive, planner
from marketd.blocks import BLOCK, chunks, union
from marketd.clock import Clock, at
from marketd.errors import (
    DatabaseUnavailable,
    DiskFull,
    ExchangeError,
    LeaseLost,
    MarketdError,
    StoreError,
    UnknownSymbol,
    UnknownTimeframe,
    leaf,
)
from marketd.fetcher import Asking, Fetcher
from marketd.inspection import Inspection
from marketd.markets import unlisted
from marketd.model import Claim, JobType, RunStatus, Series, Tally
from marketd.planner import Walk
from marketd.ports import Events, Facts, Pages, Progress, SeriesReader
from marketd.ranges import NOTHING, Ranges, highest
from marketd.walker import Account, Stopped, Walker

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 16
_GRACE_LOOKS = 3
_REPAIRED_AT_ONCE = 4  # most have nothing to be asked for: only the database is waited for


@dataclass(frozen=True, slots=True)
class Order:
    """What a run shall do. ``start_ms`` and ``end_ms`` bound the wanted history; ``by_hand`` tries gaps due or not."""

    job_type: JobType
    series: tuple[Series, ...]
    claim: Claim
    start_ms: int | None = None
    end_ms: int | None = None
    by_hand: bool = False
    refetch: bool = False
    newest_first: bool = True
    most_gaps: int | None = None
    page_allowance: int = 10
    audit: bool = True
    histories: Mapping[Series, tuple[int | None, int | None]] = field(default_factory=dict)
    """The bounds that backfill jobs set to the wanted history of a series (start and end in ms, None: none)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; ``errors`` names each series that failed and why, ``note`` what ended the run as a whole.

    ``cut_off``: the database went away, which says nothing of the job: it need not wait before it is tried again.
    """

    status: RunStatus
    tally: Tally
    errors: tuple[tuple[Series, MarketdError], ...] = ()
    note: str | None = None
    cut_off: bool = False

    @property
    def error(self) -> str | None:
        """What to tell of what went wrong; None when nothing did."""
        said = [self.note] if self.note else []
        return "; ".join([*said, *(f"{series}: {error}" for series, error in self.errors)]) or None


@dataclass(slots=True)
class Runner:
    """Runs for one exchange. ``derived`` maps timeframes to the finer one that they are built from."""

    fetcher: Fetcher
    pages: Pages
    reader: SeriesReader
    clock: Clock
    events: Events
    progress: Progress
    derived: Mapping[str, str] = field(default_factory=dict)
    lack: Callable[[], DiskFull | None] = lambda: None
    """Whether there is too little room for what can wait: backfills end with it."""

    @property
    def _inspection(self) -> Inspection:
        return Inspection(self.fetcher, self.pages, self.reader, self.events)

    async def run(self, order: Order, account: Account) -> Outcome:
        """Work through the series of ``order``; one that fails does not keep the others from their turn.

        Live data of several series is fetched at once, as far as the budget lets them.
        """
        left, failed = iter(order.series), dict[Series, MarketdError]()
        hands = [
            self._work_off(left, order, account, failed) for _ in range(min(self._at_once(order), len(order.series)))
        ]
        fatal = await (hands[0] if len(hands) == 1 else _first_of(hands))
        if fatal is not None:
            raise fatal
        done = len(order.series) - len(failed)
        errors = [(series, failed[series]) for series in order.series if series in failed]
        return Outcome(_status(errors, done, account.tally), account.tally, tuple(errors))

    def _at_once(self, order: Order) -> int:
        """How many series are worked on at the same time: of a backfill one, whose pages are large; of live data no
        more than the budget lets out within a second, so that none is planned long before it is asked for.
        """
        if order.job_type is JobType.BACKFILL:
            return 1
        if order.job_type is JobType.GAP_REPAIR:
            return _REPAIRED_AT_ONCE
        return max(1, min(_MOST_AT_ONCE, int(self.fetcher.gate.per_minute // 60)))

    async def _work_off(
        self, left: Iterator[Series], order: Order, account: Account, failed: dict[Series, MarketdError]
    ) -> MarketdError | None:
        """Take one series after the other; what ends the run as a whole leaves none to the others."""
        for series in left:
            if account.stop.is_set():
                failed[series] = Stopped("stopped at a page border")
                continue
            try:
                await self._series(series, order, account)
            except (DatabaseUnavailable, DiskFull, LeaseLost) as error:
                deque(left, maxlen=0)
                return error
            except (ExchangeError, Stopped, StoreError) as error:
                failed[series] = error
        return None

    async def _series(self, series: Series, order: Order, account: Account) -> None:
        asking = Asking(self.fetcher, order.claim, account.asked)
        walker = Walker(asking, self.pages, self.reader, self.clock, self.events, self.progress, account)
        if order.job_type is JobType.BACKFILL:
            walker.lack = self.lack
        try:
            root, facts = await self.prepare(series, asking)
            if root != series and await self._wants_building(series, order):
                await self._derive_all(root, account)
            await self._work(root, facts, order, walker)
        finally:
            self.progress.ended(series, account.tally)

    async def prepare(self, series: Series, asking: Asking) -> tuple[Series, Facts]:
        """The native series that ``series`` is fed by, and what is known of it; registers both and looks up the first
        candle where it is not known yet. UnknownSymbol when the exchange has no such symbol.
        """
        await self.fetcher.learn(asking)
        links = await self._links(series)
        chain = [series.timeframe, *derive.parents_of(series.timeframe, links)]
        root = series._replace(timeframe=chain[-1])
        if root.timeframe not in self.fetcher.exchange.timeframes:
            known = " ".join([*self.fetcher.exchange.timeframes, *self.derived])
            raise UnknownTimeframe(f"{root.exchange} has no timeframe {root.timeframe}; it has {known}")
        facts = await self.reader.facts(root) or Facts()
        if facts.first is not None:
            if len(chain) > 1 or facts.derived_from is not None:
                await self._know(series, chain)
            return root, facts
        try:
            first, at_ms = await self._first_candle(root, facts, asking)
        except UnknownTimeframe:
            parent = self.fetcher.exchange.fallback.get(root.timeframe)
            if parent is None:
                raise
            log.info("timeframe is built", extra={"fields": {"series": str(root), "from": parent}})
            await self.reader.know(root, parent)
            return await self.prepare(series, asking)
        await self._know(series, chain)
        await self.reader.note_first(root, first, at_ms)
        return root, replace(facts, first=first)

    async def _links(self, series: Series) -> dict[str, str]:
        """Which timeframe each is built from."""
        exchange, known = self.fetcher.exchange, dict[Series, Facts]()
        one = series
        while one.timeframe in exchange.fallback and one not in known:
            known[one] = await self.reader.facts(one) or Facts()
            one = one._replace(timeframe=known[one].derived_from or one.timeframe)
        return backlog.linked(series, self.derived, exchange, known)

    async def _know(self, series: Series, chain: Sequence[str]) -> None:
        """Register the series and those it is built from."""
        for timeframe, parent in zip(chain, [*chain[1:], None], strict=True):
            await self.reader.know(series._replace(timeframe=timeframe), parent)

    async def _first_candle(self, root: Series, facts: Facts, asking: Asking) -> tuple[int | None, int]:
        """The first candle the exchange has, and its time. UnknownSymbol for what it neither lists nor has sent."""
        try:
            first, at_ms = await beginning.first_candle(asking, root)
        except UnknownSymbol:
            first, at_ms = None, self.fetcher.now_ms()
        if first is None and facts.answered_end is None:
            symbols = await self.fetcher.symbols(asking)
            if root.symbol not in symbols:
                raise UnknownSymbol(unlisted(root.exchange, root.symbol, symbols))
        return first, at_ms

    async def _wants_building(self, series: Series, order: Order) -> bool:
        """A repair builds what is missing; else a derived series is built once, and then follows its parent's pages."""
        facts = await self.reader.facts(series)
        return order.job_type is JobType.GAP_REPAIR or facts is None or facts.answered_end is None

    async def _derive_all(self, root: Series, account: Account) -> None:
        """What is stored already serves a series that is derived from now on."""
        blocks = await self.reader.audit_plan(root, None, None)
        for chunk in chunks(blocks):
            span = Ranges.of((chunk[0] * BLOCK, (chunk[-1] + 1) * BLOCK))
            await account.write(partial(self.pages.rederive, root, span, at_ms=self.fetcher.now_ms()))

    async def _work(self, root: Series, facts: Facts, order: Order, walker: Walker) -> None:
        if order.job_type is JobType.CONTINUOUS:
            await self._continuous(root, facts, order, walker)
        elif order.job_type is JobType.BACKFILL:
            await self._backfill(root, facts, order, walker)
        else:
            await self._repair(root, facts, order, walker)

    async def _continuous(self, series: Series, facts: Facts, order: Order, walker: Walker) -> None:
        page = self.fetcher.page - planner.ANCHORS
        if facts.answered_end is not None and self.fetcher.closed_end(series) < facts.answered_end:
            # Time went backwards: a stale reply, or the host's clock was set back. Only a new reply can tell.
            await self.fetcher.learn(walker.asking, anew=True)
        await self._past_grace(series)
        remaining = planner.continuous(
            closed_end=self.fetcher.closed_end(series),
            answered_end=facts.answered_end,
            unsettled=facts.unsettled,
            first=facts.first,
            end=_number(series, order.end_ms),
            page=page,
            served_from=self.fetcher.served(series).start,
        )
        if remaining:
            self._began(series, remaining.size, _requests(remaining, page), walker.account)
            walk = Walk(series, remaining, page, first=facts.first, counted=self.fetcher.exchange.counted)
            allowance = 1 if facts.answered_end is None else order.page_allowance
            await walker.walk(walk, most_pages=allowance, owe_from=facts.answered_end)
            span = (remaining.start, remaining.end)
            if await self._inspection.silent(series, span, walker.newest):
                await self._inspection.doubt(series, span, facts.first, walker.account)
        self._tell_freshness(series, facts, walker)

    async def _past_grace(self, series: Series) -> None:
        """Schedules fire on the minute: what has just closed would wait for the next firing else.

        More than once, since the replies to others may show meanwhile that it is a little earlier.
        """
        for _ in range(_GRACE_LOOKS):
            wait_s = self.fetcher.grace_left_s(series)
            if wait_s <= 0:
                return
            await self.clock.sleep(wait_s)

    def _began(self, series: Series, intervals: int, requests: int, account: Account) -> None:
        """Tell those who watch here, and by way of the run's counters those who watch from afar."""
        account.began(series, intervals)
        self.progress.began(series, intervals, requests)

    def _tell_freshness(self, series: Series, facts: Facts, walker: Walker) -> None:
        end = highest(facts.answered_end, walker.answered_end)
        if end is not None:
            self.events.answered_until(series, series.frame.open_ms(end))

    async def _backfill(self, series: Series, facts: Facts, order: Order, walker: Walker) -> None:
        unknown = await self.unknown(series, facts, order)
        remaining = unknown & self.fetcher.served(series)
        self._tell_unserved(series, unknown - remaining)
        if not remaining:
            return
        page = self.fetcher.page - planner.ANCHORS
        self._began(series, remaining.size, _requests(remaining, page), walker.account)
        walk = Walk(
            series, remaining, page, newest_first=order.newest_first, first=facts.first,
            counted=self.fetcher.exchange.counted,
        )  # fmt: skip
        # The next continuous run begins where coverage ends: what is skipped below that end would be nobody's.
        owe_from = facts.answered_end if facts.followed else None
        if not order.refetch:  # whoever doubts what is stored wants to hear the exchange itself
            walk = await archive.spliced(walker, walk, owe_from=owe_from)
        await walker.walk(walk, owe_from=owe_from)
        await self._inspection.doubt(series, (remaining.start, remaining.end), facts.first, walker.account)
        self._tell_freshness(series, facts, walker)

    def _tell_unserved(self, series: Series, unserved: Ranges) -> None:
        if unserved:
            before = at(series.frame.open_ms(unserved.end)).isoformat()
            fields = {"series": str(series), "intervals": unserved.size, "before": before, "once": f"unserved {series}"}
            log.warning("history not served", extra={"fields": fields})

    async def unknown(self, series: Series, facts: Facts, order: Order) -> Ranges:
        """The intervals that a backfill of ``order`` has to ask for."""
        wanted = self.wanted(series, facts, order)
        if not wanted:
            return NOTHING
        span = (wanted.start, wanted.end)
        gaps = union(gap.missing for gap in await self.reader.open_gaps(series, span))
        answered = await self.reader.answered(series, span)
        return planner.backfill(wanted=wanted, answered=answered, gaps=gaps, refetch=order.refetch)

    async def unfinished(self, orders: Sequence[tuple[Order, int]]) -> list[bool]:
        """Of backfills, each with the time in ms up to which it counts, which have unknown intervals left.

        Two statements for all of them; the exchange is asked nothing: a series whose first candle is not known yet is
        unfinished.
        """
        known = await self.reader.known(self.fetcher.exchange.name)
        now_ms = self.fetcher.now_ms() if self.fetcher.time.known else self.clock.now_ms()
        closed_ms = now_ms - int(self.fetcher.exchange.grace_s * 1000)
        windows = [
            [
                backlog.window(
                    series, order.start_ms, min(until_ms if order.end_ms is None else order.end_ms, closed_ms), known,
                    self.fetcher.exchange, self.derived,
                )
                for series in order.series
            ]
            for order, until_ms in orders
        ]  # fmt: skip
        windows = [[one and self._served(one, closed_ms) for one in each] for each in windows]
        asked = [one for each in windows for one in each if one is not None]
        left = {asked[at] for at in await self.reader.unfinished(asked)} if asked else set()
        return [any(one is None or one in left for one in each) for each in windows]

    def _served(self, window: backlog.Window, closed_ms: int) -> backlog.Window:
        """What of ``window`` can still be asked for."""
        series, start, end = window
        served = planner.served(series.frame.closed_end(closed_ms), self.fetcher.reach(series))
        return series, min(max(start, served.start), end), end

    def wanted(self, series: Series, facts: Facts, order: Order) -> Ranges:
        start = None if order.start_ms is None else series.frame.ceiling(order.start_ms)
        if start is None and facts.first is None:
            start = facts.answered_start
        return planner.wanted(
            start=start,
            end=_number(series, order.end_ms),
            first=facts.first,
            closed_end=self.fetcher.closed_end(series),
            retired=facts.retired,
        )

    async def _repair(self, series: Series, facts: Facts, order: Order, walker: Walker) -> None:
        account = walker.account
        audited = await self._inspection.audit(series, account, everything=order.by_hand) if order.audit else NOTHING
        if series in order.histories:
            await self._narrow(series, facts, order, account)
        await self._inspection.doubt_recent(series, audited, facts, account)
        page = self.fetcher.page - planner.ANCHORS
        await self._walk_all(series, facts, await self._gap_walks(series, order, page, account), walker)
        if not order.by_hand:
            walker.asking.claim = Claim.RECHECK
            await self._walk_all(series, facts, await self._look_walks(series, page, account), walker)

    async def _narrow(self, series: Series, facts: Facts, order: Order, account: Account) -> None:
        """What the series' jobs no longer want is no longer owed."""
        start_ms, end_ms = order.histories[series]
        history = self.wanted(series, facts, replace(order, start_ms=start_ms, end_ms=end_ms))
        if end_ms is None:
            history = history | Ranges.of((self.fetcher.closed_end(series), 2**31 - 1))
        if any(gap.missing - history for gap in await self.reader.open_gaps(series)):
            await account.write(partial(self.pages.narrow, series, history, at_ms=self.fetcher.now_ms()))

    async def _walk_all(self, series: Series, facts: Facts, walks: Sequence[Walk], walker: Walker) -> None:
        walker.ahead = sum(walk.remaining.size for walk in walks)
        if walks:
            self._began(series, walker.ahead, len(walks), walker.account)
        for walk in walks:
            walker.ahead -= walk.remaining.size
            await walker.walk(replace(walk, first=facts.first))

    async def _gap_walks(self, series: Series, order: Order, page: int, account: Account) -> Sequence[Walk]:
        now_ms = self.fetcher.now_ms()
        gaps = planner.due_gaps(
            await self.reader.open_gaps(series), now_ms, by_hand=order.by_hand, most=order.most_gaps
        )
        closed = self.fetcher.closed(series)
        await self._put_off(series, union(gap.missing & closed for gap in gaps), account)
        targets = [Ranges.of(span) for gap in gaps for span in gap.missing & self.fetcher.served(series)]
        if not targets:
            return ()
        hull = (min(target.start for target in targets), max(target.end for target in targets))
        empties = await self.reader.empties(series, hull)
        return planner.repairs(series, targets, empties, page, counted=self.fetcher.exchange.counted)

    async def _look_walks(self, series: Series, page: int, account: Account) -> Sequence[Walk]:
        """Looks count intervals, not candles: a look must find what the exchange has restored."""
        spans = await self.reader.due_looks(series, self.fetcher.now_ms())
        await self._put_off(series, Ranges.of(*spans), account)
        served = self.fetcher.served(series)
        looks = [look for span in spans if (look := Ranges.of(span) & served)]
        return planner.repairs(series, looks, {}, page, counted=self.fetcher.exchange.counted)

    async def _put_off(self, series: Series, due: Ranges, account: Account) -> None:
        """What is due but older than what the exchange serves is not asked for: only the next try is noted."""
        unserved = due - self.fetcher.served(series)
        if unserved:
            error, at_ms = f"{series.exchange} no longer serves candles that old", self.fetcher.now_ms()
            noted = partial(self.pages.record_failure, series, unserved, at_ms=at_ms, error=error, owe=NOTHING)
            await account.write(noted)


async def _first_of(hands: Sequence[Coroutine[None, None, MarketdError | None]]) -> MarketdError | None:
    """All of them at once; the first error that one returns."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in hands]
    except BaseExceptionGroup as failures:
        raise leaf(failures) from failures
    return next((error for task in tasks if (error := task.result()) is not None), None)


def _requests(remaining: Ranges, page: int) -> int:
    return sum(-(-(end - start) // page) for start, end in remaining)


def _number(series: Series, ms: int | None) -> int | None:
    """End of the intervals that are closed at ``ms``."""
    return None if ms is None else series.frame.closed_end(ms)


def _status(errors: Sequence[tuple[Series, MarketdError]], done: int, tally: Tally) -> RunStatus:
    if not errors:
        return RunStatus.SUCCESS
    if all(isinstance(error, Stopped) for _, error in errors):
        return RunStatus.INTERRUPTED
    return RunStatus.PARTIAL if done or tally.fetched else RunStatus.FAILED
