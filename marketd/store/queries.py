"""Named queries: all SQL that marketd runs, read once from ``sql/``.

Owns the format of those files and the search for the folder. A block begins with ``-- name:`` and ``-- params:``
(``name type`` pairs, comma-separated, maybe none), may go on with comment lines, and ends where the next begins.
Refuses a name given twice and placeholders that do not match the parameters, at import.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import marketd

GROUPS = ("queries", "verify")

_BLOCK = re.compile(r"^-- name:", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\$(\d+)")
_NOT_CODE = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_COMMA = re.compile(r",(?![^(]*\))")  # not the one in numeric(38, 18)


@dataclass(frozen=True, slots=True)
class Query:
    """``params`` are (name, type) in the order of ``$1``..; ``group`` is the stem of the file it came from."""

    name: str
    params: tuple[tuple[str, str], ...]
    sql: str
    doc: str
    group: str


def sql_dir() -> Path:
    """The folder with all SQL: inside an installed package, else beside it in a checkout."""
    package = Path(marketd.__file__).parent
    for folder in (package / "sql", package.parent / "sql"):
        if (folder / "migrations").is_dir():
            return folder
    raise FileNotFoundError(f"no sql/migrations in {package} or beside it: the installation is incomplete")


def read(folder: Path) -> Mapping[str, Query]:
    """All queries of the groups in ``folder`` by name; ValueError names the file and the fault."""
    found: dict[str, Query] = {}
    for group in GROUPS:
        for file in sorted((folder / group).glob("*.sql")):
            for query in parse(file.read_text(encoding="utf-8"), file.stem):
                if query.name in found:
                    raise ValueError(f"{file}: query {query.name} exists already, in {found[query.name].group}.sql")
                found[query.name] = query
    return MappingProxyType(found)


def parse(text: str, group: str) -> Iterator[Query]:
    """The queries of one file; ValueError for a malformed one."""
    preamble, *blocks = _BLOCK.split(text)
    if _NOT_CODE.sub("", preamble).strip():
        raise ValueError(f"{group}.sql: SQL before the first `-- name:`")
    for block in blocks:
        yield _query(block, group)


def _query(block: str, group: str) -> Query:
    head, *lines = block.splitlines()
    name = head.strip()
    if not name.isidentifier():
        raise ValueError(f"{group}.sql: {name!r} is no name for a query")
    if not lines or not lines[0].startswith("-- params:"):
        raise ValueError(f"{group}.sql: {name} lacks its line `-- params:`")
    params = _params(lines[0].removeprefix("-- params:"), f"{group}.sql: {name}")
    code = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    doc = "\n".join(line.removeprefix("--").strip() for line in lines[1:code])
    sql = "\n".join(lines[code:]).strip()
    _check(sql, len(params), f"{group}.sql: {name}")
    return Query(name, params, sql, doc, group)


def _params(text: str, where: str) -> tuple[tuple[str, str], ...]:
    pairs = [tuple(part.split(maxsplit=1)) for part in _COMMA.split(text) if part.strip()]
    names = [pair[0] for pair in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: a parameter is named twice")
    if untyped := [pair[0] for pair in pairs if len(pair) < 2]:
        raise ValueError(f"{where}: no type given for {', '.join(untyped)}")
    return tuple((name, kind.strip()) for name, kind in pairs)


def _check(sql: str, count: int, where: str) -> None:
    code = _NOT_CODE.sub("", sql)
    if not code.strip():
        raise ValueError(f"{where}: no SQL")
    used = {int(number) for number in _PLACEHOLDER.findall(code)}
    if used != set(range(1, count + 1)):
        raise ValueError(f"{where}: has {count} parameters, but uses {sorted(used)}")


QUERIES: Mapping[str, Query] = read(sql_dir())


def sql(name: str) -> str:
    """The text of the query called ``name``."""
    return QUERIES[name].sql
