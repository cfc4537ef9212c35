"""The job file against the job table: what is added, changed and removed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.clock import at
from marketd.joblist import Difference, difference
from marketd.model import JobRow, JobType

SPEC = JobRow("bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, schedule="*/5 * * * *")
START_MS = 1_700_000_040_000

Row = dict[str, object]


def row(spec: JobRow, id: int, **columns: object) -> Row:
    """The row that ``spec`` was written to."""
    return {
        "id": id, "exchange": spec.exchange, "symbol": spec.symbol, "timeframe": spec.timeframe,
        "job_type": str(spec.job_type), "schedule": spec.schedule, "enabled": spec.enabled,
        "start_time": None if spec.start_ms is None else at(spec.start_ms),
        "end_time": None if spec.end_ms is None else at(spec.end_ms),
        "catch_up": spec.catch_up, "timeout_s": spec.timeout_s, "freshness_s": spec.freshness_s,
        "jitter_s": spec.jitter_s, **columns,
    }  # fmt: skip


def test_a_new_entry_is_added() -> None:
    assert difference([SPEC], []) == Difference((SPEC,), {}, ())


def test_an_entry_that_has_its_row_is_no_change() -> None:
    found = difference([SPEC], [row(SPEC, 4)])
    assert found == Difference((), {}, ())
    assert not found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule", None), ("schedule", "* * * * *"), ("enabled", False), ("start_ms", START_MS), ("end_ms", START_MS),
        ("catch_up", "all"), ("timeout_s", 30.0), ("freshness_s", 90.0), ("jitter_s", 20.0),
    ],
)  # fmt: skip
def test_an_entry_that_says_otherwise_changes_its_row(key: str, value: object) -> None:
    changed = replace(SPEC, **{key: value})  # type: ignore[arg-type]
    assert difference([changed], [row(SPEC, 4)]) == Difference((), {4: changed}, ())
    assert difference([SPEC], [row(changed, 4)]) == Difference((), {4: SPEC}, ())  # what SQL has changed is overwritten
    assert not difference([changed], [row(changed, 4)])


@pytest.mark.parametrize(
    ("key", "value"), [("symbol", "ETHUSD"), ("symbol", None), ("timeframe", None), ("job_type", JobType.BACKFILL)]
)
def test_another_series_or_type_is_another_row(key: str, value: object) -> None:
    other = replace(SPEC, **{key: value})  # type: ignore[arg-type]
    assert difference([other], [row(SPEC, 4)]) == Difference((other,), {}, (4,))


def test_a_row_whose_entry_left_is_removed_once() -> None:
    assert difference([], [row(SPEC, 4)]) == Difference((), {}, (4,))
    assert not difference([], [row(SPEC, 4, enabled=False)])


def test_an_entry_that_comes_back_enables_its_old_row() -> None:
    assert difference([SPEC], [row(SPEC, 4, enabled=False)]) == Difference((), {4: SPEC}, ())


def test_a_second_row_of_the_same_entry_is_removed() -> None:
    assert difference([SPEC], [row(SPEC, 4), row(SPEC, 5)]) == Difference((), {}, (5,))


SPECS = st.lists(
    st.builds(
        JobRow, st.just("bitfinex"), st.sampled_from(["BTCUSD", "ETHUSD", None]),
        st.sampled_from(["1m", None]), st.sampled_from(JobType), schedule=st.sampled_from([None, "* * * * *"]),
        enabled=st.booleans(), start_ms=st.sampled_from([None, START_MS]),
    ),
    unique_by=lambda spec: spec.slot, max_size=6,
)  # fmt: skip


@given(SPECS, SPECS)
def test_carried_out_it_leaves_no_difference(before: list[JobRow], after: list[JobRow]) -> None:
    table = {id: row(spec, id) for id, spec in enumerate(before, start=1)}
    found = difference(after, table.values())
    for id, spec in found.changed.items():
        table[id] = row(spec, id)
    for id in found.removed:
        table[id] = {**table[id], "enabled": False}
    for spec in found.added:
        table[len(table) + 1] = row(spec, len(table) + 1)
    assert not difference(after, table.values())
    enabled = {(each["symbol"], each["timeframe"], each["job_type"]) for each in table.values() if each["enabled"]}
    assert enabled == {spec.slot[1:] for spec in after if spec.enabled}
