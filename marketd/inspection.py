"""Holding what is believed of a series against what can be known of it.

Owns which blocks are audited and when, and which silences are doubted. Opens gaps for what it finds; refuses to ask the
exchange.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from marketd import suspects
from marketd.blocks import BLOCK, chunks, intervals_of
from marketd.fetcher import Fetcher
from marketd.model import Series
from marketd.ports import Events, Facts, Pages, SeriesReader
from marketd.ranges import Ranges, Span
from marketd.walker import Account

_ROUTINE = 200
_EVERY_MS = 86_400_000
_NEWEST_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Inspection:
    """Of series of one exchange; ``fetcher`` tells its time."""

    fetcher: Fetcher
    pages: Pages
    reader: SeriesReader
    events: Events

    async def audit(self, series: Series, account: Account, *, everything: bool) -> Ranges:
        """Hold the ledger against the rows for the newest block and those whose turn it is; their intervals."""
        at_ms = self.fetcher.now_ms()
        turn = (None, None) if everything else (_ROUTINE, at_ms - _EVERY_MS)
        blocks = await self.reader.audit_plan(series, *turn)
        for chunk in chunks(blocks):
            wrong = await self.reader.disagreeing(series, chunk, at_ms)
            if wrong:
                stored = await account.write(partial(self.pages.audit, series, wrong, at_ms=at_ms))
                self.events.gaps_changed(series, stored.change.opened, 0)
        return intervals_of(blocks)

    async def doubt_recent(self, series: Series, audited: Ranges, facts: Facts, account: Account) -> None:
        """Doubt silences in what was ``audited``, and in the newest blocks in any case."""
        if facts.answered_start is None or facts.answered_end is None:
            return
        newest = Ranges.of((facts.answered_end - _NEWEST_BLOCKS * BLOCK, facts.answered_end))
        for span in (audited | newest) & Ranges.of((facts.answered_start, facts.answered_end)):
            await self.doubt(series, span, facts.first, account)

    async def doubt(self, series: Series, span: Span, first: int | None, account: Account) -> None:
        """Open suspect gaps for runs of empties that look wrong in and around ``span``, after the ``first`` candle."""
        if first is None:
            return  # nothing has traded yet, as far as is known
        found = await self._unlikely(series, span)
        if not found:
            return
        settled = await self.reader.settled_suspects(series, (found[0][0], found[-1][1]))
        doubtful = [rest for run in found if (rest := suspects.doubtful(run, settled, first))]
        if doubtful:
            await account.write(partial(self.pages.doubt, series, doubtful, at_ms=self.fetcher.now_ms()))

    async def silent(self, series: Series, span: Span, newest: int | None) -> bool:
        """True where ``span`` is long, or ends in a silence that is; the ordinary cycle has nothing to be judged.

        ``newest`` is the last candle that is known to be there; where none is, it is looked up.
        """
        if newest is None:
            newest = (await self.reader.edges(series, (span[1], span[1]))).left
        quiet_from = span[0] if newest is None else min(span[0], newest + 1)
        return span[1] - quiet_from >= suspects.shortest(series.frame)

    async def _unlikely(self, series: Series, span: Span) -> Sequence[Span]:
        """Runs of empties in ``span`` that look wrong; no more is read than the answer hangs on."""
        frame = series.frame
        long = await self.reader.empty_runs(series, span, suspects.shortest(frame))
        if not any(run[0] < span[1] and span[0] < run[1] for run in long):
            return ()
        reach = suspects.near(frame)
        around = (long[0][0] - reach, long[-1][1] + reach)
        runs = await self.reader.empty_runs(series, around, suspects.comparable(frame))
        wrong = {*suspects.unusual(runs, frame)}
        if {*suspects.unusual(runs, frame, times=1)} - wrong:
            others = await self.reader.silences(series, around, suspects.shortest(frame))
            wrong |= {*suspects.shared({series.symbol: runs, **others}, frame).get(series.symbol, ())}
        return sorted(run for run in wrong if run[0] < span[1] and span[0] < run[1])
