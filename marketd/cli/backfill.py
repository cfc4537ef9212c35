"""``marketd backfill``: history that is not known yet, by hand."""

from collections.abc import Sequence

import click

from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.given import ordered
from marketd.cli.options import range_options, selected, series_options, wait_option
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.model import Claim, JobType
from marketd.runner import Order


@command("backfill")
@series_options(symbol_required=True)
@range_options
@click.option("--resume", is_flag=True, help="Ask only for what is not known yet. Always done; the word is optional.")
@click.option("--refetch", is_flag=True, help="Ask again in spite of proof, and note what has changed.")
@click.option("--oldest-first", is_flag=True, help="Begin at the old end. Otherwise the newest candles come first.")
@wait_option
@json_option
@pass_app
def backfill(
    app: App, exchange: str, symbols: Sequence[str], timeframes: Sequence[str], start_ms: int | None,
    end_ms: int | None, resume: bool, refetch: bool, oldest_first: bool, no_wait: bool, as_json: bool,
) -> int:  # fmt: skip
    """Fetch history that is not known yet, and prove it complete.

    What is stored or known to be empty is not asked for again, so a backfill that was stopped goes on where it was.
    Ctrl-C stops at a page border, a second one at once.

    \b
    Examples:
      marketd backfill --symbol BTCUSD --timeframe 1m --start 2024-01-01
      marketd backfill --symbol BTCUSD --symbol ETHUSD --start 2023-01-01 --end 2024-01-01
      marketd backfill --symbol BTCUSD --timeframe 1d --oldest-first --no-wait

    Exit codes: 0 done, 1 in part or failed or stopped, 2 wrong usage or a timeframe that the exchange does not have,
    69 exchange or database out of reach, 75 another process works on the exchange.
    """
    config = configured(app)
    chosen = selected(config, exchange, symbols, timeframes, start_ms, end_ms)
    order = Order(
        JobType.BACKFILL, chosen.series, Claim.ORDER, start_ms=start_ms, end_ms=end_ms, by_hand=True,
        refetch=refetch, newest_first=not oldest_first,
    )  # fmt: skip
    log_warnings(config)
    again = app.command("backfill", *chosen.words, *_flags(refetch, oldest_first))
    return on_loop(ordered(app, config, order, again, wait=not no_wait, as_json=as_json))


def _flags(refetch: bool, oldest_first: bool) -> list[str]:
    return ["--refetch" if refetch else "--resume", *(["--oldest-first"] if oldest_first else [])]
