"""``marketd repair-gaps``: find and fill what is owed, by hand."""

from collections.abc import Sequence

import click

from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.given import ordered
from marketd.cli.known import every_series
from marketd.cli.options import Selection, selected, series_options, wait_option
from marketd.cli.output import talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.config import Config
from marketd.model import Claim, JobType
from marketd.runner import Order
from marketd.store.reports import Reports


@command("repair-gaps")
@series_options(symbol_required=False)
@click.option("--max-gaps", type=click.IntRange(min=1), help="Try at most so many gaps of each series, oldest first.")
@wait_option
@json_option
@pass_app
def repair_gaps(
    app: App, exchange: str, symbols: Sequence[str], timeframes: Sequence[str], max_gaps: int | None, no_wait: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Find and fill what is owed.

    First the ledger is held against the rows that are there, so that deleted candles are found. Then every open gap is
    asked for, due or not. A gap closes only when each of its intervals is stored or confirmed to be empty.

    \b
    Examples:
      marketd repair-gaps
      marketd repair-gaps --symbol BTCUSD --timeframe 1h --max-gaps 100

    Exit codes: 0 tried (open gaps that are left are in the table), 1 in part or failed or stopped, 2 wrong usage,
    69 exchange or database out of reach, 75 another process works on the exchange.
    """
    config = configured(app)
    log_warnings(config)
    chosen = selected(config, exchange, symbols, timeframes)
    if not symbols:
        chosen = on_loop(_known(config, chosen.exchange, timeframes))
    if not chosen.series:
        talk(f"nothing is known of {exchange} yet: there is nothing to repair")
        return 0
    order = Order(JobType.GAP_REPAIR, chosen.series, Claim.ORDER, by_hand=True, most_gaps=max_gaps)
    again = app.command("repair-gaps", *chosen.words, *([] if max_gaps is None else ["--max-gaps", str(max_gaps)]))
    return on_loop(ordered(app, config, order, again, wait=not no_wait, as_json=as_json))


async def _known(config: Config, exchange: str, timeframes: Sequence[str]) -> Selection:
    """The series of the exchange that have an answer and are asked for, not built."""
    async with reading(config, "marketd repair-gaps") as opened:
        figures = await every_series(Reports(opened), exchange)
    series = (each.series for each in figures if each.derived_from is None and each.answered_until_ms is not None)
    return Selection(exchange, tuple(each for each in series if not timeframes or each.timeframe in timeframes))
