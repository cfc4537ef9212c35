"""Backfills from an exchange's archive: whole months as files, the rest by requests, and in the end the same truth."""

import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest

from marketd import months, zipped
from marketd.clock import ms_of
from marketd.exchanges import binancefiles
from marketd.exchanges.facts import Reply, Request
from marketd.metrics import MONTH_OUTCOMES
from marketd.model import JobType, RunStatus, Series
from marketd.planner import ANCHORS
from marketd.ports import Events, Progress, Transport
from marketd.rehearsal.faults import Archived, Fault, Faults, Huge, Lost, Redirect, Reset, ServerError, Truncated
from marketd.rehearsal.market import Market, Window, synthetic
from tests.conformance.direct import Free, StandingClock, decimals
from tests.harness import Bench, bench

SERIES = Series("binance", "BTCUSDT", "5m")
MINUTES = Series("binance", "BTCUSDT", "1m")
LISTED = datetime(2024, 11, 27, 7, 13, tzinfo=UTC)
NOW = datetime(2025, 2, 6, 9, 1, tzinfo=UTC)
DECEMBER, JANUARY = datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
PAGE = 1000 - ANCHORS


class Heard(Events):
    """What came of each month."""

    def __init__(self) -> None:
        self.months: list[str] = []

    def month_read(self, exchange: str, outcome: str) -> None:
        assert outcome in MONTH_OUTCOMES
        self.months.append(outcome)


@dataclass
class Desk:
    """An engine of Binance with its archive, and what is true there."""

    market: Market
    clock: StandingClock
    faults: Faults
    bench: Bench
    gate: Free
    heard: Heard

    def truth(self, series: Series = SERIES) -> list[tuple[Any, ...]]:
        """(open ms, open, close, high, low, volume) of every candle that is closed by now, grace included."""
        end_ms = series.frame.open_ms(series.frame.closed_end(self.clock.now_ms() - 2000))
        window = Window(0, end_ms - 1, 10**9, newest_first=False)
        overlay = self.faults.overlay(series.symbol, series.timeframe)
        rows = self.market.page(series.symbol, series.timeframe, window, self.clock.now_ms(), overlay)
        return [decimals(row) for row in rows]

    async def stored(self, series: Series = SERIES) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.bench.candles(series)]

    def asked(self, kind: str) -> int:
        return self.bench.server.stats.kinds[kind]

    async def proves_the_truth(self, series: Series = SERIES, **more: Any) -> None:
        done = await self.bench.backfill(series, **more)
        assert (done.status, done.error) == (RunStatus.SUCCESS, None)
        assert await self.stored(series) == self.truth(series)
        assert await self.bench.violations() == {}


