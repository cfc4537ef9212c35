"""Asking an exchange: what of a page that cannot be used is told; the exchange is a toy."""

from dataclasses import dataclass, field

import pytest

from marketd.clock import ScaledClock
from marketd.errors import BadReply
from marketd.exchanges import exchange
from marketd.exchanges.facts import Reply, Request
from marketd.fetcher import Asking, Fetcher
from marketd.model import Ask, Claim, Drop
from marketd.ports import Events
from tests.toy import FRAME, SERIES

NOW_MS = 1_700_000_000_000
FIRST = FRAME.number(NOW_MS) - 1000


@dataclass
class Says:
    """An exchange that gives one body for everything; also a budget without a limit."""

    body: bytes

    async def get(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        return Reply(200, self.body, date_ms=NOW_MS)

    async def acquire(self, claim: Claim, weight: int = 1) -> None: ...

    def block(self, delay_s: float) -> None: ...

    def slow_down(self, factor: float, for_s: float) -> None: ...


@dataclass
class Heard(Events):
    refused: list[tuple[str, Drop, int]] = field(default_factory=list)

    def page_refused(self, exchange: str, reason: Drop, rows: int) -> None:
        self.refused.append((exchange, reason, rows))


def body(*candles: tuple[int, float]) -> bytes:
    """Flat candles of (interval from ``FIRST``, price)."""
    rows = (f"[{FRAME.open_ms(FIRST + at)},{price},{price},{price},{price},1]" for at, price in candles)
    return f"[{','.join(rows)}]".encode()


def asking(said: bytes, heard: Heard) -> Asking:
    says = Says(said)
    fetcher = Fetcher(
        exchange("bitfinex"), "http://localhost", says, says, ScaledClock(NOW_MS), heard, lambda seconds: None
    )
    return Asking(fetcher, Claim.BACKFILL)


ASK = Ask(SERIES, FIRST, FIRST + 10, newest_first=False)


@pytest.mark.parametrize(
    ("said", "reason", "rows"),
    [
        (body((1, 5), (2, 5), (2, 6)), Drop.CONFLICTING, 3),
        (body((20, 5), (21, 5)), Drop.PAGE_REFUSED, 2),
        (b"[[1]]", Drop.PAGE_REFUSED, 0),
    ],
)
async def test_a_page_that_is_refused_is_told_with_its_rows(said: bytes, reason: Drop, rows: int) -> None:
    heard = Heard()
    with pytest.raises(BadReply):
        await asking(said, heard).answer(ASK)
    assert heard.refused == [("bitfinex", reason, rows)]


async def test_a_page_that_is_used_is_not() -> None:
    heard = Heard()
    answer = await asking(body((1, 5), (20, 5)), heard).answer(ASK)
    assert (answer.rows.size, answer.drops[Drop.OUTSIDE]) == (1, 1)
    assert heard.refused == []
