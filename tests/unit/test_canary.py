"""The look for shown secrets finds them."""

import asyncpg
import pytest

from tests import canary, conftest


def test_a_text_that_shows_the_canary_is_refused() -> None:
    assert canary.unseen("fine") == "fine"
    with pytest.raises(AssertionError, match="a secret is shown"):
        canary.unseen(f"postgresql://marketd:{canary.CANARY}@host/marketd")


async def test_a_table_that_holds_the_canary_is_found(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    try:
        assert await canary.look_into(connection) == []
        await connection.execute("CREATE TABLE told (error text)")
        await connection.execute(
            "INSERT INTO told VALUES ($1)", f"cannot reach {canary.addressed('postgresql:///a?b')}"
        )
        assert await canary.look_into(connection) == ["told"]
        await connection.execute("DROP TABLE told")
    finally:
        await connection.close()


def test_a_test_that_shows_the_canary_does_not_pass() -> None:
    for shown, outcome in ((canary.CANARY, "failed"), ("nothing", "passed")):
        sections = [("Captured log call", f"WARNING {shown}")]
        report = pytest.TestReport("t", ("f", 1, "t"), {}, "passed", None, "call", sections)
        hook = conftest.pytest_runtest_makereport()
        next(hook)
        with pytest.raises(StopIteration) as ended:
            hook.send(report)
        assert ended.value.value.outcome == outcome
