"""Each mistake of the list is found, and by the promise that it breaks."""

import pytest

from tests.simulation.run import run
from tests.simulation.teeth import MISTAKES


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str) -> None:
    mistake = MISTAKES[name]
    with mistake.made():
        result = run(mistake.plan)
    broken = {violation.split()[2] for violation in result.journal.violations}
    assert broken & mistake.breaks, f"{broken or 'nothing'} was found"


def test_the_worlds_of_the_mistakes_are_sound() -> None:
    """What is found there is found because of the mistake: without it nothing is."""
    for plan in {mistake.plan for mistake in MISTAKES.values()}:
        assert run(plan).journal.violations == []
