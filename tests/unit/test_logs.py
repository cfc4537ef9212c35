"""Log lines as they are written to a stream."""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketd.logs import LogFormat, Redactor, configure, event, hide
from marketd.secret import Secret

log = logging.getLogger("marketd.test")


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(layout: LogFormat, level: str = "info", *secrets: str) -> io.StringIO:
    stream = io.StringIO()
    configure(level, layout, stream, [Secret(secret) for secret in secrets])
    return stream


def test_text() -> None:
    stream = written(LogFormat.TEXT)
    event(log, logging.INFO, "page stored", symbol="BTCUSD", inserted=10, seconds=0.25, late=True, error=None)
    line = stream.getvalue()
    assert line.endswith("Z INFO    page stored symbol=BTCUSD inserted=10 seconds=0.25 late=true\n")
    assert line[10] == "T"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("two words", '"two words"'), ("", '""'), ('a"b', '"a\\"b"'), ("a=b", '"a=b"'), ("plain", "plain")],
)
def test_values_can_be_told_apart(value: str, shown: str) -> None:
    stream = written(LogFormat.JOURNAL)
    event(log, logging.INFO, "said", text=value)
    assert stream.getvalue() == f"<6>said text={shown}\n"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_the_journal_is_told_the_priority(level: int, priority: int) -> None:
    stream = written(LogFormat.JOURNAL, "debug")
    event(log, level, "happened")
    assert stream.getvalue() == f"<{priority}>happened\n"


def test_json() -> None:
    stream = written(LogFormat.JSON)
    event(log, logging.WARNING, "run failed", job=7, level="mine", text="it's\nthis")
    found = json.loads(stream.getvalue())
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning", "logger": "marketd.test", "event": "run failed", "job": 7, "text": "it's this",
    }  # fmt: skip


@pytest.mark.parametrize("layout", [LogFormat.TEXT, LogFormat.JOURNAL, LogFormat.JSON])
def test_a_record_is_one_clean_line(layout: LogFormat) -> None:
    stream = written(layout)
    event(log, logging.INFO, "said\n<0>forged", text="a\r\nb\x1b[2Jc\x00\u202e", **{"ke\ny": "v"})
    log.error("by %s", "others\nline")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_long_texts_are_cut() -> None:
    stream = written(LogFormat.TEXT)
    event(log, logging.INFO, "said", text="x" * 1_000_000)
    assert len(stream.getvalue()) < 700


def test_a_traceback_is_folded_to_a_sentence_and_its_place() -> None:
    stream = written(LogFormat.JOURNAL)
    try:
        raise ValueError("no such\nthing")
    except ValueError:
        log.exception("read failed")
    assert stream.getvalue().startswith('<3>read failed error="ValueError: no such thing" at=test_logs.py:')
    assert stream.getvalue().count("\n") == 1


def test_an_error_as_a_field() -> None:
    stream = written(LogFormat.JOURNAL)
    event(log, logging.ERROR, "read failed", error=OSError("gone"))
    assert stream.getvalue() == '<3>read failed error="OSError: gone"\n'


@pytest.mark.parametrize("layout", [LogFormat.TEXT, LogFormat.JOURNAL, LogFormat.JSON])
def test_secrets_are_hidden_wherever_they_stand(layout: LogFormat) -> None:
    stream = written(layout, "info", "p@ss wörd", 'quo"te', "abc")
    log.info("connecting to postgresql://u:other@h/db with p@ss wörd")
    event(log, logging.INFO, "asked", url="https://h/?key=p%40ss%20w%C3%B6rd", text='quo"te', fine="abcdef")
    try:
        raise OSError("refused p@ss wörd")
    except OSError:
        log.exception("failed")
    text = stream.getvalue()
    for word in ("p@ss", "p%40ss", "wörd", "quo", "other"):
        assert word not in text
    assert text.count("***") >= 5
    assert "abcdef" in text  # too short to be hidden without blanking out the log


def test_a_secret_within_a_secret() -> None:
    assert Redactor([Secret("hunter"), Secret("hunter2")])("hunter2 hunter") == "*** ***"


def test_a_secret_that_is_no_text_is_hidden_too() -> None:
    """As a variable of the environment may be: bytes that are not UTF-8 come as lone surrogates."""
    assert Redactor([Secret("hunter\udcff")])("hunter\udcff hunter%FF") == "*** ***"


def test_repeated_warnings_are_said_once_a_minute() -> None:
    stream = written(LogFormat.JOURNAL)
    for second in (0, 1, 59, 60, 61, 200):
        _at(1000.0 + second, once="timeout")
    _at(1000.0, once="refused")
    lines = stream.getvalue().splitlines()
    assert lines == ["<4>lost", "<4>lost suppressed=2", "<4>lost suppressed=1", "<4>lost"]


def test_a_clock_set_back_silences_nothing() -> None:
    stream = written(LogFormat.JOURNAL)
    _at(5000.0, once="timeout")
    _at(1000.0, once="timeout")
    assert len(stream.getvalue().splitlines()) == 2


def test_the_memory_of_what_was_said_is_bounded() -> None:
    stream = written(LogFormat.JOURNAL)
    for number in range(2500):
        _at(1000.0, once=number)
    assert len(stream.getvalue().splitlines()) == 2500


def _at(created_s: float, **fields: object) -> None:
    """Log ``lost`` as if it were ``created_s``."""
    record = log.makeRecord(log.name, logging.WARNING, __file__, 1, "lost", (), None, extra={"fields": fields})
    record.created = created_s
    log.handle(record)


def test_levels() -> None:
    stream = written(LogFormat.JOURNAL, "warning")
    event(log, logging.INFO, "quiet")
    event(log, logging.WARNING, "loud")
    assert stream.getvalue() == "<4>loud\n"
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud")
    with pytest.raises(ValueError, match="xml"):
        configure("info", "xml")


def test_configuring_again_replaces_what_was() -> None:
    first, second = written(LogFormat.TEXT), written(LogFormat.JSON)
    event(log, logging.INFO, "happened")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["event"] == "happened"


def test_the_journal_is_recognised_by_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream, (tmp_path / "other").open("w+") as other:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        for target in (stream, other):
            configure("info", LogFormat.AUTO, target, environ=environ)
            event(log, logging.INFO, "happened")
            target.seek(0)
        assert stream.read() == "<6>happened\n"
        assert other.read().endswith("INFO    happened\n")


def test_secrets_that_come_later_are_hidden_beside_the_first() -> None:
    stream = written(LogFormat.JOURNAL, "info", "first-one")
    hide([Secret("first-one-and-more"), Secret("second/one")])
    event(log, logging.INFO, "said", text="first-one first-one-and-more second/one second%2Fone third")
    assert stream.getvalue() == '<6>said text="*** *** *** *** third"\n'
