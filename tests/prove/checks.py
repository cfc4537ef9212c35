"""What has to hold of a database, beside the promises that ``marketd verify`` holds.

Owns the comparison with the truth of the market, which only a rehearsal knows, and with the counters of the runs.
Each check returns sentences, none where all is well.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import asyncpg

from marketd.model import Series
from marketd.rehearsal.dialect import Bounds
from marketd.rehearsal.stats import Asked
from tests.oracle import violations
from tests.prove.scenery import DIALECT, NAME, NATIVE

_RANGE = re.compile(r"(\d+),(\d+)")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_WRONG = """
SELECT k.symbol, k.timeframe, k.open_time FROM candles k LEFT JOIN truth.candles t USING (symbol, timeframe, open_time)
WHERE (k.open, k.high, k.low, k.close, k.volume) IS DISTINCT FROM (t.open, t.high, t.low, t.close, t.volume)
"""

_LOST = """
SELECT t.symbol, t.timeframe, t.open_time FROM truth.candles t
JOIN candle_coverage c USING (symbol, timeframe)
LEFT JOIN candles k USING (symbol, timeframe, open_time)
WHERE c.block = t.number / 1440 AND c.answered @> t.number AND k.open_time IS NULL
"""

_UNBUILT = """
WITH proven AS (
    SELECT symbol, range_agg(answered - empty_once) AS minutes FROM candle_coverage
    WHERE timeframe = '1m' GROUP BY symbol
)
SELECT t.symbol, t.timeframe, t.open_time FROM truth.candles t JOIN proven p USING (symbol)
LEFT JOIN candles k USING (symbol, timeframe, open_time)
WHERE t.timeframe = '5m' AND p.minutes @> int4range(t.number * 5, t.number * 5 + 5) AND k.open_time IS NULL
"""

_UNCOUNTED = """
SELECT (SELECT count(*) FROM candles WHERE timeframe = '1m') - coalesce(sum(candles_inserted), 0)
FROM market_data_job_runs
"""

_LATE_PAGES = """
SELECT r.id, t.candles_fetched, r.candles_fetched FROM truth.taken t JOIN market_data_job_runs r ON r.id = t.run_id
WHERE r.candles_fetched > t.candles_fetched
"""

_COVERAGE = """
SELECT symbol, timeframe, range_agg(answered)::text FROM candle_coverage GROUP BY symbol, timeframe
"""

_FIRSTS = "SELECT symbol, min(number) FROM truth.candles WHERE timeframe = '1m' GROUP BY symbol"


async def promises(dsn: str) -> list[str]:
    """What ``marketd verify`` would say."""
    return [f"{name}: {_row(row.values())}" for name, rows in (await violations(dsn)).items() for row in rows]


async def truth(connection: Connection) -> list[str]:
    """No candle that the market does not have, or not like this; none lost that the ledger calls answered; none of
    five minutes missing that could be built.
    """
    wrong, lost = await connection.fetch(_WRONG), await connection.fetch(_LOST)
    return [
        *_told("not in the market", wrong),
        *_told("lost: answered, in the market, not stored", lost),
        *_told("not built of proven minutes", await connection.fetch(_UNBUILT)),
    ]


async def uncounted(connection: Connection) -> int:
    """Candles in the table that no run has counted; the same at all times while only runs write."""
    return int(await connection.fetchval(_UNCOUNTED))


async def late_pages(connection: Connection) -> list[str]:
    """Runs of a holder that had lost the exchange have written nothing more."""
    return _told("written after the exchange was taken over", await connection.fetch(_LATE_PAGES))


async def owed(connection: Connection) -> list[str]:
    """Gaps that somebody can do something about: no silences that wait for a day."""
    gaps = await connection.fetch(
        "SELECT symbol, timeframe, cause, missing::text FROM candle_gaps "
        "WHERE repaired_at IS NULL AND cause <> 'suspect'"
    )
    return _told("left owed", gaps)


async def ended(connection: Connection) -> list[str]:
    """Nothing is left to do: no run under way, nothing owed."""
    runs = await connection.fetch("SELECT id, job_id, status, epoch FROM market_data_job_runs WHERE status = 'running'")
    return [*_told("left running", runs), *await owed(connection)]


async def complete(connection: Connection, until_ms: int) -> list[str]:
    """Every series that is asked for is answered without a hole from its first candle to ``until_ms`` at least."""
    parts = await _coverage(connection)
    said = []
    for symbol, first in await connection.fetch(_FIRSTS):
        series = Series(NAME, symbol, "1m")
        wanted, found = series.frame.closed_end(until_ms), parts.get((symbol, "1m"), [])
        if len(found) != 1 or found[0][0] > first or found[0][1] < wanted:
            said.append(f"{series} is answered over {found}, wanted is [{first}, {wanted})")
    return said


async def answered(connection: Connection) -> Mapping[tuple[str, str], frozenset[int]]:
    """Numbers of the answered intervals of each series."""
    found = await _coverage(connection)
    return {series: frozenset(n for part in parts for n in range(*part)) for series, parts in found.items()}


async def _coverage(connection: Connection) -> Mapping[tuple[str, str], Sequence[tuple[int, int]]]:
    return {
        (symbol, timeframe): [(int(start), int(end)) for start, end in _RANGE.findall(text or "")]
        for symbol, timeframe, text in await connection.fetch(_COVERAGE)
    }


def asked_again(asks: Sequence[Asked], known: Mapping[tuple[str, str], frozenset[int]]) -> list[str]:
    """Asks for candles that could tell nothing that was not ``known``."""
    said = []
    for ask in asks:
        bounds = DIALECT.bounds(ask) if ask.kind == "candles" else Bounds()
        if bounds.start_ms is None or bounds.end_ms is None:
            continue
        series = next(one for one in NATIVE if one.symbol == ask.symbol)
        wanted = range(series.frame.ceiling(bounds.start_ms), series.frame.number(bounds.end_ms) + 1)
        if known.get((series.symbol, series.timeframe), frozenset()).issuperset(wanted):
            said.append(f"asked again for {series} {wanted.start}..{wanted.stop}, which was answered and stored")
    return said


def _told(what: str, rows: Sequence[Iterable[object]]) -> list[str]:
    return [f"{what}: {_row(row)}" for row in rows]


def _row(row: Iterable[object]) -> str:
    return " ".join(str(field) for field in row)
