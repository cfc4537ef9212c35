"""The table of exchanges: none is read before it is asked for."""

import subprocess
import sys

import pytest

from marketd.errors import UsageError
from marketd.exchanges import CREDENTIALS, EXCHANGES, NAMES, exchange


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
    assert loaded_by(_DAEMON) == ["marketd.exchanges.facts"]


def test_how_a_key_is_asked_about_is_not_imported_with_the_adapter() -> None:
    keys = "marketd.exchanges.bitfinex_keys"
    assert keys not in loaded_by('from marketd.exchanges import EXCHANGES; EXCHANGES["bitfinex"]')
    assert keys in loaded_by('from marketd.exchanges import CREDENTIALS; CREDENTIALS["bitfinex"]')
    assert set(CREDENTIALS) <= set(NAMES)


def loaded_by(work: str) -> list[str]:
    """Which modules of exchanges a fresh process has read after ``work``."""
    said = subprocess.run([sys.executable, "-c", work + _SAY], capture_output=True, text=True, check=True)
    return said.stdout.split()


_DAEMON = """
import marketd.cli.app, marketd.daemon
from marketd.config import build
build("", {}, None, lambda path: None, need_database=False)
"""

_SAY = """
import sys
print(*sorted(name for name in sys.modules if name.startswith("marketd.exchanges.")))
"""
