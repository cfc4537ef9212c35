"""The run directory: who may read what there, who may not, and that it may vanish."""

import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marketd import bulletin
from marketd.bulletin import Bulletin, News
from marketd.cli import main
from marketd.errors import ConfigError, PrivilegeError

STRANGER = 54_321
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


def test_the_bulletin_is_read_only_while_its_daemon_lives(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert bulletin.read(folder) is None
    with Bulletin(folder) as mine:
        mine.post(News(7))
        assert bulletin.read(folder) == News(7)
        with Bulletin(folder) as second:
            assert not second.posting
            second.post(News(8))
        assert bulletin.read(folder) == News(7)
    assert bulletin.read(folder) is None


def test_a_daemon_works_without_a_bulletin_where_it_may_not_post_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    for name, reason in (("file", "exists"), ("file/below", "directory"), ("open", "others may write there")):
        with Bulletin(tmp_path / name) as mine:
            assert not mine.posting
            assert reason in str(mine.problem)
            mine.post(News(7))


async def test_a_reader_that_looks_at_that_moment_does_not_keep_a_daemon_from_posting(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Bulletin(folder):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            bulletin.read(folder)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(50):
            with Bulletin(folder) as mine:
                assert mine.posting
    finally:
        stop.set()
        for reader in readers:
            reader.join()


@contextmanager
def process(**more: int) -> Iterator["subprocess.Popen[bytes]"]:
    """One that a hang-up would end."""
    child = subprocess.Popen(["sleep", "60"], **more)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextmanager
def posted(folder: Path, pid: int) -> Iterator[None]:
    with Bulletin(folder) as mine:
        mine.post(News(pid))
        yield


@as_root
def test_a_folder_of_somebody_else_is_believed_only_about_processes_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv("MARKETD_RUN_DIR", str(folder))
    with process() as ours, posted(folder, ours.pid):
        os.chown(folder, STRANGER, STRANGER)
        with pytest.raises(PrivilegeError, match="belongs to another user"):
            bulletin.read(folder)
        assert main(["reload"]) == 77
        assert "belongs to another user" in capsys.readouterr().err
        assert ours.poll() is None, "it was signalled"
    os.chown(folder, 0, 0)
    with process(user=STRANGER, group=STRANGER) as theirs, posted(folder, theirs.pid):
        os.chown(folder, STRANGER, STRANGER)
        assert bulletin.read(folder) == News(theirs.pid)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_where_others_may_write_is_not_believed(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARKETD_RUN_DIR", str(tmp_path / "run"))
    with process() as ours, posted(tmp_path / "run", ours.pid):
        (tmp_path / "run").chmod(mode)
        assert main(["reload"]) == 78
        assert "others may write there" in capsys.readouterr().err
        assert ours.poll() is None, "it was signalled"


@as_root
def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    with posted(tmp_path / "run", 7), pytest.raises(PrivilegeError, match="belongs to another user"):
        bulletin.read(tmp_path / "link")
    with Bulletin(tmp_path / "link") as mine:
        assert "belongs to another user" in str(mine.problem)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": -1, "begun": 0, "last": null}', '{"pid": "7"}'])
def test_what_is_no_bulletin_is_not_believed(tmp_path: Path, text: str) -> None:
    with posted(tmp_path, 7):
        (tmp_path / "daemon.json").write_text(text)
        with pytest.raises(ConfigError, match="no bulletin of this version"):
            bulletin.read(tmp_path)


def test_a_folder_that_is_not_safe_hides_no_daemon_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulletin, "SERVICE_DIR", tmp_path / "service")
    (tmp_path / "marketd").mkdir()
    (tmp_path / "marketd").chmod(0o777)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with posted(tmp_path / "service", 7):
        assert next(bulletin.living(environ)) == (tmp_path / "service", News(7))
    with pytest.raises(ConfigError, match="others may write there"):
        next(bulletin.living(environ), None)


@pytest.mark.parametrize("gone", ["", "daemon.lock", "daemon.json"])
@pytest.mark.parametrize("notices", ["post", "tend"])
def test_what_has_vanished_is_made_anew_and_held(tmp_path: Path, gone: str, notices: str) -> None:
    folder = tmp_path / "run"
    with Bulletin(folder) as mine:
        mine.post(News(7))
        shutil.rmtree(folder) if not gone else (folder / gone).unlink()
        mine.post(News(7)) if notices == "post" else mine.tend()
        assert bulletin.read(folder) == News(7)
        with Bulletin(folder) as second:
            assert not second.posting
    assert bulletin.read(folder) is None
    assert not (folder / "daemon.json").exists()


def test_what_cannot_be_made_anew_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with caplog.at_level(logging.WARNING), Bulletin(folder) as mine:
        mine.post(News(7))
        shutil.rmtree(folder)
        folder.write_text("")
        for begun in range(3):
            mine.post(News(7, begun))
            mine.tend()
        assert "exists" in str(mine.problem)
        assert [record.getMessage() for record in caplog.records] == ["no bulletin"]
        folder.unlink()
        mine.tend()
        assert mine.problem is None
        assert bulletin.read(folder) == News(7, 2)


def test_the_folder_of_a_daemon_that_came_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Bulletin(folder) as mine:
        mine.post(News(7))
        shutil.rmtree(folder)
        with Bulletin(folder) as second:
            second.post(News(8))
            mine.post(News(7, 1))
            assert "another daemon has" in str(mine.problem)
            mine.__exit__()
            assert bulletin.read(folder) == News(8)


def test_files_that_are_tended_do_not_grow_old(tmp_path: Path) -> None:
    with Bulletin(tmp_path) as mine:
        mine.post(News(7))
        for name in ("daemon.lock", "daemon.json"):
            os.utime(tmp_path / name, (0, 0))
        mine.tend()
        assert min((tmp_path / name).stat().st_mtime for name in ("daemon.lock", "daemon.json")) > 0
