"""Each mistake of the list is found, and by the promise that it breaks."""

from dataclasses import replace

import pytest

from tests.simulation.run import run
from tests.simulation.teeth import MISTAKES


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str) -> None:
    mistake = MISTAKES[name]
    with mistake.made():
        result = run(mistake.plan)
    broken = {violation.split()[2] for violation in result.violations}
    assert broken & mistake.breaks, f"{broken or 'nothing'} was found"


@pytest.mark.parametrize("name", [name for name, mistake in MISTAKES.items() if mistake.plan.troubled])
def test_the_world_of_a_mistake_is_sound(name: str) -> None:
    """What is found there is found because of the mistake: without it nothing is."""
    assert run(replace(MISTAKES[name].plan, days=0.3)).violations == []
