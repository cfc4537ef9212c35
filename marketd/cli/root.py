"""The way in: the group of all commands, and the one place where an error becomes an exit code.

Owns the list of commands and their late import: a command loads only what it needs. Refuses tracebacks for what is
expected: every failure ends as one sentence on standard error, beginning ``marketd: error:``.
"""

import asyncio
import importlib
import os
import platform
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final, NamedTuple, cast

import click

import marketd
from marketd.cli.app import CONTEXT, App, Group, config_option
from marketd.cli.output import complain
from marketd.errors import MarketdError
from marketd.secret import masked
from marketd.text import clean


class Lazy(NamedTuple):
    """A command that is imported when it is called: ``module:attribute``, and what the list of commands says of it."""

    where: str
    short: str


COMMANDS: Final = {
    "run": Lazy("marketd.cli.run:run", "Keep the candles complete: the daemon."),
    "reload": Lazy("marketd.cli.reload:reload", "Make the running daemon read everything anew."),
    "check": Lazy("marketd.cli.check:check", "Say what is wrong with configuration and jobs."),
    "migrate": Lazy("marketd.cli.migrate:migrate", "Bring the tables of the database up to date."),
    "backfill": Lazy("marketd.cli.backfill:backfill", "Fetch history that is not known yet."),
    "repair-gaps": Lazy("marketd.cli.repair:repair_gaps", "Find and fill what is owed."),
    "plan": Lazy("marketd.cli.plan:plan", "What a backfill would cost, before it is given."),
    "verify": Lazy("marketd.cli.verify:verify", "Hold every promise against the tables."),
    "status": Lazy("marketd.cli.status:status", "How complete and how fresh each series is."),
    "top": Lazy("marketd.cli.top:top", "Watch the daemon: freshness, budgets, backfills, runs."),
    "coverage": Lazy("marketd.cli.coverage:coverage", "What is stored, empty, owed and unknown, over time."),
    "gaps": Lazy("marketd.cli.listings:gaps", "What is owed, and since when."),
    "runs": Lazy("marketd.cli.listings:runs", "What was done, newest first."),
    "jobs": Lazy("marketd.cli.jobs:jobs", "Add, list, pause and remove jobs; what they have done."),
    "prune": Lazy("marketd.cli.prune:prune", "Take old runs, closed gaps and revisions away."),
    "partition": Lazy("marketd.cli.partition:partition", "Give candles a table for each year."),
    "symbols": Lazy("marketd.cli.symbols:symbols", "What an exchange lists, and what of it is traded."),
    "series": Lazy("marketd.cli.series:series", "Take a mistaken series away."),
    "completion": Lazy("marketd.cli.completion:completion", "Let bash, zsh or fish complete marketd's words."),
    "rehearse": Lazy("marketd.cli.rehearse:rehearse", "Serve a local exchange for drills and tests."),
    "try": Lazy("marketd.cli.trial:trial", "Look at it: a daemon, its page, and trouble, for a while."),
    "demo": Lazy("marketd.cli.demo:demo", "See it work: private database, local exchange, damage, repair."),
}


class LazyGroup(Group):
    """The commands of ``COMMANDS``; the one place where something is imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, _, attribute = lazy.where.partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.short) for name, lazy in COMMANDS.items()])


def _say_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"marketd {marketd.__version__} ({python}, asyncpg {version('asyncpg')})")
        ctx.exit()


@click.group("marketd", cls=LazyGroup, context_settings=CONTEXT, params=[config_option()])
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_say_version, help="Print versions and end."
)
@click.option("--debug", is_flag=True, help="Show a traceback where something unexpected happens.")
@click.pass_context
def root(ctx: click.Context, debug: bool) -> None:
    """Keeps exchange candles in PostgreSQL complete, fresh and provably so.

    \b
    Examples:
      marketd demo
      marketd backfill --symbol BTCUSD --timeframe 1h --start 2024-01-01
      marketd status

    Data goes to standard output, talk to standard error. Exit codes: 0 done; 1 in part, failed, or verify found
    something; 2 wrong usage; 69 database or exchange out of reach; 75 another process holds what is needed; 77 missing
    privilege; 78 configuration or schema refused.
    """
    app = ctx.ensure_object(App)
    app.debug = debug
    if ctx.invoked_subcommand != "run" and app.on_hangup is not None:
        signal.signal(signal.SIGHUP, app.on_hangup)


def main(argv: Sequence[str] | None = None, prog: str = "marketd", on_hangup: Any = None) -> int:
    """Run one command; returns the exit code. ``argv`` are its words, those of the process by default.

    ``on_hangup`` is what SIGHUP did, where the caller ignores it already.
    """
    app = App(on_hangup=_ignore_hangup() if on_hangup is None else on_hangup)
    try:
        code = root.main(args=None if argv is None else list(argv), prog_name=prog, standalone_mode=False, obj=app)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _refused(error)
    except (KeyboardInterrupt, click.Abort, asyncio.CancelledError):
        _say("interrupted")
        return 1
    except BrokenPipeError:
        return _quietly()
    except Exception as error:  # noqa: BLE001  the last handler: whatever ends the process ends it in words
        return _failed(error, app.debug)
    finally:
        if app.on_hangup is not None:
            signal.signal(signal.SIGHUP, app.on_hangup)


def _ignore_hangup() -> Any:
    """A reload may be signalled before the daemon can hear it: until then, nothing must end because of it."""
    try:
        return signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread: a test
        return None


def _refused(error: click.ClickException) -> int:
    _say(clean(error.format_message(), 600))
    ctx = getattr(error, "ctx", None)
    if ctx is not None:
        click.echo(f"  {ctx.command_path} --help tells more", err=True)
    return error.exit_code


def _failed(error: Exception, debug: bool) -> int:
    leaves = list(_leaves(error))
    expected = next((leaf for leaf in leaves if isinstance(leaf, MarketdError)), None)
    if expected is not None and all(isinstance(leaf, MarketdError) for leaf in leaves):
        _say(masked(str(expected)) or type(expected).__name__)
        return expected.exit_code
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        return _quietly()
    if debug:
        traceback.print_exception(error)
    odd = next(leaf for leaf in leaves if not isinstance(leaf, MarketdError))
    hint = "" if debug else " (a mistake of marketd; `marketd --debug …` shows where)"
    _say(f"unexpected {type(odd).__name__}: {clean(masked(str(odd)), 400)}{hint}")
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside groups, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _quietly() -> int:
    """Whoever read our output has gone; the interpreter must not fail once more when it flushes."""
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())
    return 1


def _say(text: str) -> None:
    try:
        complain(text)
    except BrokenPipeError:
        return
