"""The databases that points begin from, made by marketd itself.

Owns how each comes about. A template is made once, by an undisturbed run where it takes one.
"""

from collections.abc import Iterable

import asyncpg

from marketd.clock import ms_of
from marketd.rehearsal.faults import Malformed
from marketd.store import migrations
from tests.prove import catalog
from tests.prove.flows import FLOWS
from tests.prove.scenery import NOW, SYMBOLS, Scenery
from tests.prove.stage import Lane

_UNREADABLE = (250, 600)  # which of the candles

_HOLES = """
DELETE FROM candles WHERE timeframe = '1m' AND extract(minute FROM open_time) IN (7, 8, 30)
    AND extract(hour FROM open_time) IN (3, 4, 10);
DELETE FROM candles WHERE timeframe = '5m' AND extract(minute FROM open_time) IN (20, 35);
"""


async def made(scenery: Scenery, lane: Lane, names: Iterable[str]) -> None:
    await _versions(scenery)
    await scenery.migrated("fresh")
    if "filled" in names:
        await scenery.copied("filled", "fresh")
        await _backfilled(lane, "filled")
    if "holed" in names:
        await scenery.copied("holed", "fresh")
        lane.clock.begin(NOW, 1.0)
        traded = [ms_of(row[2]) for row in scenery.truth if row[:2] == (SYMBOLS[0], "1m")]
        lane.exchange.faults.add(*(Malformed(how="implausible", candle_ms=traded[at]) for at in _UNREADABLE))
        await _backfilled(lane, "holed")
        lane.exchange.faults.clear()
        await scenery.execute(_HOLES, "holed")


async def _versions(scenery: Scenery) -> None:
    for version in range(len(migrations.load()) + 1):
        await scenery.empty(f"version_{version}", version)
        connection = await asyncpg.connect(scenery.dsn(f"version_{version}"))
        try:
            scenery.versions.append(await catalog.digest(connection))
            if version == 1:
                await connection.execute(catalog.OLD_ROWS)
        finally:
            await connection.close()


async def _backfilled(lane: Lane, database: str) -> None:
    flow = FLOWS["backfill"]
    async with lane.on(database) as stage:
        flow.set(stage, again=False)
        async with stage.forks.started(stage.task(flow.words, None, hurry=1.0)) as child:
            report = await child.ended()
        await stage.alone()
        if report.code not in (0, 1):
            raise RuntimeError(f"{database} cannot be made: {report}; {(stage.folder / 'log').read_text()}")
