"""The local exchange of the benchmark, in a process of its own: ``python -m bench.exchange SEED DAYS SILENT``.

Prints its address, then serves until its standard input closes.
"""

import asyncio
import sys

from bench.work import market_of
from marketd.clock import ScaledClock
from marketd.rehearsal.server import RehearsalServer


async def main(seed: int, days: int, silent: float) -> None:
    market, end_ms = market_of(seed, days, silent)
    async with RehearsalServer(market, ScaledClock(end_ms)) as server:
        print(server.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
