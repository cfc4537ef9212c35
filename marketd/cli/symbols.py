"""``marketd symbols``: what an exchange lists."""

import difflib

import click

from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.options import EXCHANGE
from marketd.cli.output import say, show_json
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.cli.tables import show_table
from marketd.config import Config
from marketd.errors import UnknownSymbol
from marketd.exchanges import exchange as exchange_called
from marketd.exchanges.facts import Listing, Status
from marketd.fetcher import Asking, Fetcher
from marketd.limiter import Budget
from marketd.model import Claim
from marketd.ports import Events
from marketd.transport import Transport


@command("symbols")
@click.argument("exchange", type=EXCHANGE)
@click.option("--like", metavar="TEXT", help="Only symbols with this in their name, in whatever case.")
@click.option("--status", type=click.Choice([each.value for each in Status]), help="Only those of this status.")
@json_option
@pass_app
def symbols(app: App, exchange: str, like: str | None, status: str | None, as_json: bool) -> int:
    """List the symbols of an exchange, spelled as jobs have to spell them, each with its status.

    Asks the exchange once; needs no database. Where the exchange has no word for a status, what is listed counts as
    traded.

    \b
    Examples:
      marketd symbols bitfinex
      marketd symbols coinbase --like btc --json
      marketd symbols binance --status halted

    Exit codes: 0 done, 1 nothing of the kind is listed, 2 unknown exchange, 69 the exchange is out of reach.
    """
    config = configured(app, need_database=False)
    exchange_called(exchange)
    log_warnings(config)
    listing = on_loop(_listing(app, config, exchange))
    wanted = (like or "").upper()
    found = {
        symbol: each
        for symbol, each in sorted(listing.items())
        if wanted in symbol.upper() and (status is None or each == status)
    }
    if as_json:
        show_json({"exchange": exchange, "symbols": [{"symbol": name, "status": each} for name, each in found.items()]})
    elif found:
        show_table(("symbol", "status"), [(symbol, each.value) for symbol, each in found.items()])
        say(f"{len(found)} of {len(listing)} symbols")
    if not found and not as_json:
        raise UnknownSymbol(_nothing(exchange, like, listing))
    return 0 if found else 1


def _nothing(exchange: str, like: str | None, listing: Listing) -> str:
    close = difflib.get_close_matches((like or "").upper(), listing, n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    return f"{exchange} lists nothing of the kind among its {len(listing)} symbols{hint}"


async def _listing(app: App, config: Config, name: str) -> Listing:
    budget = Budget(config.requests_per_minute_of(name))
    async with Transport(app.clock) as transport:
        fetcher = Fetcher(
            exchange_called(name), config.base_url_of(name), transport, budget, app.clock, Events(), lambda _: None,
            proxy=config.proxy_of(name),
        )  # fmt: skip
        return await fetcher.symbols(Asking(fetcher, Claim.ORDER))
