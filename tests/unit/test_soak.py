"""The soak's own judgement: what it takes for growth."""

import pytest

from tests.soak.meter import Meter, Sample


def meter(*memory_mb: float, files: int = 10) -> Meter:
    """Each value stands for a tenth of the time."""
    return Meter([Sample(number, value, files, 4, 100) for number, value in enumerate(memory_mb) for _ in range(5)])


def test_what_comes_in_the_first_tenth_is_no_growth() -> None:
    assert meter(50, *([100] * 9)).growths() == []


@pytest.mark.parametrize(("late", "wrong"), [(104.9, False), (105.1, True)])
def test_memory_may_grow_by_a_twentieth(late: float, wrong: bool) -> None:
    assert bool(meter(*([100] * 9), late).growths()) is wrong


def test_one_high_sample_is_no_growth() -> None:
    risen = meter(*([100] * 10))
    risen.samples[-1] = Sample(50, 300, 10, 4, 100)
    assert risen.growths() == []


@pytest.mark.parametrize("what", ["files", "threads", "tasks"])
def test_files_threads_and_tasks_that_stay_open_are_growth(what: str) -> None:
    takes = {"files": 10, "threads": 4, "tasks": 100}
    samples = [Sample(at, 100, **(takes | {what: takes[what] + at})) for at in range(100)]
    (found,) = Meter(samples).growths()
    assert found.startswith(what)


def test_too_few_samples_prove_nothing() -> None:
    assert Meter(meter(*([100] * 10)).samples[:19]).growths() == ("too few samples to tell growth",)
