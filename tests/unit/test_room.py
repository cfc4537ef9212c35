"""How much room the database's disk has left, and what may be written then."""

import shutil
from pathlib import Path

import pytest

from marketd.room import Room


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=812_345_678))


@pytest.mark.usefixtures("left")
def test_too_little_is_said_with_what_is_left_and_what_is_wanted(tmp_path: Path) -> None:
    lack = Room(tmp_path, 1000).lack()
    assert lack is not None
    assert str(lack).startswith(f"812 MB are left in {tmp_path}, and [database] least_free_mb is 1000: backfills wait")


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("least_mb", [0, 812])
def test_enough_is_enough(tmp_path: Path, least_mb: int) -> None:
    assert Room(tmp_path, least_mb).lack() is None
    assert Room(tmp_path, least_mb).free() == 812_345_678


def test_where_nobody_knows_nothing_is_held_up(tmp_path: Path) -> None:
    for room in (Room(), Room(tmp_path / "hidden", 10**9)):
        assert (room.free(), room.lack()) == (None, None)
