"""``make profile``: where the time of a backfill goes: statement by statement, and function by function of our own.

The work is done twice: once with the statements timed, once under the profiler, which slows Python down but not the
database, so that neither blurs the other.
"""

import argparse
import cProfile
import logging
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from asyncpg.connection import Connection

from bench.market import DENSE, Place, exchange, recorded_place
from bench.server import fresh_database, postgres
from bench.work import Cost, Work, cost
from marketd.store.queries import QUERIES

_CALLS = ("fetch", "fetchval", "fetchrow", "execute", "copy_to_table")


@dataclass
class Statements:
    """Seconds and calls by the name of the query, or by how the text begins."""

    names: dict[str, str]
    took: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """While this lasts every call of a connection is."""
        before = {name: getattr(Connection, name) for name in _CALLS}
        for name, call in before.items():
            setattr(Connection, name, self._timing(call))
        try:
            yield
        finally:
            for name, call in before.items():
                setattr(Connection, name, call)

    def _timing(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(connection: Any, text: str, *values: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return await call(connection, text, *values, **more)
            finally:
                name = self.names.get(text) or " ".join(text.split())[:40]
                self.took[name] = self.took.get(name, 0) + time.perf_counter() - began
                self.calls[name] = self.calls.get(name, 0) + 1

        return timed

    def table(self, cost: Cost) -> str:
        row = "{:<44}{:>9}{:>9}{:>9}{:>8}"
        lines = [row.format(f"{cost.rows} candles in {cost.seconds:.2f} s", "seconds", "calls", "ms each", "share")]
        lines += [
            row.format(
                name,
                f"{took:.2f}",
                self.calls[name],
                f"{1000 * took / self.calls[name]:.2f}",
                f"{took / cost.seconds:.0%}",
            )
            for name, took in sorted(self.took.items(), key=lambda pair: -pair[1])[:15]
        ]
        return "\n".join(lines)


async def _profiled(place: Place, *, refetch: bool) -> None:
    statements, profiler = Statements({query.sql: name for name, query in QUERIES.items()}), cProfile.Profile()
    async with postgres() as dsn, exchange(place) as at:
        async with fresh_database(dsn, "warm") as fresh:
            await cost(Work(fresh), at.base_url)
        async with fresh_database(dsn, "timed") as fresh:
            if refetch:
                await cost(Work(fresh), at.base_url)
            with statements.timed():
                found = await cost(Work(fresh, refetch=refetch), at.base_url)
        print(statements.table(found))
        async with fresh_database(dsn, "profiled") as fresh:
            if refetch:
                await cost(Work(fresh), at.base_url)
            profiler.enable()
            found = await cost(Work(fresh, refetch=refetch), at.base_url)
            profiler.disable()
    print(f"\nown processor time {found.cpu_s:.2f} s, with the profiler's")
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--refetch", action="store_true", help="of the second time, when all is stored")
    parser.add_argument("--recorded", action="store_true", help="the recorded year instead of the made-up one")
    given = parser.parse_args()
    logging.getLogger("marketd").setLevel(logging.ERROR)  # the exchange lives in another year
    recorded = recorded_place(275)
    if given.recorded and recorded is None:
        parser.error("MARKETD_RECORDED_DATA does not name recorded candles")
    place = recorded if given.recorded and recorded is not None else DENSE
    uvloop.run(_profiled(place, refetch=given.refetch))


if __name__ == "__main__":
    main()
