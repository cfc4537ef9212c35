"""``python packaging/man.py FOLDER DATE``: a manual page for each command, of what its ``--help`` says.

DATE stands in the pages, such as 2026-11-29.
"""

import sys
from pathlib import Path

import click
from click_man.core import generate_man_page  # type: ignore[import-untyped]

import marketd
from marketd.cli.root import root


def written(folder: Path, date: str) -> list[Path]:
    """The pages, ``marketd.1`` first."""
    found = []
    for ctx in _contexts(root, "marketd", None):
        page = folder / f"{ctx.command_path.replace(' ', '-')}.1"
        page.write_text(generate_man_page(ctx, version=marketd.__version__, date=date))
        found.append(page)
    return found


def _contexts(command: click.Command, name: str, parent: click.Context | None) -> list[click.Context]:
    """Of the command and all below it, each with the first sentences of its help as its name's line."""
    ctx = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())
    found = [ctx]
    if isinstance(command, click.Group):
        below = ((each, command.get_command(ctx, each)) for each in command.list_commands(ctx))
        found += [inner for each, one in below if one is not None for inner in _contexts(one, each, ctx)]
    return found


if __name__ == "__main__":
    print(f"{len(written(Path(sys.argv[1]), sys.argv[2]))} pages", file=sys.stderr)
