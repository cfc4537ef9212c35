"""Tables for the eye: what goes where a terminal is too narrow."""

import sys

import pytest

from marketd.cli import tables

_COLUMNS = ("series", "stored", "lag", "last run")
_ROWS = [("bitfinex BTCUSD 1m", "1 000", "2 min", "success"), ("bitfinex ETHUSD 1m", "1 000", "2 min", "failed")]


@pytest.mark.parametrize(
    ("wide", "kept"),
    [
        (80, ["series", "stored", "lag", "last run"]),
        (36, ["series", "stored", "lag"]),
        (26, ["series", "lag"]),
        (10, ["series", "lag"]),
    ],
)
def test_spare_columns_go_one_after_the_other_until_the_rest_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wide: int, kept: list[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(wide))
    tables.show_table(_COLUMNS, _ROWS, spare=("stored", "last run"))
    head = capsys.readouterr().out.splitlines()[0]
    assert [column for column in _COLUMNS if column in head] == kept


def test_a_pipe_gets_every_column_and_cell(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_table(_COLUMNS, _ROWS, spare=_COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert all(column in lines[0] for column in _COLUMNS)
    assert "\x1b" not in "".join(lines)
    assert lines[3].split() == ["bitfinex", "ETHUSD", "1m", "1", "000", "2", "min", "failed"]
