"""``python -m tests.soak``: a daemon works at ten times the ordinary rate, and something goes wrong every minute.

Owns the command, the order of events and the verdict: the daemon is the same process from the beginning to the end, it
takes no more at the end than early on, everything is whole soon after the last trouble, and no promise is broken.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from tests.oracle import violations
from tests.soak.meter import Meter, taken
from tests.soak.stage import SYMBOLS, TIMEFRAMES, Stage, stage
from tests.soak.troubles import OUTAGE_S, TROUBLES, Trouble, outage

EVERY_S = 60.0
SAMPLE_S = 10.0
WHOLE_S = 900.0
"""How long after the last trouble everything may take to be whole: a page that lied is asked again after minutes."""
LONG_MINUTES = 40
"""A soak of that length has room for an outage of ten minutes."""


@dataclass
class Record:
    """What a soak has seen; ``wrong`` is empty where all is well."""

    minutes: float
    troubles: dict[str, int] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    whole_after_s: float | None = None
    requests: int = 0
    lines: int = 0
    busiest_minute: int = 0
    wrong: list[str] = field(default_factory=list)


async def soak(folder: Path, minutes: float, record: Record) -> None:
    async with stage(folder) as on:
        await on.daemon.said("listening", 60)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(on, record))
            await _trouble(on, minutes, record)
            await _until_whole(on, record)
            watching.cancel()
        record.wrong += record.meter.growths()
        record.requests = on.exchange.stats.requests
        _read_log(on, record)
        if not on.daemon.alive:
            record.wrong.append(f"the daemon ended with {on.daemon.process.returncode}")
        else:
            on.daemon.process.terminate()
            code = await asyncio.wait_for(on.daemon.process.wait(), 60)
            record.wrong += [f"stopped, it ended with {code}"] if code else []
        record.wrong += [f"{name}: {len(rows)} rows" for name, rows in (await violations(on.server.dsn)).items()]


async def _trouble(on: Stage, minutes: float, record: Record) -> None:
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    plan = list(TROUBLES.items())
    number = 0
    while (passed_s := loop.time() - begun_s) < minutes * 60 and on.daemon.alive:
        name, trouble = plan[number % len(plan)]
        if minutes >= LONG_MINUTES and number == len(plan) // 2:
            await _happen("ten minutes without the database", outage, on, record, OUTAGE_S + EVERY_S)
        await _happen(name, trouble, on, record, EVERY_S)
        number += 1
        await asyncio.sleep(max(0.0, min(EVERY_S - (loop.time() - begun_s - passed_s), EVERY_S)))


async def _happen(name: str, trouble: Trouble, on: Stage, record: Record, most_s: float) -> None:
    _say(f"{len(record.meter.samples) * SAMPLE_S / 60:6.1f} min  {name}")
    record.troubles[name] = record.troubles.get(name, 0) + 1
    try:
        async with asyncio.timeout(most_s):
            await trouble(on)
    except TimeoutError:
        record.wrong.append(f"{name}: not over after {most_s:.0f} s")


async def _watch(on: Stage, record: Record) -> None:
    began = time.monotonic()
    while on.daemon.alive:
        try:
            async with asyncio.timeout(SAMPLE_S):
                page = (await on.daemon.get("/metrics")).shape
            tasks = int(float(re.findall(r"^marketd_event_loop_tasks (\S+)$", page, re.MULTILINE)[0]))
            record.meter.samples.append(taken(on.daemon.process.pid, time.monotonic() - began, tasks))
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass  # frozen, or crowded out for the moment: the next sample comes
        await asyncio.sleep(SAMPLE_S)


async def _until_whole(on: Stage, record: Record) -> None:
    began, broken = time.monotonic(), await _broken(on)
    while broken and time.monotonic() - began < WHOLE_S and on.daemon.alive:
        await asyncio.sleep(5)
        broken = await _broken(on)
    if not broken:
        record.whole_after_s = time.monotonic() - began
        return
    record.wrong.append(f"not whole {WHOLE_S:.0f} s after the last trouble: {broken[:5]}")


async def _broken(on: Stage) -> Sequence[str]:
    shape = (await on.daemon.get("/ingestion/status?limit=500")).shape
    found = {(one["symbol"], one["timeframe"]): one for one in shape["series"]}
    wanted = [(symbol, timeframe) for symbol in SYMBOLS for timeframe in TIMEFRAMES]
    return [" ".join(each) for each in wanted if each not in found or not found[each]["complete"]]


def _read_log(on: Stage, record: Record) -> None:
    lines = on.daemon.lines()
    record.lines = len(lines)
    record.busiest_minute = max(Counter(line["time"][:16] for line in lines).values(), default=0)
    errors = Counter(line["event"] for line in lines if line["level"] in ("error", "critical"))
    record.wrong += [f"logged {count} times: {event}" for event, count in errors.items()]


def _table(record: Record) -> str:
    memory, files, tasks = (
        record.meter.ends(of) for of in (lambda one: one.memory_mb, lambda one: one.files, lambda one: one.tasks)
    )
    return "\n".join(
        [
            f"{record.minutes:g} minutes, {sum(record.troubles.values())} troubles of {len(record.troubles)} kinds",
            f"memory {memory[0]:.1f} -> {memory[1]:.1f} MB, files {files[0]:g} -> {files[1]:g}, "
            f"tasks {tasks[0]:g} -> {tasks[1]:g} (second tenth -> last)",
            f"{record.requests} requests, {record.lines} lines of log, {record.busiest_minute} in the busiest minute",
            "never whole" if record.whole_after_s is None else f"whole after {record.whole_after_s:.0f} s",
            *(f"WRONG: {each}" for each in record.wrong),
        ]
    )


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    record = Record(given.minutes)
    with tempfile.TemporaryDirectory(prefix="marketd-soak-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the server runs as another user
        uvloop.run(soak(folder, given.minutes, record))
    _say(_table(record))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(record), indent=2) + "\n")
    return 1 if record.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
