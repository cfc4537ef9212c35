"""Orders by hand: what ``backfill``, ``repair-gaps`` and ``jobs run`` do.

Owns the life of an order: the lease or whoever has it, one job row and one run a series, the stop at a page border,
what came of it and the exit code. Refuses to plan and to fetch (see ``runner``).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from marketd import assembly
from marketd.cli.handover import HandedOver
from marketd.cli.stopper import Stopper
from marketd.clock import Clock
from marketd.config import Config
from marketd.errors import MarketdError, StoreError
from marketd.model import RunStatus, Series, Tally
from marketd.ports import Events, Progress
from marketd.runner import Order, Outcome
from marketd.store.leases import Lease, Leases
from marketd.store.orders import Orders as OrderRows
from marketd.store.orders import OrderState
from marketd.store.series import SeriesReader
from marketd.store.session import Database
from marketd.transport import Transport
from marketd.walker import Account

_LOOK_EVERY_S = 0.5
_PATIENT_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one series; ``failure`` is the error that ended it, ``open_gaps`` what is still owed."""

    series: Series
    status: RunStatus
    tally: Tally
    open_gaps: int = 0
    built_from: str | None = None
    error: str | None = None
    failure: MarketdError | None = None
    run_id: int | None = None

    def shape(self) -> dict[str, Any]:
        return {
            "exchange": self.series.exchange, "symbol": self.series.symbol, "timeframe": self.series.timeframe,
            "status": self.status.value, "run_id": self.run_id, "requests": self.tally.requests,
            "candles_fetched": self.tally.fetched, "candles_inserted": self.tally.inserted,
            "candles_updated": self.tally.updated, "empty_intervals": self.tally.empties,
            "gaps_opened": self.tally.gaps_opened, "gaps_closed": self.tally.gaps_closed,
            "open_gaps": self.open_gaps, "derived_from": self.built_from, "error": self.error,
        }  # fmt: skip


def exit_code(results: Sequence[Result]) -> int:
    """0 where all is done; the error's own code where nothing could be done for one reason; 1 for everything else."""
    bad = [result for result in results if result.status is not RunStatus.SUCCESS]
    if not bad:
        return 0
    codes = {result.failure.exit_code for result in bad if result.failure is not None}
    if len(codes) == 1 and all(result.status is RunStatus.FAILED for result in results):
        return codes.pop()
    return 1


