"""``python -m bench.gaps``: what a repair of sixty series costs that finds nothing to repair, beside years of candles.

The gaps are not due, and every block was audited within the day, as after the first repairs of a day. Nothing is asked.
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict, dataclass
from statistics import median

import asyncpg
import uvloop

from bench import stock, work
from bench.market import Place, exchange
from bench.server import postgres
from marketd.cli.start import share_time
from marketd.model import Claim, JobType, Series
from marketd.runner import Order
from marketd.store.queries import sql
from marketd.store.session import Database

DAYS, DAYS_LARGE = (29, 145), (145, 724)
"""Of each series: one and five times as many candles."""

ROUNDS = 5
SERIES = tuple(Series("bitfinex", symbol, "1m") for symbol in stock.MANY)

_NOT_DUE = "UPDATE candle_gaps SET next_attempt_at = to_timestamp($1) + interval '12 hours' WHERE repaired_at IS NULL"


@dataclass(frozen=True, slots=True)
class Result:
    """How long each round took."""

    candles: int
    seconds: tuple[float, ...]


async def measure(dsn: str, base_url: str, candles: int) -> Result:
    order, seconds = Order(JobType.GAP_REPAIR, SERIES, Claim.GAP_REPAIR), list[float]()
    async with (
        Database(dsn, prepare=sql("page_table")) as database,
        work.lane_on(database, work.config_for(dsn, base_url)) as lane,
    ):
        for _ in range(ROUNDS + 1):
            account = await work.begun(lane, order.job_type)
            seconds.append((await work.carried_out(lane, order, account)).seconds)
    return Result(candles, tuple(seconds[1:]))


async def _filled_and_measured(days: int) -> Result:
    async with postgres() as dsn, exchange(Place(1, 0, end_ms=stock.END_MS)) as at:
        candles = await stock.fill(dsn, days, lambda said: print(said, file=sys.stderr), stock.MANY)
        connection = await asyncpg.connect(dsn, command_timeout=600)
        await connection.execute("UPDATE candle_coverage SET audited_at = now(), look_at = now() + interval '1 day'")
        await connection.execute(_NOT_DUE, stock.END_MS / 1000)  # by the exchange's time
        await connection.execute("VACUUM ANALYZE candle_coverage, candle_gaps")
        await connection.close()
        return await measure(dsn, at.base_url, candles)


def _table(results: list[Result]) -> str:
    lines = [f"{'a repair of 60 series that finds nothing':<44}{'median ms':>11}{'ms':>22}"]
    for one in results:
        each = " ".join(f"{second * 1000:.0f}" for second in one.seconds)
        lines.append(f"{f'{one.candles} candles':<44}{median(one.seconds) * 1000:>11.0f}{each:>22}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="beside ten and fifty million candles, not two and ten")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    share_time()  # as the daemon does
    results = [uvloop.run(_filled_and_measured(days)) for days in (DAYS_LARGE if given.large else DAYS)]
    print(json.dumps([asdict(one) for one in results]) if given.json else _table(results))


if __name__ == "__main__":
    main()