def pages(start: datetime, end: datetime, series: Series = SERIES) -> int:
    """Requests for what lies between."""
    count = series.frame.number(ms_of(end)) - series.frame.number(ms_of(start))
    return -(-count // PAGE)


FEBRUARY = datetime(2025, 2, 1, tzinfo=UTC)
REST = pages(LISTED, DECEMBER) + pages(FEBRUARY, NOW)


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    clock = StandingClock(ms_of(NOW))
    market = synthetic(11, ["BTCUSDT"], ms_of(LISTED), ms_of(NOW + timedelta(days=100)), 0.2).filled()
    faults, gate = Faults(clock), Free()
    async with bench(database, market, clock, faults=faults, name="binance", archive=True) as made:
        heard = Heard()
        made.runner.fetcher.gate, made.runner.fetcher.events = gate, heard
        yield Desk(market, clock, faults, made, gate, heard)


async def test_whole_months_cost_no_request_and_the_rest_is_asked_for(desk: Desk) -> None:
    """From November to February, over the end of 2024, where the files begin to count in microseconds."""
    await desk.proves_the_truth()
    assert (desk.asked("archive"), desk.asked("candles")) == (4, REST)
    assert desk.heard.months == ["taken", "taken"]
    assert desk.gate.passed == REST + 1 + 10  # the first candle, and the list of symbols
    (run,) = await desk.bench.fetch("SELECT candles_fetched, candles_inserted, requests FROM market_data_job_runs")
    assert run["candles_inserted"] == len(desk.truth())
    assert run["requests"] == desk.asked("candles") + desk.asked("first") + desk.asked("symbols")
    await desk.proves_the_truth()
    assert (desk.asked("archive"), desk.asked("candles")) == (4, REST)


async def test_the_oldest_month_comes_first_where_that_is_wanted(desk: Desk) -> None:
    await desk.proves_the_truth(newest_first=False)
    asked = [dict(each.query)["month"] for each in desk.bench.server.stats.asks if each.kind == "archive"]
    assert asked == ["2024-12", "2024-12", "2025-01", "2025-01"]


async def test_an_order_to_fetch_again_asks_the_exchange_itself(desk: Desk) -> None:
    await desk.proves_the_truth()
    await desk.proves_the_truth(refetch=True)
    assert (desk.asked("archive"), desk.asked("candles")) == (4, pages(LISTED, NOW) + REST)


async def test_coarse_candles_are_had_cheaper_by_requests(desk: Desk) -> None:
    await desk.proves_the_truth(SERIES._replace(timeframe="1h"))
    assert desk.asked("archive") == 0


FILES = {
    "another sum": Archived(how="sum", months=("2025-01",)),
    "no such month": Archived(how="missing", months=("2025-01",)),
    "half a zip": Archived(how="cut", months=("2025-01",)),
    "no zip at all": Archived(how="text", months=("2025-01",)),
    "a file of another symbol": Archived(how="renamed", months=("2025-01",)),
    "candles of an hour": Archived(how="coarser", months=("2025-01",)),
    "many holes": Archived(how="holed", rows=11, months=("2025-01",)),
}


def left(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Months of which a warning says that they are asked for."""
    said = [each for each in caplog.records if each.message == "month left to requests"]
    return [each.__dict__["fields"]["month"] for each in said]


@pytest.mark.parametrize("fault", FILES.values(), ids=FILES)
async def test_a_month_that_is_not_as_it_should_be_is_asked_for(
    desk: Desk, fault: Archived, caplog: pytest.LogCaptureFixture
) -> None:
    desk.faults.add(fault)
    with caplog.at_level(logging.WARNING, "marketd.archive"):
        await desk.proves_the_truth()
    assert left(caplog) == ["2025-01"]
    assert desk.heard.months == ["refused" if fault.how != "missing" else "absent", "taken"]
    assert desk.asked("candles") == pages(LISTED, DECEMBER) + pages(JANUARY, NOW)


LINES = {
    "an error": ServerError(asks=("archive",), status=503),
    "a reset": Reset(asks=("archive",)),
    "a redirect": Redirect(asks=("archive",)),
    "half a body": Truncated(asks=("archive",)),
}


@pytest.mark.parametrize("fault", LINES.values(), ids=LINES)
async def test_an_archive_out_of_reach_is_tried_twice_and_then_left_alone(
    desk: Desk, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    desk.faults.add(fault)
    with caplog.at_level(logging.WARNING, "marketd.archive"):
        await desk.proves_the_truth()
    assert left(caplog) == ["2025-01"]
    assert desk.heard.months == ["unreachable"]
    assert desk.asked("archive") in (2, 4)  # a connection that was in use before is opened anew once more
    assert desk.asked("candles") == pages(LISTED, NOW)


async def test_a_file_larger_than_any_month_is_not_taken_in(desk: Desk) -> None:
    desk.faults.add(Huge(asks=("archive",), megabytes=30))
    await desk.proves_the_truth()
    assert desk.asked("candles") == pages(LISTED, NOW)


@pytest.mark.parametrize("fault", [Archived(how="sum", count=1), ServerError(asks=("archive",), status=502, count=1)])
async def test_what_goes_wrong_once_is_tried_again(desk: Desk, fault: Fault) -> None:
    desk.faults.add(fault)
    await desk.proves_the_truth()
    assert desk.asked("candles") == REST


async def test_a_line_of_headings_is_no_candle(desk: Desk) -> None:
    desk.faults.add(Archived(how="headed"))
    await desk.proves_the_truth()
    assert desk.asked("candles") == REST


async def test_a_file_proves_no_silence(desk: Desk) -> None:
    """What a month's file lacks is asked for: restored, it is stored; else it is the exchange's word that counts."""
    desk.faults.add(Archived(how="holed", rows=3, months=("2025-01",)))
    await desk.proves_the_truth()
    assert desk.asked("candles") == REST + 3
    assert await desk.bench.gaps(SERIES) == []


async def test_a_halt_is_doubted_as_if_it_had_been_asked_for(desk: Desk) -> None:
    halt = datetime(2024, 12, 9, 2, tzinfo=UTC)
    desk.faults.add(Lost(start_ms=ms_of(halt), end_ms=ms_of(halt + timedelta(hours=4))))
    await desk.proves_the_truth()
    (gap,) = await desk.bench.gaps(SERIES)
    assert (gap["cause"], gap["gap_start"], gap["gap_end"]) == ("suspect", halt, halt + timedelta(hours=4))
    desk.clock.ms += 25 * 3_600_000
    assert (await desk.bench.repair(SERIES)).error is None
    (gap,) = await desk.bench.gaps(SERIES)
    assert gap["repaired_at"] is not None
    assert await desk.bench.violations() == {}


async def test_what_is_skipped_of_a_followed_series_is_owed(desk: Desk) -> None:
    """An order after a long pause: a stop after the first file leaves nothing that is nobody's."""
    desk.clock.ms = ms_of(LISTED + timedelta(days=1))
    job = "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule) VALUES ($1, $2, $3, $4, $5)"
    async with desk.bench.database.session() as connection:
        await connection.execute(job, *SERIES, "continuous", "* * * * *")
    assert (await desk.bench.continuous(SERIES)).error is None
    desk.clock.ms = ms_of(NOW)
    await stopped_after(desk, SERIES, pages=1)
    left = desk.truth()
    held = {row[0] for row in await desk.stored()}
    owed = [(ms_of(gap["gap_start"]), ms_of(gap["gap_end"])) for gap in await desk.bench.gaps(SERIES)]
    behind = [row[0] for row in left if row[0] > ms_of(LISTED + timedelta(days=1)) and row[0] not in held]
    assert behind
    assert all(any(start <= ms < end for start, end in owed) for ms in behind)
    assert (await desk.bench.repair(SERIES)).error is None
    await desk.proves_the_truth()


class Stopping(Progress):
    """Stops a run after so many pages."""

    def __init__(self, bench: Bench, pages: int) -> None:
        self._bench = bench
        self._pages = pages

    def advanced(self, series: Series, left: int, tally: Any) -> None:
        self._pages -= 1
        if self._pages == 0:
            self._bench.accounts[-1].stop.set()


async def stopped_after(desk: Desk, series: Series, *, pages: int) -> None:
    desk.bench.runner.progress = Stopping(desk.bench, pages)
    order, account = await desk.bench.begun(JobType.BACKFILL, series)
    done = await desk.bench.runner.run(order, account)
    await desk.bench.runs.finish(account.run_id, done.status, done.error, done.tally.requests)
    desk.bench.runner.progress = Progress()
    assert done.status is RunStatus.INTERRUPTED


async def test_a_stop_is_heeded_within_a_month_and_what_is_left_is_done_by_the_next_run(desk: Desk) -> None:
    await stopped_after(desk, MINUTES, pages=2)
    assert (await desk.stored(MINUTES))[0][0] == ms_of(JANUARY)
    assert len(await desk.stored(MINUTES)) == 20_000
    assert desk.asked("candles") == 0
    assert await desk.bench.violations() == {}
    await desk.proves_the_truth(MINUTES)
    assert desk.asked("archive") == 4
    assert desk.asked("candles") < pages(JANUARY, NOW, MINUTES) + pages(LISTED, DECEMBER, MINUTES)


@pytest.mark.parametrize(
    "path", ["BTCUSDT/5m/BTCUSDT-5m-2024-10", "BTCUSDT/5m/BTCUSDT-5m-2025-02", "NOCOIN/5m/NOCOIN-5m-2025-01"]
)
async def test_what_the_archive_does_not_have_is_a_bucket_s_404(desk: Desk, path: str) -> None:
    """Before the listing, not over yet, never listed."""
    request = Request(f"/data/spot/monthly/klines/{path}.zip.CHECKSUM")
    reply = await desk.bench.runner.fetcher.transport.send(desk.bench.server.root_url, request)
    assert (reply.status, reply.content_type) == (404, "application/xml")
    assert b"NoSuchKey" in reply.body


async def test_a_month_is_looked_for_once_it_can_be_there(desk: Desk) -> None:
    """The first Monday of February 2025 is the third, the files are there on the fourth."""
    desk.clock.ms = ms_of(datetime(2025, 2, 3, 23, tzinfo=UTC))
    await desk.proves_the_truth()
    assert {dict(each.query)["month"] for each in desk.bench.server.stats.asks if each.kind == "archive"} == {"2024-12"}


@dataclass
class Shelved:
    """A transport with the archive's files at hand, so that nobody makes them meanwhile."""

    other: Transport
    files: dict[str, Reply]

    async def send(self, base_url: str, request: Request, proxy: str | None = None) -> Reply:
        return self.files.get(request.path) or await self.other.send(base_url, request, proxy)


ALL = pages(JANUARY, NOW) - pages(FEBRUARY, NOW)
SPOILT: dict[str, tuple[Callable[[bytes, bytes], list[bytes]], int]] = {
    "a price out of order": (lambda line, then: [line.replace(line.split(b",")[2], b"0.0001"), then], 1),
    "no price": (lambda line, then: [line.replace(line.split(b",")[2], b"null"), then], ALL),
    "the same line twice": (lambda line, then: [line, line, then], 0),
    "two that differ": (lambda line, then: [line, line.replace(line.split(b",")[5], b"77.7"), then], ALL),
    "a candle off the grid": (lambda line, then: [line, line[:7] + b"1" + line[8:], then], 0),
    "one of another month": (lambda line, then: [b"19" + line[2:], then], ALL),
    "against the order": (lambda line, then: [then, line], 0),
}
"""What becomes of two lines in the middle of a month, and how many requests that costs."""


@pytest.mark.parametrize(("spoil", "cost"), SPOILT.values(), ids=SPOILT)
async def test_a_line_that_is_not_as_it_should_be_is_never_stored(
    desk: Desk, spoil: Callable[[bytes, bytes], list[bytes]], cost: int
) -> None:
    """Under its right checksum: what cannot be used of it is asked for, and a file that cannot be read is left."""
    files = binancefiles.files(*SERIES[1:], months.CALENDAR.number(ms_of(JANUARY)))
    transport = desk.bench.runner.fetcher.transport
    sent = await transport.send(desk.bench.server.root_url, Request(files.zipped))
    (lines,) = zipped.lines(sent.body, files.csv, 10_000)
    made = BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr(files.csv, b"".join([*lines[:4000], *spoil(lines[4000], lines[4001]), *lines[4002:]]))
    told = f"{sha256(made.getvalue()).hexdigest()}  {files.zipped.rpartition('/')[2]}\n".encode()
    shelved = {files.zipped: replace(sent, body=made.getvalue()), files.checksum: replace(sent, body=told)}
    desk.bench.runner.fetcher.transport = Shelved(transport, shelved)
    await desk.proves_the_truth()
    assert desk.asked("candles") == REST + cost


async def test_a_month_of_minutes_is_never_in_memory_as_a_whole(desk: Desk) -> None:
    fetcher, files = desk.bench.runner.fetcher, binancefiles.files(*MINUTES[1:], months.CALENDAR.number(ms_of(JANUARY)))
    paths = (files.zipped, files.checksum)
    shelved = {path: await fetcher.transport.send(desk.bench.server.root_url, Request(path)) for path in paths}
    fetcher.transport = Shelved(fetcher.transport, shelved)
    assert (await desk.bench.backfill(MINUTES, start_ms=desk.clock.now_ms() - 3_600_000)).error is None
    peak = Peak()
    with peak:
        done = await desk.bench.backfill(MINUTES, start_ms=ms_of(JANUARY), end_ms=ms_of(FEBRUARY))
    assert (done.error, done.tally.fetched, desk.asked("candles")) == (None, 31 * 1440, 1)
    whole = Peak()
    with whole:
        for lines in zipped.lines(shelved[files.zipped].body, files.csv, 10**6):
            assert len(binancefiles.read_lines(lines, "1m").lines) == 31 * 1440
    assert peak.bytes * 2 < whole.bytes


@dataclass
class Peak:
    """The most memory that was in use within the block, above what was before."""

    bytes: int = 0

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
