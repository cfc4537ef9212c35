"""What every command shares: where the configuration is, the clock, and how a command is declared.

Owns the strict parsing of flags (one that is given twice is a mistake, not a silent last word) and the options that
every command has. Refuses to load anything heavy, so that ``marketd --help`` answers at once.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from marketd.clock import Clock, SystemClock

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@dataclass(slots=True)
class App:
    """One invocation. ``on_hangup`` is what SIGHUP did before it was ignored for the start."""

    config_file: Path | None = None
    debug: bool = False
    clock: Clock = field(default_factory=SystemClock)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    on_hangup: Any = None

    def command(self, *words: str) -> list[str]:
        """The words of a ``marketd`` command with the configuration of this one, to be shown to the user."""
        chosen = [] if self.config_file is None else ["--config", str(self.config_file)]
        return ["marketd", *chosen, *words]


class Strict(click.Command):
    """A command that refuses an option given twice where once is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(list(args))
            for param, times in Counter(order).items():
                if times > 1 and not param.multiple:
                    raise click.UsageError(f"{param.opts[-1]} is given {times} times; give it once", ctx)
        return super().parse_args(ctx, args)


class Group(Strict, click.Group):
    """Commands under one name; an unknown one is refused with those that there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command {args[0]!r}; known are {' '.join(known)}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)


class Command(Strict):
    """A command of marketd: strict, and ``--config`` may stand behind its name too."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.append(config_option())


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """Declares a command, named as given; its callback returns the exit code (None: 0)."""
    return click.command(name, cls=Command, context_settings=CONTEXT)


def group(name: str) -> Callable[[Callable[..., Any]], Group]:
    """Declares commands under one name; the callback is for what they share."""
    return click.group(name, cls=Group, context_settings=CONTEXT, params=[config_option()])


def config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        callback=_choose_config,
        help="Configuration file; else $MARKETD_CONFIG, ./config/marketd.toml, /etc/marketd/marketd.toml.",
    )


def _choose_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    app = ctx.ensure_object(App)
    if path is None:
        return
    if app.config_file is not None:
        raise click.UsageError("--config is given 2 times; give it once", ctx)
    app.config_file = path


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of words.")
pass_app = click.make_pass_decorator(App)
