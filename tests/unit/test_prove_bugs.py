"""The mistakes that ``make prove-long`` makes on purpose can still be made."""

import subprocess

import pytest

from tests.prove.faults import Kind
from tests.prove.flows import FLOWS
from tests.prove.teeth import BUGS, ROOT, Bug


@pytest.mark.parametrize("bug", [Bug.read(patch) for patch in sorted(BUGS.glob("*.patch"))], ids=lambda bug: bug.name)
def test_a_bug_fits_the_tree_and_names_what_finds_it(bug: Bug) -> None:
    fits = subprocess.run(
        ["git", "apply", "--check", str(bug.patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (fits.returncode, fits.stderr) == (0, "")
    assert bug.flow in FLOWS
    assert Kind(bug.fault)
