"""``marketd partition``: a table for each year.

Owns the order of the steps, what is refused before the first one, and how it is told how far they are.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import click

from marketd import assembly, words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import Seldom, say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.config import Config
from marketd.room import MEGABYTE, Room
from marketd.store.partitions import Partitions, State

_PATIENCE_S: Final = 3600.0  # for one statement: a series is compared in one


@command("partition")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and what stands in the way.")
@click.option("--abandon", is_flag=True, help="Give up what an interrupted run has begun.")
@json_option
@pass_app
def partition(app: App, dry_run: bool, abandon: bool, as_json: bool) -> int:
    """Give candles of timeframes below an hour a table for each year.

    For databases that grow for years, or keep minutes for a while only: `marketd prune` then drops whole years, which
    gives their disk space back. Works beside the daemon and all who read: rows are copied in portions, what is written
    meanwhile goes to both, both are compared row by row, and the tables change their names in one moment. What is
    interrupted goes on where it was. Needs the room for a second copy, and a login that owns the tables.

    \b
    Examples:
      marketd partition --dry-run
      DATABASE_URL=postgresql://owner@localhost/marketd marketd partition

    Exit codes: 0 done, 1 something stands in the way or the copy differs, 75 others hold the table, 77 the role may
    not.
    """
    config = configured(app)
    log_warnings(config)
    return on_loop(_partitioned(config, dry_run=dry_run, abandon=abandon, as_json=as_json))


async def _partitioned(config: Config, *, dry_run: bool, abandon: bool, as_json: bool) -> int:
    async with reading(config, "marketd partition", statement_s=_PATIENCE_S) as opened:
        partitions = Partitions(opened, asyncio.sleep)
        state, obstacles = await partitions.state(), await partitions.obstacles()
        if abandon:
            done, said = await _abandoned(partitions, state, dry_run=dry_run)
        elif state.partitioned:
            added = 0 if dry_run else await partitions.next_years()
            done, said = True, f"candles is partitioned: {words.plural(state.tables + added, 'table')}"
        else:
            done, said = await _made(partitions, state, obstacles, config, dry_run=dry_run)
        state = await partitions.state()
    if as_json:
        show_json(
            {"partitioned": state.partitioned, "begun": state.begun, "candles": state.candles, "bytes": state.bytes,
             "tables": state.tables, "obstacles": list(obstacles), "dry_run": dry_run}
        )  # fmt: skip
    elif done:
        say(said)
    if not done:
        talk(said)
    return 0 if done else 1


async def _abandoned(partitions: Partitions, state: State, *, dry_run: bool) -> tuple[bool, str]:
    if not state.begun:
        return True, "nothing is begun"
    if dry_run:
        return True, f"the copy of {words.count(await partitions.reached())} candles would be given up"
    await partitions.abandon()
    return True, "the copy is given up: candles is what it was"


async def _made(
    partitions: Partitions, state: State, obstacles: Sequence[str], config: Config, *, dry_run: bool
) -> tuple[bool, str]:
    if obstacles:
        return False, (
            f"candles has what cannot go over to another table: {'; '.join(obstacles)}. "
            "Take it away, run this, and make it anew"
        )
    lack = None if state.begun else _lack(state, assembly.room_of(config))
    if lack is not None:
        return False, lack
    if dry_run:
        left = f", of which {words.count(await partitions.reached())} are copied" if state.begun else ""
        return True, f"{words.plural(state.candles, 'candle')} ({words.size(state.bytes)}) would be copied{left}"
    if not state.begun:
        await partitions.begin()
    await _copied(partitions, state)
    compared = await partitions.compare(Seldom())
    if compared.differ:
        return False, (
            f"the copy of {', '.join(map(str, compared.differ))} differs: nothing was changed. Run `marketd partition "
            "--abandon` and `marketd verify`, and report it"
        )
    await partitions.finish()
    after = await partitions.state()
    return True, (
        f"candles is partitioned: {words.plural(after.tables, 'table')}, {words.size(after.bytes)}; "
        f"{words.plural(compared.candles, 'candle')}, compared to the last digit"
    )


async def _copied(partitions: Partitions, state: State) -> None:
    seldom, done = Seldom(), await partitions.reached()
    while portion := await partitions.copy():
        done += portion
        share = words.percent(min(done / state.candles, 0.9999)) if state.candles > 0 else "-"
        seldom(f"copying: {words.count(done)} candles, {share}")


def _lack(state: State, room: Room) -> str | None:
    free = room.free()
    if free is None or free - state.bytes >= room.least:
        return None
    return (
        f"the copy needs {words.size(state.bytes)}, {free // MEGABYTE} MB are left in {room.disk}, and [database] "
        f"least_free_mb is {room.least_mb}"
    )
