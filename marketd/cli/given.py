"""An order given at the prompt, from its first word to its exit code.

Owns the order of things: database, progress, work, table or JSON, and after a stop the command that goes on.
"""

import shlex
from collections.abc import Sequence

from marketd import assembly, words
from marketd.cli.app import App
from marketd.cli.orders import Orders, Result, exit_code
from marketd.cli.output import complain, show_json, talk
from marketd.cli.progress import watching
from marketd.cli.tables import show_table
from marketd.config import Config
from marketd.runner import Order
from marketd.text import clean

_COLUMNS = (
    "series", "status", "requests", "inserted", "updated", "empty", "gaps opened", "closed", "open", "note",
)  # fmt: skip
_LONGEST_NOTE = 60  # the whole sentence is said below the table


async def ordered(app: App, config: Config, order: Order, again: Sequence[str], *, wait: bool, as_json: bool) -> int:
    """Carry out ``order`` and show what came of it; ``again`` is the command that goes on after a stop."""
    async with assembly.database(config, application=f"marketd {order.job_type}") as opened:
        orders = Orders(config, opened, app.clock, talk)
        ended = False
        try:
            with watching() as progress:
                await orders.carry_out(order, progress, wait=wait)
            ended = not orders.stopped
        finally:
            if orders.results:
                show_results(orders.results, as_json=as_json)
            if orders.stopped or (orders.results and not ended):
                talk(f"stopped; what is stored stays stored. To go on: {shlex.join(again)}")
    if orders.stopped:
        return 1
    for result in orders.results:
        if result.failure is not None:
            complain(f"{result.series}: {result.error}")
    return exit_code(orders.results)


def show_results(results: Sequence[Result], *, as_json: bool = False) -> None:
    if as_json:
        show_json([result.shape() for result in results])
    else:
        show_table(_COLUMNS, [_row(result) for result in results], right=_COLUMNS[2:9], optional=("note",))


def _row(result: Result) -> tuple[str, ...]:
    tally = result.tally
    built = "" if result.built_from is None else f"built from {result.built_from}"
    return (
        str(result.series), result.status.value, words.count(tally.requests),
        words.count(tally.inserted), words.count(tally.updated), words.count(tally.empties),
        words.count(tally.gaps_opened), words.count(tally.gaps_closed), words.count(result.open_gaps),
        clean(result.error or built, _LONGEST_NOTE),
    )  # fmt: skip
