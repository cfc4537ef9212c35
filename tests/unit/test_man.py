"""Manual pages: one for each command, of what its help says."""

import subprocess
import sys
from pathlib import Path

import click

from marketd.cli.root import root
from tests.processes import ROOT


def commands(group: click.Group, *words: str) -> dict[str, click.Command]:
    """Every command by all of its words."""
    found: dict[str, click.Command] = {}
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            each = group.get_command(ctx, name)
            assert each is not None
            found["-".join((*words, name))] = each
            if isinstance(each, click.Group):
                found |= commands(each, *words, name)
    return found


def test_every_command_and_flag_has_its_page(tmp_path: Path) -> None:
    written = [sys.executable, str(ROOT / "packaging" / "man.py"), str(tmp_path), "2026-01-01"]
    subprocess.run(written, check=True, cwd=ROOT, timeout=60)  # a process of its own: it changes what commands say
    there = commands(root, "marketd")
    assert {page.stem for page in tmp_path.iterdir()} == {"marketd", *there}
    for name, command in there.items():
        text = (tmp_path / f"{name}.1").read_text().replace("\\-", "-")
        flags = [param.opts[-1] for param in command.params if isinstance(param, click.Option)]
        assert [flag for flag in flags if flag not in text] == [], name
        assert "..." not in text.partition(".SH SYNOPSIS")[0], "a short help that is cut"
