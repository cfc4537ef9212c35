"""No test here waits: a request that fails is tried again at once."""

from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield
