"""``make bench``: what a candle costs, beside the physical limit, in one run, as a table or ``--json``."""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench import work
from bench.work import Result
from marketd.assembly import ready_schema
from marketd.config import Config, build, read_text
from marketd.embedded import EmbeddedPostgres
from marketd.store.queries import sql
from marketd.store.session import Database


def _config(base_url: str, dsn: str) -> Config:
    environ = {
        "DATABASE_URL": dsn,
        "MARKETD_EXCHANGES__BITFINEX__BASE_URL": base_url,
        "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "600000",
    }
    return build("", environ, None, read_text)


async def _measure(folder: Path, seed: int, days: int) -> list[Result]:
    async with EmbeddedPostgres(folder / "pg") as server, work.exchange(seed, days, 0.02) as base_url:
        await ready_schema(server.dsn, migrate=True)
        async with Database(server.dsn, prepare=sql("page_table")) as database:
            config = _config(base_url, server.dsn)
            return [
                await work.backfill("A: backfill", config, database),
                await work.plain_copy(database),
                await work.backfill("A again, refetched", config, database, refetch=True),
            ]


def _table(results: list[Result]) -> str:
    copy = next(result for result in results if result.name == "plain COPY")
    head = ("work", "rows", "seconds", "rows/s", "of COPY", "own CPU", "requests", "WAL B/row")
    lines = ["{:<20}{:>9}{:>9}{:>10}{:>9}{:>9}{:>10}{:>11}".format(*head)]
    lines += [
        f"{one.name:<20}{one.rows:>9}{one.seconds:>9.2f}{one.rate:>10.0f}{one.rate / copy.rate:>9.0%}"
        f"{one.cpu_s / one.seconds:>9.0%}{one.requests:>10}{one.wal_bytes / one.rows:>11.0f}"
        for one in results
    ]
    return "\n".join([*lines, f"peak memory of the client: {work.peak_mb():.0f} MB"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--days", type=int, default=260, help="days of one-minute candles (default 260: 367 000 rows)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marketd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the server runs as another user
        results = uvloop.run(_measure(folder, given.seed, given.days))
    print(json.dumps([asdict(result) for result in results]) if given.json else _table(results))


if __name__ == "__main__":
    main()
