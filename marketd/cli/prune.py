"""``marketd prune``: history that has become old.

Owns what is old, by ``[retention]``, and how it is told what went.
"""

import asyncio
from collections.abc import Mapping

import click

from marketd import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import say, show_json
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.clock import at
from marketd.config import Config
from marketd.store.partitions import Partitions
from marketd.store.pruning import Cutoffs, Pruning
from marketd.store.retirement import Retirement

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_PATIENCE_S = 120.0
_SAID = {"runs": "run", "gaps": "closed gap", "revisions": "revision", "candles": "candle"}


@command("prune")
@click.option("--dry-run", is_flag=True, help="Only say how much would go.")
@json_option
@pass_app
def prune(app: App, dry_run: bool, as_json: bool) -> int:
    """Take away runs, closed gaps, revisions and candles that are older than [retention] says.

    Candles go only where it names their timeframe, by whole blocks of 1440, with what is known of them; they are
    never asked for again. The newest run of each job and its newest success stay, and so do suspect gaps, what has
    vanished at the exchange, and the figures of every hour. Made for a timer, beside the daemon. Needs a login of the
    role marketd_retain, or the owner's.

    \b
    Examples:
      marketd prune --dry-run
      DATABASE_URL=postgresql://keeper@localhost/marketd marketd prune

    Exit codes: 0 done, 77 the database role may not.
    """
    config = configured(app)
    log_warnings(config)
    gone = on_loop(_pruned(config, app.clock.now_ms(), dry_run=dry_run))
    if as_json:
        show_json({**gone, "dry_run": dry_run})
    else:
        said = ", ".join(words.plural(gone[kind], name) for kind, name in _SAID.items())
        say(f"{said} {'would go' if dry_run else 'are gone'}")
    return 0


def cutoffs(config: Config, now_ms: int) -> Cutoffs:
    """Whole hours, as the figures are."""
    kept = config.retention
    hour_ms = now_ms // _HOUR_MS * _HOUR_MS
    return Cutoffs(*(at(hour_ms - days * _DAY_MS) for days in (kept.runs_days, kept.gaps_days, kept.revisions_days)))


async def _pruned(config: Config, now_ms: int, *, dry_run: bool) -> Mapping[str, int]:
    before = cutoffs(config, now_ms)
    async with reading(config, "marketd prune", statement_s=_PATIENCE_S) as opened:
        pruning, retirement, candles = Pruning(opened), Retirement(opened), 0
        gone = await (pruning.prunable(before) if dry_run else pruning.prune(before))
        for timeframe, days in config.retention.candles.items():
            horizon_ms = now_ms - days * _DAY_MS
            if dry_run:
                candles += await retirement.retirable(timeframe, horizon_ms)
            else:
                candles += await retirement.retire_all(timeframe, horizon_ms, now_ms)
        if not dry_run:
            await Partitions(opened, asyncio.sleep).next_years()
    return {**gone, "candles": candles}
