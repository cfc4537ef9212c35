"""``python -m bench.page``: how long the status page takes beside fifty million candles, with fetches running.

Of those candles only the ledger and the last day are there: neither the page nor anything else reads candles
but the oldest and the newest of a series. Every twentieth series has holes. Says, too, how large a page is on the wire.
"""

import argparse
import asyncio
import gzip
import json
import logging
import sys
from dataclasses import asdict

import aiohttp
import asyncpg
import uvloop

from bench import stock, work
from bench.market import DAY_MS, exchange
from bench.port import BESIDE, Timing, backfill, port_on, timing
from bench.server import postgres
from marketd.cli.start import share_time

BLOCKS = 50_000_000 // 1440
TIMES = 60
PATHS = ("/?span=day", "/?span=week", "/?span=year", "/?span=all", "/coverage?symbol=BENCH0&timeframe=1m", "/metrics")
_HOLES_EVERY = 20


async def fill(dsn: str, series: int) -> None:
    """The ledger of fifty million candles of so many series, up to now."""
    blocks = max(2, BLOCKS // series)
    first = stock.END_MS // DAY_MS - blocks
    connection = await asyncpg.connect(dsn, command_timeout=3600)
    try:
        await connection.execute(stock.statement("stock_jobs"))
        for number in range(series):
            symbol = f"BENCH{number}"
            await connection.execute(stock.statement("stock_series"), symbol, first)
            await connection.execute(stock.statement("stock_ledger"), symbol, first, blocks)
            await connection.execute(stock.statement("stock_candles"), symbol, first + blocks - 1, 1)
            if number % _HOLES_EVERY == 0:
                await connection.execute(stock.statement("stock_open_gaps"), symbol, first, 40)
            if number % 100 == 0:
                print(f"{number} of {series} series", file=sys.stderr)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _measured(series: int) -> tuple[list[Timing], int]:
    async with postgres() as dsn:
        await fill(dsn, series)
        async with exchange(BESIDE) as at:
            config = work.config_for(dsn, at.base_url)
            async with port_on(config, dsn) as port, asyncio.TaskGroup() as group:
                filling = group.create_task(backfill(config, dsn))
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "bench.poll", port.address, str(TIMES), *PATHS, stdout=asyncio.subprocess.PIPE
                )
                out, _ = await process.communicate()
                size = await _size(port.address, PATHS[1])
                filling.cancel()
    return [timing(path, took) for path, took in json.loads(out).items()], size


async def _size(address: str, path: str) -> int:
    """Of a page, packed as a proxy would pack it."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}{path}") as reply:
        return len(gzip.compress(await reply.read()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    share_time()
    timings, size = uvloop.run(_measured(given.series))
    if given.json:
        print(json.dumps({"series": given.series, "packed_bytes": size, "timings": [asdict(one) for one in timings]}))
        return
    title = f"{given.series} series of 50 000 000 candles, a backfill running"
    print(f"{title:<60}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for one in timings:
        print(f"{one.path:<60}{one.p50_ms:>9.1f}{one.p99_ms:>9.1f}{one.max_ms:>9.1f}")
    print(f"{PATHS[1]}, packed: {size} bytes")


if __name__ == "__main__":
    main()
