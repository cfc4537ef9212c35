"""What a shell is told when somebody presses Tab."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT


def completed(*words: str) -> list[str]:
    """What bash would offer for the last word."""
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "_MARKETD_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("marketd", *words)), "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    code = "from marketd.cli.root import main; main([], 'marketd')"
    said = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False).stdout
    return [line.partition(",")[2] for line in said.splitlines()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ga",), ["gaps"]),
        (("jobs", "pa"), ["pause"]),
        (("backfill", "--exchange", "bi"), ["bitfinex", "binance", "bitstamp"]),
        (("gaps", "--cause", "l"), ["late", "lost"]),
        (("jobs", "add", "--type", "c"), ["continuous"]),
        (("backfill", "--timeframe", "1"), ["1m", "15m", "1h", "12h", "1d", "1w", "1M"]),
        (("status", "--js"), ["--json"]),
    ],
)
def test_words_are_completed(words: tuple[str, ...], offered: list[str]) -> None:
    assert set(completed(*words)) == set(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "marketd", "completion", shell], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "_MARKETD_COMPLETE" in said.stdout
