"""The reader of the benchmark, in a process of its own: ``python -m bench.poll ADDRESS TIMES PATH...``.

Asks for one path after the other, so many times each, over one connection, with a pause between two; prints as JSON how
many milliseconds each answer took, by path. The first rounds do not count: PostgreSQL plans a statement anew for its
first five uses on each connection, which a daemon is through with after a minute.
"""

import asyncio
import json
import sys
import time

import aiohttp

_PAUSE_S = 0.01
_ROUNDS_BEFORE = 12  # five uses on each of the port's two connections, and some to spare


async def main(address: str, times: int, paths: list[str]) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {path: [] for path in paths}
    async with aiohttp.ClientSession(f"http://{address}") as http:
        for number in range(_ROUNDS_BEFORE + times):
            for path in paths:
                began = time.perf_counter()
                async with http.get(path) as response:
                    response.raise_for_status()
                    await response.read()
                if number >= _ROUNDS_BEFORE:
                    took[path].append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(_PAUSE_S)
    return took


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))))
