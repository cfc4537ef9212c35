"""History by the month: an exchange's archive as a source of backfills.

Owns the way from a month's file to the pages that it is stored in: fetched, held against its checksum, read some
thousand candles at a time, checked and stored as every page is. A file proves the candles that are in it, never that
there were none: what it lacks is left to the walk, and so is a month that is missing or cannot be read.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from marketd import months, page, zipped
from marketd.errors import BadReply, ExchangeError, Unreachable
from marketd.exchanges.facts import Archive, MonthFiles, Request
from marketd.fetcher import Fetcher
from marketd.model import Answer, Ask
from marketd.months import Month
from marketd.planner import Walk
from marketd.ranges import NOTHING, Ranges
from marketd.walker import Walker

log = logging.getLogger(__name__)

PAGE: Final = 10_000
"""Candles a transaction."""


class Absent(BadReply):
    """The archive does not have the month."""


async def spliced(walker: Walker, walk: Walk, *, owe_from: int | None) -> Walk:
    """The walk without what the archive has of it, which is stored; ``owe_from`` as in ``Walker.walk``.

    Ends early where the run shall stop or room is short, which the walk then says. Raises what storing raises, and
    nothing for what is wrong with the archive. Of a series whose first candle is not known, nobody knows which months
    there are.
    """
    fetcher = walker.asking.fetcher
    if fetcher.exchange.archive is None or fetcher.archive_url is None or walk.first is None:
        return walk
    splice = _Splice(fetcher, fetcher.exchange.archive, fetcher.archive_url, walker, walk, owe_from)
    await splice.take_all()
    taken = walk.remaining.size - splice.walk.remaining.size
    if taken:
        log.info("history from the archive", extra={"fields": {"series": str(walk.series), "candles": taken}})
    return splice.walk


@dataclass(slots=True)
class _Splice:
    """One series' walk, and what has been taken out of it so far."""

    fetcher: Fetcher
    archive: Archive
    base_url: str
    walker: Walker
    walk: Walk
    owe_from: int | None

    @property
    def _ended(self) -> bool:
        return self.walker.account.stop.is_set() or self.walker.lack() is not None

    async def take_all(self) -> None:
        found = months.worthwhile(
            self.walk.remaining, self.walk.series.frame, page=self.walk.page, now_ms=self.fetcher.now_ms(),
            ready_ms=self.archive.ready_ms,
        )  # fmt: skip
        for month in reversed(found) if self.walk.newest_first else found:
            if self._ended:
                return
            try:
                await self._take(month)
            except BadReply as error:
                self._leave(month, error, "absent" if isinstance(error, Absent) else "refused")
            except ExchangeError as error:  # it would be as far away for the next month
                self._leave(month, error, "unreachable")
                return

    def _leave(self, month: Month, error: ExchangeError, outcome: str) -> None:
        series = self.walk.series
        self.fetcher.events.month_read(series.exchange, outcome)
        fields = {"series": str(series), "month": str(month), "error": str(error), "once": f"archive {series}"}
        log.warning("month left to requests", extra={"fields": fields})

    async def _take(self, month: Month) -> None:
        files = self.archive.files(self.walk.series.symbol, self.walk.series.timeframe, month.number)
        unread = zipped.lines(await self._fetched(files), files.csv, PAGE)
        start = month.span[0]
        while not self._ended and (answer := await asyncio.to_thread(self._next, unread, start, month)) is not None:
            start = answer.ask.end
            if answer.rows:
                owe_from, self.owe_from = self.owe_from, None
                self.walk = await self.walker.take(self.walk, answer, owe_from=owe_from)
        if not self._ended:
            self.fetcher.events.month_read(self.walk.series.exchange, "taken")

    async def _fetched(self, files: MonthFiles) -> bytes:
        """The month's zip, proven; tried twice: files are issued anew, and lines break."""
        try:
            return await self._proven(files)
        except Absent:
            raise
        except ExchangeError:
            return await self._proven(files)

    async def _proven(self, files: MonthFiles) -> bytes:
        told, content = await self._body(files.checksum), await self._body(files.zipped)
        await asyncio.to_thread(zipped.prove, content, told, files.zipped.rpartition("/")[2])
        return content

    async def _body(self, path: str) -> bytes:
        reply = await self.fetcher.transport.send(self.base_url, Request(path), self.fetcher.proxy)
        if reply.status == 404:
            raise Absent(f"the archive has no {path.rpartition('/')[2]}")
        if reply.status != 200:
            raise Unreachable(f"the archive answered HTTP {reply.status}")
        return reply.body

    def _next(self, unread: Iterator[Sequence[bytes]], start: int, month: Month) -> Answer | None:
        """What the next lines say of the month from ``start`` on; None after the last ones. Runs in a thread."""
        rows = self.archive.read_lines(lines, self.walk.series.timeframe) if (lines := next(unread, None)) else None
        if rows is None or not rows.open_ms:
            return None
        numbers = [self.walk.series.frame.number(ms) for ms in (min(rows.open_ms), max(rows.open_ms))]
        if numbers[0] < month.span[0] or numbers[1] >= month.span[1]:
            raise BadReply(f"candles of another month are in that of {month}")
        ask = Ask(self.walk.series, start, max(start, numbers[1]) + 1, newest_first=False)
        answer = page.check(ask, rows, self.fetcher.exchange, at_ms=self.fetcher.now_ms())
        self._refuse_gappy(ask, answer)
        return replace(answer, covered=answer.rows, dropped=NOTHING)

    def _refuse_gappy(self, ask: Ask, answer: Answer) -> None:
        """Each hole is asked for by itself: with many it would take less to ask for everything."""
        holes = len(Ranges.of(ask.span) - answer.rows)
        if holes > max(1, (ask.end - ask.start) // self.walk.page):
            raise BadReply(f"the archive lacks candles in {holes} places")
