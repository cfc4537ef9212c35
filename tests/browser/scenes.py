"""What there is to be seen: ledgers and daemons in each of the situations an operator meets.

Owns the scenes. They are rows and a status, not a history that has to be lived through each time.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from marketd.coverage import OWED
from marketd.fillings import Filling
from marketd.jobs import Feasibility
from marketd.meter import Reading
from marketd.model import Cause, Claim, Series
from marketd.ranges import NOTHING, Ranges
from marketd.web import ExchangeStatus, JobStatus
from tests.integration.ledger_rows import BLOCK, FIRST, START, Rows
from tests.told import NOW_MS, Told

MINUTE = 60_000
NOW = NOW_MS // MINUTE
MIDNIGHT = FIRST + 1440
OBJECTIVE_S = 180.0
COINS = ("BTC", "ETH", "LTC", "XRP", "EOS", "NEO", "ZEC", "ETC", "DSH", "SOL", "ADA", "DOT")


@dataclass(frozen=True)
class Scene:
    """``lay`` puts the rows and sets the status; ``reads`` must be on the page, ``marked`` as something bad."""

    lay: Callable[[Rows, Told], Awaitable[None]]
    reads: Sequence[str]
    marked: Sequence[str] = ()


def symbols(count: int, quote: str = "USD") -> list[Series]:
    return [Series("bitfinex", f"{coin}{quote}", "1m") for coin in COINS[:count]]


async def known(
    rows: Rows, series: Series, *, until: int = NOW, quiet: Ranges = NOTHING, gaps: Sequence[tuple[Cause, Ranges]] = (),
    begin: int = FIRST,
) -> None:  # fmt: skip
    """A series that is answered from ``begin`` to ``until`` but for its gaps."""
    await rows.know(series, first=START)
    owed = Ranges.of(*(span for cause, part in gaps if cause is not Cause.SUSPECT for span in part.spans))
    for number in range(begin // 1440, (until - 1) // 1440 + 1):
        here = Ranges.of((number * 1440, (number + 1) * 1440))
        answered = (Ranges.of((begin, until)) & here) - owed
        if answered:
            await rows.block(number, answered, confirmed=quiet & answered, series=series)
    for cause, part in gaps:
        await rows.gap(cause.value, part, series=series)


def follow(told: Told, series: Sequence[Series]) -> None:
    told.goals = dict.fromkeys(series, OBJECTIVE_S)
    told.needs = [Feasibility("bitfinex", len(series), len(series) * 0.4, 30.0)]
    for at, one in enumerate(series, 1_000):
        told.followers[one], told.known_jobs[at] = at, JobStatus(NOW_MS + 20_000 + 7_000 * (at - 1_000), running=False)
    told.known_exchanges = [ExchangeStatus("bitfinex", 30, 14, used={Claim.CONTINUOUS: 12, Claim.GAP_REPAIR: 2})]


async def well(rows: Rows, told: Told) -> None:
    for each in symbols(8):
        await known(rows, each)
    follow(told, symbols(8))
    job = await rows.job("continuous", symbol=None, timeframe=None)
    await rows.run(job, ago=timedelta(minutes=1), inserted=8)


async def outage(rows: Rows, told: Told) -> None:
    """The exchange has been away for forty minutes, and was for two hours yesterday."""
    before = Ranges.of((MIDNIGHT + 300, MIDNIGHT + 420))
    for each in symbols(6):
        await known(rows, each, until=NOW - 40, gaps=[(Cause.NOT_ASKED, before)])
    follow(told, symbols(6))
    told.known_exchanges = [ExchangeStatus("bitfinex", 30, 0, "open", NOW_MS + 5 * MINUTE)]
    job = await rows.job("continuous", symbol=None, timeframe=None)
    await rows.run(job, ago=timedelta(minutes=1), status="failed")


async def thin(rows: Rows, told: Told) -> None:
    """Hours go by without a trade, and all is well."""
    for at, each in enumerate(symbols(3)):
        quiet = Ranges.of(*((FIRST + hour * 60 + at * 17, FIRST + hour * 60 + at * 17 + 25) for hour in range(47)))
        await known(rows, each, quiet=quiet | Ranges.of((FIRST + 200, FIRST + 500)))
    follow(told, symbols(3))


async def holes(rows: Rows, told: Told) -> None:
    """Every cause there is, each of another size, and a market that rests."""
    shown = symbols(7)
    for at, (cause, each) in enumerate(zip(Cause, shown, strict=False)):
        start = MIDNIGHT + 100 + at * 130
        await known(rows, each, gaps=[(cause, Ranges.of((start, start + 10 ** (at % 3)), (start + 400, start + 460)))])
    await known(rows, shown[5], until=NOW - 300)
    await known(rows, shown[6], begin=MIDNIGHT)
    follow(told, shown)
    told.rests = {shown[5].symbol: "halted"}


async def backfill(rows: Rows, told: Told) -> None:
    for at, each in enumerate(symbols(4)):
        await known(rows, each, begin=MIDNIGHT + 200 * at)
        number = await rows.job("backfill", symbol=each.symbol)
        told.known_jobs[number] = JobStatus(None, running=at < 3)
    follow(told, symbols(4))
    told.filling = {
        each: Filling(58, Reading(0.3 + at / 10, 1200.0, 95.0 + at * 60, 40 - at * 6))
        for at, each in enumerate(symbols(3))
    }
    used = {Claim.CONTINUOUS: 4, Claim.BACKFILL: 22}
    told.known_exchanges = [ExchangeStatus("bitfinex", 30, 26, used=used)]


async def many(rows: Rows, told: Told) -> None:
    """Five hundred series, of which some have something."""
    shown = [Series("bitfinex", f"{coin}{number}USD", "1m") for number in range(42) for coin in COINS][:500]
    for number in (BLOCK, BLOCK + 1):
        await rows.connection.executemany(
            "INSERT INTO candle_coverage (exchange, symbol, timeframe, block, answered, stored)"
            " VALUES ($1, $2, $3, $4, int4multirange(int4range($4::integer * 1440, ($4::integer + 1) * 1440)), 1440)",
            [(*each, number) for each in shown],
        )
    for at, each in enumerate(shown[::17]):
        await rows.gap(OWED[at % len(OWED)].value, Ranges.of((MIDNIGHT + at * 30, MIDNIGHT + at * 30 + 5)), series=each)
    follow(told, shown)


async def empty(rows: Rows, told: Told) -> None:
    """Before the first job."""


SCENES = {
    "well": Scene(well, ("✓ Yes", "All 8 followed series are within", "✓ No", "It is done", "answers")),
    "outage": Scene(
        outage,
        ("No: 6 of 6 series are late", "40 min", "Yes: 6 open gaps", "lack 2024-01-02 05:00", "since 2024-01-02 23:20"),
        ("No: 6 of 6", "is out of reach, and is left alone"),
    ),
    "thin": Scene(thin, ("✓ Yes", "✓ No", "nothing traded")),
    "holes": Scene(holes, ("Yes: 5 open gaps", "halted", "160 late", "61 lost"), ("Yes: 5 open gaps",)),
    "backfill": Scene(backfill, ("In about 3 min 35 s", "3 series are being", "18 of 58 requests", "backfill 22")),
    "many": Scene(many, ("All 500 followed series", "Yes: 30 open gaps")),
    "empty": Scene(empty, ("No series yet", "marketd jobs add")),
}  # fmt: skip
