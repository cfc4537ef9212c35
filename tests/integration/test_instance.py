"""Two instances of marketd, and the database that each of them must keep its hands off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketd.clock import ScaledClock
from marketd.store import migrations
from tests.command import NOW_MS, Desk, clean_process, configuration, execute, server_at
from tests.conftest import BackgroundLoop

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with clean_process(monkeypatch):
        yield


def desk_of(instance: str | None, dsn: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Where commands of that instance are given, all of them at the same database."""
    clock = ScaledClock(NOW_MS)
    place = folder / str(instance)
    place.mkdir()
    config = configuration(place, dsn, "http://127.0.0.1:1/v2")
    if instance is not None:
        named = config.read_text(encoding="utf-8").replace("[database]", f'[database]\ninstance = "{instance}"')
        config.write_text(named, encoding="utf-8")
    return Desk(config, server_at(clock), clock, capsys)


def test_a_database_works_for_its_own_instance_only(
    empty_database: str, background: BackgroundLoop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fault_69."""
    production, trial, nameless = (
        desk_of(name, empty_database, tmp_path, capsys) for name in ("production", "trial", None)
    )
    assert nameless("migrate").code == 0
    assert nameless("status").code == 0
    said = production("status")
    assert (said.code, "run `marketd migrate` to give it the name" in said.err) == (78, True)
    assert production("migrate", "--dry-run").code == 0
    assert nameless("status").code == 0, "a dry run names nothing"
    assert production("migrate").out.endswith("the database is that of instance production\n")
    assert production("status").code == 0
    for words in (("status",), ("migrate", "--dry-run"), ("migrate",), ("jobs", "list"), ("repair-gaps",)):
        said = trial(*words)
        assert (said.code, "belongs to instance 'production'" in said.err) == (78, True), words
        assert "this configuration is that of 'trial'" in said.err
    assert "none is named in this configuration" in nameless("status").err
    execute(background, empty_database, "UPDATE marketd_instance SET name = 'trial'")
    assert trial("status").code == 0


def test_a_wrong_instance_migrates_nothing(
    empty_database: str, background: BackgroundLoop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fault_69: the tables of another instance are not brought up to date either."""
    production = desk_of("production", empty_database, tmp_path, capsys)
    assert production("migrate").code == 0
    execute(
        background,
        empty_database,
        "DELETE FROM marketd_schema WHERE version = (SELECT max(version) FROM marketd_schema)",
    )
    assert desk_of("trial", empty_database, tmp_path, capsys)("migrate").code == 78
    assert (
        execute(background, empty_database, "SELECT count(*) FROM marketd_schema")[0][0] == len(migrations.load()) - 1
    )


def test_a_daemon_of_another_instance_ends_at_once(
    empty_database: str, background: BackgroundLoop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fault_69: with 78, after which systemd does not start it again; nothing was written."""
    assert desk_of("production", empty_database, tmp_path, capsys)("migrate").code == 0
    said = desk_of("trial", empty_database, tmp_path, capsys)("run")
    assert said.code == 78
    assert "belongs to instance 'production'" in said.err
    assert execute(background, empty_database, "SELECT * FROM exchange_leases") == []


def test_a_name_that_is_none_is_refused(
    empty_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = desk_of("Pro duction", empty_database, tmp_path, capsys)("status")
    assert said.code == 78
    assert "Pro duction" in said.err
