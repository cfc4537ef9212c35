"""What a walk tells of pages that the database does not take; exchange and database are toys."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from marketd.blocks import Change
from marketd.errors import BadReply, DatabaseUnavailable, DiskFull, LeaseLost, StoreError
from marketd.fetcher import Asking
from marketd.model import Answer, Ask, Series
from marketd.planner import Edges, Walk
from marketd.ports import Events, Pages, Progress, SeriesReader, Stored, Writing
from marketd.ranges import Ranges, Span
from marketd.walker import Account, Walker
from tests.toy import SERIES, answered


class Leap:
    """A clock whose sleeps pass at once."""

    def now_ms(self) -> int:
        return 0

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Toy:
    """Answers every ask in full, and fails to store it."""

    failure: StoreError
    requests: int = 0
    tries: int = 0

    async def answer(self, ask: Ask) -> Answer:
        return answered(ask.start, ask.end, range(ask.start, ask.end))

    async def edges(self, series: Series, span: Span) -> Edges:
        return Edges()

    async def record(self, answer: Answer, writing: Writing, **_: Any) -> Stored:
        self.tries += 1
        raise self.failure


@dataclass
class Heard(Events):
    failed: list[str] = field(default_factory=list)

    def store_failed(self, kind: str) -> None:
        self.failed.append(kind)


@pytest.mark.parametrize(
    ("failure", "kinds"),
    [
        (DatabaseUnavailable("away"), ["unavailable"] * 4),
        (DiskFull("full"), ["disk_full"]),
        (LeaseLost("lost"), ["lease_lost"]),
        (StoreError("no"), ["refused"]),
    ],
)
async def test_every_failed_write_is_told_by_its_kind(failure: StoreError, kinds: list[str]) -> None:
    toy, heard = Toy(failure), Heard()
    account = Account(1, 1, 0)
    walker = Walker(cast(Asking, toy), cast(Pages, toy), cast(SeriesReader, toy), Leap(), heard, Progress(), account)
    with pytest.raises(type(failure)):
        await walker.walk(Walk(SERIES, Ranges.of((0, 10)), 100))
    assert heard.failed == kinds
    assert toy.tries == len(kinds)


@dataclass
class Unreadable:
    """An exchange whose answers are of no use, and at which the intervals below 5 have closed."""

    failed: list[Ranges] = field(default_factory=list)
    owed: list[Ranges] = field(default_factory=list)
    requests: int = 0

    @property
    def fetcher(self) -> "Unreadable":
        return self

    def now_ms(self) -> int:
        return SERIES.frame.open_ms(5)

    def closed(self, series: Series) -> Ranges:
        return Ranges.of((-(2**31), 5))

    async def answer(self, ask: Ask) -> Answer:
        raise BadReply("not to be read")

    async def edges(self, series: Series, span: Span) -> Edges:
        return Edges()

    async def record_failure(self, series: Series, span: Ranges, writing: Writing, *, owe: Ranges, **_: Any) -> Stored:
        self.failed.append(span)
        self.owed.append(owe)
        return Stored(Change(), writing.tally)


async def test_what_has_not_closed_yet_has_not_failed() -> None:
    """A host whose clock is ahead asks for the future; what cannot be answered there is not owed."""
    toy = Unreadable()
    walker = Walker(
        cast(Asking, toy), cast(Pages, toy), cast(SeriesReader, toy), Leap(), Events(), Progress(), Account(1, 1, 0)
    )
    with pytest.raises(BadReply):
        await walker.walk(Walk(SERIES, Ranges.of((0, 7)), 100), owe_from=0)
    assert toy.failed == [Ranges.of((4, 5))]
    assert toy.owed == [Ranges.of((0, 5))], "and what lies before it is owed with it"
