"""The local exchange of the benchmark, in a process of its own: ``python -m bench.exchange PLACE``, a JSON object.

Prints its address, then serves until its standard input closes.
"""

import asyncio
import json
import sys

from bench.market import Place
from marketd.clock import ScaledClock
from marketd.rehearsal.server import RehearsalServer


async def main(place: Place) -> None:
    async with RehearsalServer(place.market(), ScaledClock(place.now_ms, place.speed)) as server:
        print(server.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Place(**json.loads(sys.argv[1]))))
