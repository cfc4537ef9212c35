"""The loader of named queries: what it reads and what it refuses."""

import re
from pathlib import Path

import pytest

from marketd.store.queries import QUERIES, parse, read, sql, sql_dir

GOOD = """\
-- Preamble.

-- name: candles_between
-- params: exchange text, price numeric(38, 18), opens timestamptz[]
-- Candles, in order.
-- More words.
SELECT '$9 is text', $1, $2 -- and $8 a comment
WHERE $3 IS NOT NULL;

-- name: nothing
-- params:
SELECT 1;
"""


def test_a_block_becomes_a_query() -> None:
    first, second = parse(GOOD, "reading")
    assert first.name == "candles_between"
    assert first.params == (("exchange", "text"), ("price", "numeric(38, 18)"), ("opens", "timestamptz[]"))
    assert first.doc == "Candles, in order.\nMore words."
    assert first.sql.startswith("SELECT '$9 is text'")
    assert first.group == "reading"
    assert (second.name, second.params, second.sql) == ("nothing", (), "SELECT 1;")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;", "SQL before the first"),
        ("-- name: no spaces\n-- params:\nSELECT 1", "no name for a query"),
        ("-- name: a\nSELECT 1", "lacks its line `-- params:`"),
        ("-- name: a\n", "lacks its line `-- params:`"),
        ("-- name: a\n-- params:\n-- only words\n", "no SQL"),
        ("-- name: a\n-- params: x text\nSELECT 1", "has 1 parameters, but uses \\[\\]"),
        ("-- name: a\n-- params: x text\nSELECT $1, $2", "has 1 parameters, but uses \\[1, 2\\]"),
        ("-- name: a\n-- params: x text, y text\nSELECT $2", "has 2 parameters, but uses \\[2\\]"),
        ("-- name: a\n-- params: x text, x int\nSELECT $1, $2", "named twice"),
        ("-- name: a\n-- params: x\nSELECT $1", "no type given for x"),
    ],
)
def test_a_malformed_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"some.sql: .*{complaint}"):
        list(parse(text, "some"))


def test_a_name_given_twice_is_refused_across_folders(tmp_path: Path) -> None:
    for group in ("queries", "verify"):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{group}.sql").write_text("-- name: same\n-- params:\nSELECT 1;\n")
    with pytest.raises(ValueError, match=r"query same exists already, in queries\.sql"):
        read(tmp_path)


def test_marketds_own_queries_are_found_by_name() -> None:
    assert QUERIES["schema_record"].params[0] == ("version", "integer")
    assert sql("schema_applied").startswith("SELECT")


def test_every_file_of_sql_is_of_a_known_kind() -> None:
    assert {folder.name for folder in sql_dir().iterdir() if folder.is_dir()} <= {"migrations", "queries", "verify"}


_OUTLIVES = re.compile(
    r"\blisten\b|\bpg_(try_)?advisory_lock|\bset_config\([^()]*,\s*false|with\s+hold|\bset\s+(?!local\b)\w+\s*(=|to\b)",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    "text",
    [
        "LISTEN jobs", "SELECT pg_advisory_lock(1)", "SELECT set_config('jit', 'off', false)", "SET jit = off",
        "set search_path to x", "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ],
)  # fmt: skip
def test_what_outlives_a_transaction_is_recognised(text: str) -> None:
    assert _OUTLIVES.search(text)


def test_no_query_changes_more_than_its_own_transaction() -> None:
    """Connections go back to the pool as they are."""
    outside_updates = {name: re.sub(r"(?is)\bupdate\b.*", "", query.sql) for name, query in QUERIES.items()}
    assert [name for name, text in outside_updates.items() if _OUTLIVES.search(text)] == []
