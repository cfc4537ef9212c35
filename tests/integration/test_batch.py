"""Small answers that share a transaction change exactly what each would have changed alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.errors import LeaseLost, StoreError
from marketd.limiter import Budget
from marketd.model import Answer, Ask, JobType, Series
from marketd.ports import Stored
from marketd.ranges import NOTHING, Ranges
from marketd.rehearsal import synthetic
from marketd.store import batch
from marketd.walker import Account
from tests.harness import Bench, bench

NOW_MS = 1_709_251_205_000  # 2024-03-01 00:00:05
MINUTE_MS = 60_000
FIRST = NOW_MS // MINUTE_MS - 300
COLUMNS = ("open_ms", "open", "close", "high", "low", "volume")
PAIRS = [f"{number:02}" for number in range(12)]
COUNTERS = (
    "requests, candles_fetched, candles_inserted, candles_updated, empties, gaps_opened, gaps_closed, last_open_time"
)
TABLES = {
    "candles": "open_time, close_time, open, high, low, close, volume",
    "candle_coverage": "block, answered, empty_once, empty_confirmed, unsettled, pending, stored, answered_at, look_at,"
    " look_step",
    "candle_gaps": "gap_start, gap_end, owed, missing, cause, detected_at, filled, emptied, attempts, next_attempt_at,"
    " last_error, resolution",
    "candle_revisions": "open_time, kind, old_open, old_close, old_volume, new_open, new_close, old_answered_at,"
    " new_answered_at",
    "series_figures": "answered_start, answered_end",
}


@dataclass
class Seen:
    """How many answers each transaction was given."""

    sizes: list[int] = field(default_factory=list)


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Bench]:
    market = synthetic(1, ["BTCUSD"], NOW_MS - MINUTE_MS, NOW_MS)
    async with bench(database, market, ScaledClock(NOW_MS)) as opened:
        for number, pair in enumerate(PAIRS):
            for side in "AB":
                one = series(side, pair)
                await opened.runner.reader.know(one, None)
                if number % 2:
                    await opened.runner.reader.know(one._replace(timeframe="5m"), "1m")
                    await opened.runner.reader.know(one._replace(timeframe="15m"), "5m")
        yield opened


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    noted, write = Seen(), batch.write

    async def watched(connection: Any, entries: Sequence[batch.Entry]) -> Any:
        noted.sizes.append(len(entries))
        return await write(connection, entries)

    monkeypatch.setattr(batch, "write", watched)
    return noted


def series(side: str, pair: str) -> Series:
    return Series("bitfinex", f"{side}{pair}USD", "1m")


def line(number: int, price: int) -> bytes:
    return f"{(FIRST + number) * MINUTE_MS},{price}.10,{price}.5,{price + 1}.00,{price}.0001,{price % 7}.250\n".encode()


def answer(one: Series, numbers: Sequence[int], span: tuple[int, int], at_ms: int, luck: random.Random) -> Answer:
    """Rows for ``numbers`` of ``span``, counted from the first minute; now and then one was revised, or is unusable, or
    the answer says nothing at all.
    """
    numbers = numbers if luck.random() < 0.95 else []
    bad = Ranges.from_numbers(FIRST + number for number in numbers if luck.random() < 0.03)
    rows = Ranges.from_numbers(FIRST + number for number in numbers) - bad
    covered = Ranges.of((FIRST + span[0], FIRST + span[1])) if numbers else NOTHING
    known = Ranges.from_numbers(FIRST + number for number in numbers if luck.random() < 0.1)
    csv = b"".join(line(number - FIRST, 100 + (luck.random() < 0.1)) for number in rows.numbers())
    ask = Ask(one, FIRST + span[0], FIRST + span[1], newest_first=False, known=known)
    return Answer(ask, covered, rows, bad, csv, COLUMNS, at_ms, len(numbers))


def cycle(side: str, seed: int, at_ms: int) -> Iterator[tuple[Answer, Ranges]]:
    """An answer for each pair, and what it owes; the same ones for both sides."""
    luck = random.Random(seed)
    for pair in PAIRS:
        start = luck.randrange(250)
        span = (start, start + luck.randrange(1, 22))
        numbers = [number for number in range(*span) if luck.random() < 0.7]
        owe = Ranges.of((FIRST + start - 30, FIRST + start)) if luck.random() < 0.3 else NOTHING
        yield answer(series(side, pair), numbers, span, at_ms - luck.choice([0, 0, 0, 400_000]), luck), owe


async def stored(desk: Bench, account: Account, one: Answer, owe: Ranges = NOTHING) -> Stored:
    account.in_hand(one)
    return await account.write(lambda writing: desk.runner.pages.record(one, writing, owe=owe, first=None))


async def left_behind(desk: Bench, side: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is known of the series of a side, by table."""
    found = {}
    for table, columns in TABLES.items():
        rows = await desk.fetch(
            f"SELECT substr(symbol, 2), timeframe, {columns} FROM {table} WHERE symbol LIKE $1", f"{side}%"
        )
        found[table] = sorted((tuple(row) for row in rows), key=str)
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_together_they_change_what_each_changes_alone(
    desk: Bench, seen: Seen, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, together = await desk.begun(JobType.CONTINUOUS, *(series("A", pair) for pair in PAIRS))
    _, alone = await desk.begun(JobType.CONTINUOUS, *(series("B", pair) for pair in PAIRS))
    for turn in range(6):
        at_ms = NOW_MS + turn * 150_000
        both = await asyncio.gather(*(stored(desk, together, *one) for one in cycle("A", 100 * seed + turn, at_ms)))
        with monkeypatch.context() as patched:
            patched.setattr("marketd.store.pages._SMALL", -1)
            each = [await stored(desk, alone, *one) for one in cycle("B", 100 * seed + turn, at_ms)]
        for one, other in zip(both, each, strict=True):
            assert (one.inserted, one.updated, one.change.covered, one.change.blocks) == (
                other.inserted, other.updated, other.change.covered, other.change.blocks,
            )  # fmt: skip
    assert sum(seen.sizes) == 6 * len(PAIRS)
    assert len(seen.sizes) == 6 * 2, "the first goes at once, the others are the next ones"
    assert await left_behind(desk, "A") == await left_behind(desk, "B")
    runs = await desk.fetch(f"SELECT {COUNTERS} FROM market_data_job_runs ORDER BY id")
    assert tuple(runs[0]) == tuple(runs[1])
    assert together.tally == alone.tally
    assert together.tally.inserted > 100
    assert min(together.tally.updated, together.tally.gaps_opened, together.tally.derived, together.tally.empties) > 0
    await desk.fetch("UPDATE market_data_jobs SET symbol = NULL")  # the runs were about more than their first series
    assert await desk.violations() == {}


def plain(one: Series, numbers: Sequence[int]) -> Answer:
    csv = b"".join(line(number, 100) for number in numbers)
    rows = Ranges.from_numbers(FIRST + number for number in numbers)
    return Answer(
        Ask(one, rows.start, rows.end, newest_first=False), rows.hull, rows, NOTHING, csv, COLUMNS, NOW_MS, len(numbers)
    )


async def test_a_series_that_somebody_else_writes_to_keeps_no_other_waiting(
    desk: Bench, database: str, seen: Seen
) -> None:
    _, account = await desk.begun(JobType.CONTINUOUS, series("A", "00"))
    other = await asyncpg.connect(database)
    try:
        holding = other.transaction()
        await holding.start()
        await other.execute("SELECT marketd_lock_series($1, $2, $3)", *series("A", "01"))
        tasks = {pair: asyncio.create_task(stored(desk, account, plain(series("A", pair), [1, 2]))) for pair in PAIRS}
        held = tasks.pop("01")
        await asyncio.wait_for(asyncio.gather(*tasks.values()), 4)
        assert not held.done()
        await holding.rollback()
        assert (await asyncio.wait_for(held, 4)).inserted == 2
    finally:
        await other.close()
    assert account.tally.inserted == 2 * len(PAIRS)
    assert max(seen.sizes) == len(PAIRS) - 1


async def test_what_was_retired_meanwhile_is_refused_to_its_series_alone(desk: Bench) -> None:
    _, account = await desk.begun(JobType.CONTINUOUS, series("A", "00"))
    await desk.fetch("UPDATE market_series SET retired_until = now() WHERE symbol = 'A03USD' AND timeframe = '1m'")
    outcome = await asyncio.gather(
        *(stored(desk, account, plain(series("A", pair), [1, 2])) for pair in PAIRS), return_exceptions=True
    )
    refused = [pair for pair, one in zip(PAIRS, outcome, strict=True) if isinstance(one, StoreError)]
    assert refused == ["03"]
    assert account.tally.inserted == 2 * (len(PAIRS) - 1)
    assert await desk.violations() == {}


async def test_two_answers_of_one_series_come_one_after_the_other(desk: Bench) -> None:
    """Each takes its part of the same gap, from two rows of the ledger."""
    _, account = await desk.begun(JobType.CONTINUOUS, series("A", "00"))
    one, midnight = series("A", "00"), -1140
    owed = Ranges.of((FIRST + midnight - 9, FIRST + midnight + 9))
    await desk.runner.pages.record_failure(one, owed, account.writing(), at_ms=NOW_MS, error="lost", owe=NOTHING)
    parts = [range(midnight + start, midnight + start + 3) for start in (-9, -3, 0)]
    done = await asyncio.gather(*(stored(desk, account, plain(one, part)) for part in parts))
    assert sum(each.inserted for each in done) == 9
    (gap,) = await desk.runner.reader.open_gaps(one)
    assert gap.missing == owed - Ranges.from_numbers(FIRST + number for part in parts for number in part)
    assert await desk.violations() == {}


async def test_an_answer_that_cannot_be_written_spoils_no_other(desk: Bench) -> None:
    """A candle without a price is refused by its table."""
    _, account = await desk.begun(JobType.CONTINUOUS, series("A", "00"))
    answers = [plain(series("A", pair), [1, 2]) for pair in PAIRS]
    bad = answers[5]
    answers[5] = Answer(bad.ask, bad.covered, bad.rows, NOTHING, bad.csv.replace(b"100.10", b"-1"), COLUMNS, NOW_MS, 2)
    outcome = await asyncio.gather(*(stored(desk, account, one) for one in answers), return_exceptions=True)
    assert [at for at, one in enumerate(outcome) if isinstance(one, StoreError)] == [5]
    assert account.tally.inserted == 2 * (len(PAIRS) - 1)
    assert await desk.violations() == {}


async def test_nothing_of_them_is_written_once_somebody_else_has_the_exchange(desk: Bench) -> None:
    _, account = await desk.begun(JobType.CONTINUOUS, series("A", "00"))
    await desk.fetch("UPDATE exchange_leases SET epoch = epoch + 1")
    outcome = await asyncio.gather(
        *(stored(desk, account, plain(series("A", pair), [1, 2])) for pair in PAIRS), return_exceptions=True
    )
    assert {type(one) for one in outcome} == {LeaseLost}
    assert (
        await desk.count("SELECT count(*) FROM candles") + await desk.count("SELECT count(*) FROM candle_coverage") == 0
    )


async def test_series_of_one_run_are_worked_on_at_once_as_far_as_the_budget_lets_them(
    database: str, seen: Seen
) -> None:
    names = [f"A{pair}USD" for pair in PAIRS]
    market = synthetic(1, names, NOW_MS - 600 * MINUTE_MS, NOW_MS + 600 * MINUTE_MS)
    clock = ScaledClock(NOW_MS)
    async with bench(database, market, clock, page=8) as desk:
        live = [Series("bitfinex", name, "1m") for name in names]
        assert (await desk.continuous(*live)).error is None
        assert max(seen.sizes) > 1
        seen.sizes.clear()
        cast(Budget, desk.runner.fetcher.gate).set_rate(119)
        clock.jump(180)
        assert (await desk.continuous(*live[:4])).error is None
        assert seen.sizes == [1] * 4
        assert await desk.violations() == {}
