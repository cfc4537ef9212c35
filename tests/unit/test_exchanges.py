"""The table of exchanges: none is read before it is asked for."""

import subprocess
import sys

import pytest

from marketd.errors import UsageError
from marketd.exchanges import EXCHANGES, NAMES, exchange


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_module_of_its_name(name: str) -> None:
    assert exchange(name).name == name
    assert EXCHANGES[name] is exchange(name)


def test_an_unknown_one_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown exchange 'bitfynex'; known are bitfinex"):
        exchange("bitfynex")
    with pytest.raises(KeyError):
        EXCHANGES["bitfynex"]
    assert "bitfynex" not in EXCHANGES
    assert list(EXCHANGES) == list(NAMES)
    assert len(EXCHANGES) == len(NAMES)


def test_what_nobody_uses_is_not_imported() -> None:
    """Neither by the commands nor by the configuration, however many exchanges there are."""
    said = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["marketd.exchanges.facts"]


_LOADED = """
import sys
import marketd.cli.app, marketd.daemon
from marketd.config import build
build("", {}, None, lambda path: None, need_database=False)
print(*sorted(name for name in sys.modules if name.startswith("marketd.exchanges.")))
"""
