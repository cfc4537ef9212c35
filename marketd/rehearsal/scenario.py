"""Scenarios: faults written down as TOML or JSON.

Owns the way from tables to fault records and back. Refuses unknown names and wrong types, all mistakes at once, each
with the number and kind of its fault.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from marketd.clock import at, ms_of
from marketd.errors import ConfigError
from marketd.rehearsal.faults import KIND_NAMES, KINDS, Fault

MOST = 1e10
YEAR_9999_MS = 253_370_764_800_000


class _MistakeError(ValueError):
    """What the writer of a scenario has to correct."""


def load_scenario(path: Path) -> tuple[Fault, ...]:
    """Faults of a TOML file with ``[[fault]]`` tables; ConfigError names every mistake in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"scenario {path}: {error}") from error
    mistakes = [f"unknown key {key!r}" for key in document if key not in ("about", "fault")]
    faults, more = read_faults(document.get("fault", []))
    if mistakes or more:
        raise ConfigError(f"scenario {path}:\n  " + "\n  ".join([*mistakes, *more]))
    return faults


def read_faults(tables: object) -> tuple[tuple[Fault, ...], list[str]]:
    """Faults of a list of tables, and the mistakes in them."""
    if not isinstance(tables, list):
        return (), ["faults must be a list of tables"]
    faults: list[Fault] = []
    mistakes: list[str] = []
    for number, table in enumerate(tables, 1):
        try:
            faults.append(_read_fault(table))
        except ValueError as error:
            mistakes.extend(f"fault {number}: {line}" for line in str(error).splitlines())
    return tuple(faults), mistakes


def fault_table(fault: Fault) -> dict[str, object]:
    """The table that ``read_faults`` would read as this fault; what is at its default is left out."""
    table: dict[str, object] = {"kind": KIND_NAMES[type(fault)]}
    for item in fields(fault):
        value = getattr(fault, item.name)
        if value != item.default:
            moment = item.name.endswith("_ms") and value is not None
            table[_key(item)] = at(value).isoformat() if moment else value
    return table


def _read_fault(table: object) -> Fault:
    if not isinstance(table, Mapping):
        raise _MistakeError("must be a table")
    kind = table.get("kind")
    record = KINDS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise _MistakeError(f"unknown kind {kind!r}; known are {' '.join(KINDS)}")
    values, mistakes = _read_values(record, table)
    if mistakes:
        raise _MistakeError("\n".join(f"({kind}) {mistake}" for mistake in mistakes))
    try:
        return record(**values)
    except TypeError:
        raise _MistakeError(f"({kind}) must have {' and '.join(_required(record))}") from None
    except ValueError as error:
        raise _MistakeError(f"({kind}) {error}") from None


def _read_values(record: type[Fault], table: Mapping[str, object]) -> tuple[dict[str, Any], list[str]]:
    known = {_key(item): item.name for item in fields(record)}
    hints = get_type_hints(record)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for key, value in table.items():
        if key == "kind":
            continue
        if key not in known:
            mistakes.append(f"unknown key {key!r}; known are {' '.join(known)}")
            continue
        try:
            values[known[key]] = _read_value(known[key], hints[known[key]], value)
        except ValueError as error:
            mistakes.append(f"{key}: {error}")
    return values, mistakes


def _key(item: "Field[Any]") -> str:
    """What a scenario calls a field: moments without their unit, ``at`` and ``for`` too; other units are kept."""
    return item.name[:-3] if item.name.endswith("_ms") else {"at_s": "at", "for_s": "for"}.get(item.name, item.name)


def _required(record: type[Fault]) -> Sequence[str]:
    return [_key(item) for item in fields(record) if item.default is MISSING]


def _read_value(name: str, hint: Any, value: object) -> object:
    if name.endswith("_ms"):
        return _read_moment(value)
    if get_origin(hint) is tuple:
        return _read_list(get_args(hint)[0], value)
    return _read_plain(hint, value)


def _read_list(hint: Any, value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _MistakeError("must be a list")
    return tuple(_read_plain(hint, item) for item in value)


def _read_plain(hint: Any, value: object) -> object:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _MistakeError(f"{value!r} must be one of {' '.join(get_args(hint))}")
        return value
    accepted = [kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType]
    if isinstance(value, bool) and bool not in accepted:
        raise _MistakeError(f"{value!r} must be {_named(accepted)}")
    if not isinstance(value, (*accepted, int) if float in accepted else tuple(accepted)):
        raise _MistakeError(f"{value!r} must be {_named(accepted)}")
    if isinstance(value, str) and not value.isprintable():
        raise _MistakeError(f"{value!r} must be printable")  # it may become a header
    if isinstance(value, int | float) and not abs(value) < MOST:
        raise _MistakeError(f"{value!r} is no number of this world")
    return float(value) if float in accepted and isinstance(value, int) else value


def _named(accepted: Sequence[type]) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return " or ".join(names[kind] for kind in accepted)


def _read_moment(value: object) -> int:
    """Milliseconds of a TOML date-time, an ISO text or a whole number of ms; a time zone is required."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < YEAR_9999_MS:
            raise _MistakeError(f"{value!r} must be milliseconds since the epoch")
        return value
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise _MistakeError(f"{value!r} must be a date-time with offset, or milliseconds since the epoch") from None
    return ms_of(moment)
