"""How the log reads.

Owns the format of log lines (text, journal, JSON), the hiding of secrets, and the limit on repeated warnings. A line is
an event and its fields; whatever comes from outside is cleaned before it is shown, and a record is always one line.
Refuses tracebacks: an error is its one sentence, and at debug the place it came from.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TextIO
from urllib.parse import quote

from marketd.secret import MASK, Secret, masked
from marketd.text import clean

LONGEST: Final = 500
"""Characters of an event or of a field."""

ONCE_S: Final = 60.0
_MOST_KEYS: Final = 1000
_SHORTEST_SECRET: Final = 4  # a shorter one would blank out half of every line
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY: Final = 7
_NOISY: Final = ("asyncio", "aiohttp.access")


class LogFormat(StrEnum):
    AUTO = "auto"
    """``journal`` where the stream goes to journald, else ``text``."""
    TEXT = "text"
    JOURNAL = "journal"
    JSON = "json"


def event(logger: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Log the event ``name`` with its fields.

    The field ``once`` is not shown: with it, the event appears at most once a minute for the same value, and the next
    line says how many were ``suppressed``. A field called ``error`` may be an exception.
    """
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields}, stacklevel=2)


class Redactor:
    """Replaces known secrets (as they are, and as they stand in a URL) and passwords inside URLs by ``***``."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Replace these too from now on."""
        values = {secret.reveal() for secret in secrets}
        values |= {quote(value, safe="", errors="surrogateescape") for value in values}
        known = {*self._values, *(value for value in values if len(value) >= _SHORTEST_SECRET)}
        # The longest first: a secret may contain another one.
        self._values = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        return masked(text)


class OnceAMinute(logging.Filter):
    """Lets a record with ``fields["once"]`` pass once a minute for each (event, value), by the times of the records."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        fields = _fields(record)
        if "once" not in fields:
            return True
        key = (record.getMessage(), str(fields["once"]))
        last_s, suppressed = self._seen.get(key, (float("-inf"), 0))
        # A clock that was set back must not silence an event until it has caught up.
        if 0 <= record.created - last_s < ONCE_S:
            self._seen[key] = (last_s, suppressed + 1)
            return False
        if len(self._seen) >= _MOST_KEYS:
            self._seen.clear()
        self._seen[key] = (record.created, 0)
        if suppressed:
            record.fields = {**fields, "suppressed": suppressed}
        return True


class LineFormatter(logging.Formatter):
    """One line a record, in ``layout`` (not ``auto``)."""

    def __init__(self, layout: LogFormat, redact: Redactor) -> None:
        super().__init__()
        self._layout = layout
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        name = self._safe(record.getMessage())
        fields = self._shown(record)
        if self._layout is LogFormat.JSON:
            head = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "event": name}
            return json.dumps({**fields, **head}, ensure_ascii=False)
        line = " ".join((name, *(f"{key}={_quoted(value)}" for key, value in fields.items())))
        if self._layout is LogFormat.JOURNAL:
            return f"<{_priority(record.levelno)}>{line}"
        return f"{_time(record)} {record.levelname:<7} {line}"

    def _shown(self, record: logging.LogRecord) -> dict[str, object]:
        fields: dict[str, object] = {}
        for key, value in _fields(record).items():
            if key == "once" or value is None:
                continue
            fields[self._safe(str(key))] = value if isinstance(value, bool | int | float) else self._text(value)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = self._text(error)
            fields["at"] = _place(error)
        return fields

    def _text(self, value: object) -> str:
        if isinstance(value, BaseException):
            return self._safe(f"{type(value).__name__}: {value}" if str(value) else type(value).__name__)
        return self._safe(str(value))

    def _safe(self, text: str) -> str:
        # What lies beyond is never shown, and searching a megabyte for secrets is slow.
        return clean(self.redact(text[: LONGEST * 8]), LONGEST)


def configure(
    level: str | int = "info",
    layout: LogFormat | str = LogFormat.AUTO,
    stream: TextIO | None = None,
    secrets: Iterable[Secret] = (),
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Make the root logger write to ``stream`` (default: standard error); may be called again.

    ValueError for an unknown level or layout.
    """
    stream = sys.stderr if stream is None else stream
    chosen = LogFormat(layout)
    if chosen is LogFormat.AUTO:
        chosen = LogFormat.JOURNAL if _is_journal(stream, environ) else LogFormat.TEXT
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(chosen, Redactor(secrets)))
    handler.addFilter(OnceAMinute())
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for old in root.handlers[:]:
        if isinstance(old.formatter, LineFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def hide(secrets: Iterable[Secret]) -> None:
    """Hide these too in what is logged from now on, beside all that was hidden before: both may still be said."""
    secrets = tuple(secrets)
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, LineFormatter):
            handler.formatter.redact.learn(secrets)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """``JOURNAL_STREAM`` names device and inode; it is inherited, so a redirected stream must be told apart."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "unknown"


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(char in text for char in ' "=\\') else text
