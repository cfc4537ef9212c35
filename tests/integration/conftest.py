"""Where commands are called from, and ports that can be asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Desk, desk_at
from tests.conftest import BackgroundLoop
from tests.sites import away, rows, site

__all__ = ["away", "rows", "site"]


@pytest.fixture
def desk(
    request: pytest.FixtureRequest,
    database: str,
    background: BackgroundLoop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    """A desk, and an exchange that runs meanwhile; a module may name more of its configuration in ``SETTINGS``."""
    more = getattr(request.module, "SETTINGS", "")
    with desk_at(background, database, tmp_path, capsys, monkeypatch, more) as desk:
        yield desk
