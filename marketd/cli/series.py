"""``marketd series``: what concerns a series as a whole.

Owns the question before something is taken away for good, and the refusal where somebody would miss it.
"""

import sys
from typing import Any, Final

import click

from marketd import words
from marketd.cli.app import App, command, group, json_option, pass_app
from marketd.cli.options import TIMEFRAME, exchange_option
from marketd.cli.output import Seldom, say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.config import Config
from marketd.errors import UsageError
from marketd.jobfields import facts_of, shown
from marketd.model import Series
from marketd.store.removal import Extent, Removal
from marketd.timeframe import TIMEFRAMES

_PATIENCE_S: Final = 120.0


@group("series")
def series() -> None:
    """What concerns a series as a whole.

    \b
    Examples:
      marketd series drop --symbol BTCUSD --timeframe 1m
    """


@command("drop")
@exchange_option("bitfinex")
@click.option("--symbol", required=True, metavar="SYMBOL")
@click.option("--timeframe", type=TIMEFRAME, required=True, metavar="TF")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_app
def drop(app: App, exchange: str, symbol: str, timeframe: str, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Take a mistaken series away for good: candles, ledger, gaps and revisions.

    Shows what goes, and asks first, in a terminal. No enabled job may name the series, and none may be built from it.
    What jobs have done stays as history. Needs a login of the role marketd_retain, or the owner's.

    \b
    Examples:
      marketd series drop --symbol BTCUSD --timeframe 1m --dry-run
      marketd series drop --symbol BTCUSD --timeframe 1m --yes

    Exit codes: 0 done, 1 there is no such series, it is still needed, or you did not want it after all; 2 nobody can be
    asked and --yes is not given; 77 the database role may not.
    """
    facts_of(exchange)
    if timeframe not in TIMEFRAMES:
        raise UsageError(f"unknown timeframe {shown(timeframe)}; known are {' '.join(TIMEFRAMES)}")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError("nobody can be asked here: to take a series away, give --yes")
    config = configured(app)
    log_warnings(config)
    return on_loop(_dropped(config, Series(exchange, symbol, timeframe), dry_run, yes, as_json))


async def _dropped(config: Config, chosen: Series, dry_run: bool, yes: bool, as_json: bool) -> int:
    async with reading(config, "marketd series drop", statement_s=_PATIENCE_S) as opened:
        removal = Removal(opened)
        extent, ties = await removal.extent(chosen), await removal.ties(chosen)
        if extent.nothing:
            talk(f"there is nothing of {chosen}")
            return 1
        if not as_json:
            _show(chosen, extent)
        if ties:
            talk(f"{chosen} is still needed: {'; '.join(_tie(chosen, *tie) for tie in ties)}")
            return 1
        if not dry_run and not yes and not click.confirm(f"Take {chosen} away for good?", err=True):
            talk("nothing was taken away")
            return 1
        seldom = Seldom()
        gone = 0 if dry_run else await removal.drop(chosen, lambda far: seldom(f"{words.count(far)} candles are gone"))
        if as_json:
            show_json({**chosen._asdict(), **_shape(extent), "dropped": not dry_run})
        elif not dry_run:
            say(f"{chosen} is gone, with {words.plural(gone, 'candle')}")
    return 0


def _show(chosen: Series, extent: Extent) -> None:
    when = "" if extent.first_ms is None else f" from {words.moment(extent.first_ms)} to {words.moment(extent.last_ms)}"
    say(
        f"{chosen}: {words.plural(extent.candles, 'stored candle')}{when}, {words.plural(extent.gaps, 'gap')}, "
        f"{words.plural(extent.revisions, 'revision')}"
    )


def _tie(chosen: Series, kind: str, name: str) -> str:
    if kind == "job":
        return f"job {name} keeps it (`marketd jobs disable {name}`, or take it out of the job file)"
    return f"{name} is built from it (`marketd series drop --symbol {chosen.symbol} --timeframe {name}` first)"


def _shape(extent: Extent) -> dict[str, Any]:
    return {
        "candles": extent.candles, "first_open_time": extent.first_ms, "last_open_time": extent.last_ms,
        "gaps": extent.gaps, "revisions": extent.revisions,
    }  # fmt: skip


series.add_command(drop)
