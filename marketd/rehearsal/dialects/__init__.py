"""The wire formats that the rehearsal exchange speaks: one module each, read when it is asked for."""

from importlib import import_module
from pkgutil import iter_modules

from marketd.errors import UsageError
from marketd.rehearsal.dialect import Dialect

NAMES = tuple(module.name for module in iter_modules(__path__))
"""Each is a module here, with its class in ``DIALECT``."""


def spoken(name: str) -> Dialect:
    """The dialect of exchange ``name``; UsageError names those that exist."""
    if name not in NAMES:
        raise UsageError(f"the rehearsal exchange does not speak {name!r}; it speaks {' '.join(NAMES)}")
    made = import_module(f"{__name__}.{name}").DIALECT()
    assert isinstance(made, Dialect)  # noqa: S101  (a module of ours)
    return made
