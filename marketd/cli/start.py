"""How a command gets what it works with: configuration, event loop, log, database.

Owns the choice of the event loop and of what a command logs. Refuses to migrate or to write for a command that only
reads: a reader's role suffices for those.
"""

import asyncio
import gc
import logging
import stat
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import uvloop
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from marketd import assembly, logs, words
from marketd.cli.app import App
from marketd.cli.output import talk
from marketd.config import Config, load
from marketd.secret import Secret, password_of
from marketd.store.session import Database, unheard
from marketd.text import clean

T = TypeVar("T")

_TURN_S = 0.0002
_NEW_OBJECTS = 50_000  # what a page of 10 000 rows makes, several times over

log = logging.getLogger(__name__)


class _CurrentStderr:
    """Whatever is standard error when a line is written: a progress bar puts itself in its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configured(app: App, *, need_database: bool = True) -> Config:
    """The configuration of this invocation; ConfigError lists every mistake."""
    return load(app.config_file, app.environ, need_database)


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(unheard)
        return runner.run(work)


def share_time() -> None:
    """For a process that answers others while it works.

    The thread that reads a page makes room for the loop after a fifth of a millisecond (Python's own choice is five, at
    each step of an answer). What exists by now is not searched for garbage again, and the rows of a page, which leave
    none behind, are not a reason to search.
    """
    sys.setswitchinterval(_TURN_S)
    gc.set_threshold(_NEW_OBJECTS)
    gc.freeze()


def log_warnings(config: Config) -> None:
    """A command talks by itself; of the engine's log only warnings are worth a line."""
    level = "debug" if config.log.level == "debug" else "warning"
    logs.configure(level, logs.LogFormat.TEXT, cast(TextIO, _CurrentStderr()), secrets_of(config))
    set_on_retry_hooks([_say_retry])


def log_errors(config: Config) -> None:
    """A command that tells a story of its own: only what nobody expects in it is logged."""
    logs.configure("error", logs.LogFormat.TEXT, cast(TextIO, _CurrentStderr()), secrets_of(config))
    set_on_retry_hooks([])


def _say_retry(details: RetryDetails) -> None:
    talk(f"trying again in {words.duration(details.wait_for)}: {clean(str(details.caused_by))}")


def log_service(config: Config) -> None:
    """The daemon's log: as configured, and each wait before another try with its reason."""
    logs.configure(config.log.level, config.log.format, secrets=secrets_of(config))
    set_on_retry_hooks([_log_retry])
    for said in exposed(config):
        log.warning(said)


def exposed(config: Config) -> list[str]:
    """Files with the database's password in them that everybody on this host may read."""
    url, (kind, _, place) = config.database.url, config.origins.get("database.url", "").partition(" ")
    if url is None or password_of(url.reveal()) is None or kind not in ("file", "url_file"):
        return []
    if not Path(place).stat().st_mode & stat.S_IROTH:
        return []
    return [f"{place} holds the database's password, and everybody may read it: chmod o-r {place}"]


def _log_retry(details: RetryDetails) -> None:
    reason = clean(str(details.caused_by))
    logs.event(log, logging.WARNING, "trying again", in_s=round(details.wait_for, 1), reason=reason, once=reason)


def secrets_of(config: Config) -> list[Secret]:
    """Everything in the configuration that must not be shown."""
    keys = [value for each in config.exchanges.values() for value in (each.api_key, each.api_secret)]
    urls = [config.database.url, *(each.proxy for each in config.exchanges.values())]
    passwords = [password_of(url.reveal()) for url in urls if url is not None]
    return [secret for secret in (*keys, *urls, *passwords) if secret is not None]


@asynccontextmanager
async def reading(config: Config, application: str, *, statement_s: float = 25) -> AsyncIterator[Database]:
    """The database for a command that writes nothing; SchemaError where its tables are not current.

    The private database is brought up to date like by every other command: there is nobody else to do it.
    """
    async with assembly.database_url(config) as url:
        migrate = config.database.uses_embedded and config.database.auto_migrate
        pooler = config.database.pooler
        await assembly.ready_schema(url, migrate=migrate, name=config.database.instance, pooler=pooler)
        async with Database(url, size=2, application=application, statement_s=statement_s, pooler=pooler) as opened:
            yield opened
