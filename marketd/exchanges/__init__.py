"""The exchanges marketd speaks to: one value each, chosen by name.

Owns the table of their names. An exchange that nobody uses is not even imported.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TypeVar

from marketd.errors import UsageError
from marketd.exchanges.facts import Credentials, Exchange

Value_co = TypeVar("Value_co", covariant=True)

NAMES = (
    "bitfinex", "binance", "bitstamp", "bybit", "coinbase", "gate", "gemini", "hyperliquid", "kraken", "kucoin", "okx",
)  # fmt: skip
"""Each is a module here, with its value in ``EXCHANGE``."""


class ByName(Mapping[str, Value_co]):
    """A value for each of the ``names``, made when it is first asked for."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Value_co]) -> None:
        self._names = tuple(names)
        self._make = make
        self._made: dict[str, Value_co] = {}

    def __getitem__(self, name: str) -> Value_co:
        if name not in self._made:
            if name not in self:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _imported(name: str) -> Exchange:
    found = import_module(f"{__name__}.{name}").EXCHANGE
    assert isinstance(found, Exchange)  # noqa: S101  (a module of ours)
    return found


EXCHANGES: Mapping[str, Exchange] = ByName(NAMES, _imported)


def _imported_keys(name: str) -> Credentials:
    found = import_module(f"{__name__}.{name}_keys").CREDENTIALS
    assert isinstance(found, Credentials)  # noqa: S101  (a module of ours)
    return found


CREDENTIALS: Mapping[str, Credentials] = ByName(("bitfinex",), _imported_keys)
"""Of the exchanges that can be asked what a key may do: each has a module ``NAME_keys`` here."""


def exchange(name: str) -> Exchange:
    """The exchange called ``name``; UsageError names those that exist."""
    if name not in EXCHANGES:
        raise UsageError(f"unknown exchange {name!r}; known are {' '.join(EXCHANGES)}")
    return EXCHANGES[name]