@dataclass(slots=True)
class Orders:
    """Carries out orders on one exchange, or has them carried out by the daemon that works on it.

    ``tell`` hears for whom it waits, and of a stop. ``results`` grows as series end, and holds what was done also where
    an error ends the work; ``stopped`` says that a signal did.
    """

    config: Config
    opened: Database
    clock: Clock
    tell: Callable[[str], None]
    results: list[Result] = field(default_factory=list)
    stopped: bool = False

    async def carry_out(self, template: Order, progress: Progress, *, wait: bool) -> None:
        """The series of ``template``, one after the other; a daemon may work on several at once.

        Raises Busy where another command holds the exchange and ``wait`` is False, and the StoreError that ended the
        work.
        """
        stopper = Stopper(self.tell)
        handed = HandedOver(OrderRows(self.opened), progress, f"{assembly.holder()} {token_hex(4)}")
        with stopper.listening():
            try:
                await self._by_whoever_may(template, handed, stopper, wait)
            except asyncio.CancelledError:
                if not stopper.asked:
                    raise
            finally:
                await self._leave(handed, stopper)
        self.stopped = stopper.asked

    async def _leave(self, handed: HandedOver, stopper: Stopper) -> None:
        """Nobody shall carry out what nobody waits for any more."""
        stopper.leaving = True
        if not handed.left:
            return
        async with asyncio.TaskGroup() as group:  # a task of its own: this one may be cancelled
            taking = group.create_task(handed.take_back())
        if (reason := taking.result()) is not None:
            self.tell(
                f"the order given by {handed.giver} may still be carried out, it could not be taken back: {reason}; "
                "`marketd jobs list` shows it, `marketd jobs disable ID` takes it back"
            )

    async def _by_whoever_may(self, template: Order, handed: HandedOver, stopper: Stopper, wait: bool) -> None:
        """Under a lease of our own where nobody has one, else by handing over; whoever goes away is replaced."""
        exchange = template.series[0].exchange
        leases = assembly.leases_of(self.opened, "command")
        told: str | None = None
        while True:
            lease = await leases.try_take(exchange)
            if isinstance(lease, Lease):
                await self._under_lease(leases, lease, template, handed, stopper)
                return
            if lease.kind == "daemon" or handed.jobs:
                if not handed.jobs:
                    self.tell(f"{lease}; it is given the order")
                    await handed.give(template)
                if await self._follow(handed, leases, stopper, exchange):
                    return
            elif not wait:
                raise lease
            elif told != lease.holder:
                self.tell(f"{lease}; waiting (--no-wait ends instead)")
                told = lease.holder
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _follow(self, handed: HandedOver, leases: Leases, stopper: Stopper, exchange: str) -> bool:
        """True when all that was handed over has ended; False when nobody works on the exchange any more."""
        stop, looks = asyncio.Event(), 0
        stopper.ask = stop.set
        try:
            while True:
                looks += 1
                if looks == _PATIENT_LOOKS and not handed.begun:
                    self.tell(
                        f"{exchange}: not begun yet; the daemon's log says what it waits for (Ctrl-C takes it back)"
                    )
                for series, state in await handed.look():
                    self.results.append(await self._completed(_handed_result(series, state)))
                if not handed.jobs:
                    return True
                if not await leases.is_held(exchange):
                    return False
                if stop.is_set():
                    await handed.withdraw()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            stopper.ask = None

    async def _under_lease(
        self, leases: Leases, lease: Lease, template: Order, handed: HandedOver, stopper: Stopper
    ) -> None:
        """Do it here: also what was ``handed`` over and not begun."""
        done = {result.series for result in self.results}
        async with (
            Transport(self.clock) as transport,
            assembly.lane(
                lease.exchange, self.config, assembly.Books.of(self.opened), transport, self.clock, Events(),
                handed.progress, leases=leases, lease=lease,
            ) as lane,
        ):  # fmt: skip
            for series in template.series:
                if series in done:
                    continue
                if stopper.asked:
                    self.results.append(Result(series, RunStatus.SKIPPED, Tally(), error="not begun: stopped by hand"))
                else:
                    await self._one(lane, replace(template, series=(series,)), handed, stopper)

    async def _one(self, lane: assembly.Lane, order: Order, handed: HandedOver, stopper: Stopper) -> None:
        """One series as a run of its own; however it ends, the run says so as far as the database lets it."""
        (series,) = order.series
        if series not in handed.jobs:
            await handed.give(order)
        job = handed.jobs[series]
        begun = await lane.runs.begin(lane.name, [(job, self.clock.now_ms())], lane.lease.epoch)
        account = Account(begun[job], lane.lease.epoch, self.config.settle_ms_of(lane.name))
        stopper.ask = account.stop.set
        outcome, failure = Outcome(RunStatus.INTERRUPTED, account.tally, note="stopped by hand"), None
        try:
            outcome = await lane.runner.run(order, account)
            failure = outcome.errors[0][1] if outcome.errors else None
        except MarketdError as error:
            failed = RunStatus.PARTIAL if account.tally.fetched else RunStatus.FAILED
            outcome, failure = Outcome(failed, account.tally, note=str(error)), error
            raise
        finally:
            stopper.ask = None
            outcome = replace(outcome, tally=account.tally)
            result = Result(
                series, outcome.status, outcome.tally, error=_sentence(outcome), failure=failure, run_id=begun[job]
            )
            self.results.append(result)
            with suppress(StoreError):  # the database may be what failed; the next holder closes the run then
                await lane.runs.finish(begun[job], outcome.status, outcome.error, outcome.tally.requests)
                del handed.jobs[series]
        self.results[-1] = await self._completed(result)

    async def _completed(self, result: Result) -> Result:
        reader = SeriesReader(self.opened)
        facts = await reader.facts(result.series)
        gaps = await reader.open_gaps(result.series)
        return replace(result, open_gaps=len(gaps), built_from=None if facts is None else facts.derived_from)


def _handed_result(series: Series, state: OrderState) -> Result:
    if state.status is None:
        return Result(series, RunStatus.SKIPPED, Tally(), error=f"not begun: {state.error or 'withdrawn'}")
    # The table and the list name the series already.
    error = None if state.status is RunStatus.SUCCESS else (state.error or "").removeprefix(f"{series}: ")
    return Result(series, state.status, state.tally, error=error, run_id=state.run_id)


def _sentence(outcome: Outcome) -> str | None:
    """What went wrong, without the series' name: the table has it already."""
    said = [outcome.note] if outcome.note else []
    return "; ".join([*said, *(str(error) for _, error in outcome.errors)]) or None
