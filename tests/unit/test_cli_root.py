"""The way in: help, usage errors, and how failures become exit codes."""

import importlib
import signal

import click
import pytest

from marketd.cli.root import main
from marketd.errors import Busy, ConfigError, DatabaseUnavailable, LeaseLost, MarketdError, UnknownSymbol
from tests.command import every_command


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command called ``check`` that raises what the list holds."""
    raised: list[BaseException] = []

    @click.command("check")
    def check() -> None:
        raise raised[0]

    module = type("Module", (), {"check": check})
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    return raised


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("a\n  b"), 78, "marketd: error: a\n  b\n"),
        (DatabaseUnavailable("away", "08006"), 69, "marketd: error: away\n"),
        (UnknownSymbol("no such pair"), 1, "marketd: error: no such pair\n"),
        (Busy("held by others"), 75, "marketd: error: held by others\n"),
        (ExceptionGroup("x", [ExceptionGroup("y", [LeaseLost("taken over")])]), 75, "marketd: error: taken over\n"),
        (MarketdError("postgresql://me:geheim@host/x"), 1, "marketd: error: postgresql://me:***@host/x\n"),
        (KeyboardInterrupt(), 1, "\nmarketd: error: interrupted\n"),
    ],
)
def test_a_failure_ends_in_one_sentence_and_its_exit_code(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    failing.append(error)
    assert main(["check"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_a_mistake_of_ours_shows_its_traceback_only_when_asked(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(KeyError("odd"))
    assert main(["check"]) == 1
    plain = capsys.readouterr().err
    assert plain.startswith("marketd: error: unexpected KeyError: 'odd'")
    assert "--debug" in plain
    assert "Traceback" not in plain
    assert main(["--debug", "check"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_beside_an_expected_error_is_not_hidden(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ExceptionGroup("both", [Busy("held"), ZeroDivisionError("odd")]))
    assert main(["check"]) == 1
    assert "unexpected ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["frobnicate"], "unknown command 'frobnicate'; known are run reload check"),
        (["--verbose"], "No such option '--verbose'"),
        (["--config", "a", "--config", "b", "status"], "--config is given 2 times"),
        (["--config", "a", "status", "--config", "b"], "--config is given 2 times"),
        (["status", "--json", "--json"], "--json is given 2 times"),
        (["status", "surplus"], "unexpected extra argument"),
        (["jobs", "frobnicate"], "unknown command 'frobnicate'; known are add list run enable disable"),
        (["gaps", "--limit", "0"], "0 is not in the range"),
        (["gaps", "--cause", "boredom"], "'boredom' is not one of 'not_asked'"),
    ],
)
def test_wrong_usage_is_2_and_says_what_would_be_right(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("marketd: error: ")
    assert said in captured.err


def test_without_a_command_the_help_is_shown_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_the_version_names_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("marketd ")


@pytest.mark.parametrize("name", every_command())
def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([*name.split(), "-h"]) == 0
    said = capsys.readouterr().out
    assert "Example" in said
    assert f"  marketd {'' if name in ('run', 'check', 'migrate') else name}" in said
    assert "--config" in said


def test_a_hangup_means_again_what_it_did_before() -> None:
    before = signal.getsignal(signal.SIGHUP)
    main(["--version"])
    assert signal.getsignal(signal.SIGHUP) == before
