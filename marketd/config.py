"""The configuration: one file, the environment over it, every mistake at once.

Owns where the file is looked for, what wins over what, and where each value came from. Refuses to start on a doubt and
to show a secret. ``build`` is pure; ``load`` reads the few files that it names.

Order, strongest first: ``MARKETD_<SECTION>__<KEY>``, the names that others use (``DATABASE_URL``, ``TIMEFRAMES``,
``BITFINEX_API_KEY``, ``BITFINEX_API_SECRET`` and likewise of every exchange), the file, the defaults. An empty variable
counts as not set. A relative path in the file starts at the file's own folder, one in the environment at the current
directory.
"""

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from marketd.errors import ConfigError
from marketd.exchanges import EXCHANGES, NAMES, ByName
from marketd.secret import MASK, Secret, masked_dsn
from marketd.settings import (
    ACCOUNT_KEYS,
    PATHS,
    SECRET_KEYS,
    Database,
    Engine,
    ExchangeSettings,
    Http,
    Log,
    Metrics,
    Retention,
    Section,
    Settings,
    Verify,
    explained,
    model_of,
)
from marketd.text import clean
from marketd.webconfig import WebConfig, web_config

PREFIX: Final = "MARKETD_"
HERE: Final = Path("config/marketd.toml")
SYSTEM: Final = Path("/etc/marketd/marketd.toml")
NOT_SETTINGS: Final = ("MARKETD_CONFIG", "MARKETD_RUN_DIR", "MARKETD_RECORDED_DATA", "MARKETD_TEST_PG")
BORROWED: Final = {
    "TIMEFRAMES": ("timeframes",),
    **{f"{name.upper()}_{key.upper()}": ("exchanges", name, key) for name in NAMES for key in ACCOUNT_KEYS},
}
URL: Final = ("database", "url")
LARGEST_FILE: Final = 4 * 1024 * 1024

Place = tuple[str, ...]
Read = Callable[[Path], str | None]
"""The text of a file, None where there is none; ConfigError where it cannot be read."""


class Row(NamedTuple):
    """One setting as ``check --print`` shows it."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    """What marketd runs with. ``origins`` maps a key (``database.url``) to where its value came from."""

    database: Database
    http: Http
    metrics: Metrics
    exchanges: Mapping[str, ExchangeSettings]
    log: Log
    engine: Engine
    verify: Verify
    retention: Retention
    timeframes: tuple[str, ...]
    jobs_file: Path | None
    owner: str | None
    file: Path | None
    origins: Mapping[str, str]
    web: WebConfig

    @property
    def derive(self) -> Mapping[str, Mapping[str, str]]:
        """Exchange to child timeframe to parent: the exchange's own facts and the configuration over them."""
        return ByName(EXCHANGES, lambda name: {**EXCHANGES[name].derived, **self.exchanges[name].derive})

    def in_use(self, exchanges: Collection[str]) -> tuple[str, ...]:
        """Those of the ``exchanges`` that have jobs, and those that settings are written for: a key alone is none."""
        return tuple(
            name
            for name in EXCHANGES
            if name in exchanges or self.exchanges[name].without_account != ExchangeSettings()
        )

    def base_url_of(self, exchange: str) -> str:
        return self.exchanges[exchange].base_url or EXCHANGES[exchange].base_url

    def settle_ms_of(self, exchange: str) -> int:
        """How long after its close a candle may still be on its way."""
        return int(max(self.engine.settle_s, EXCHANGES[exchange].settle_s) * 1000)

    def requests_per_minute_of(self, exchange: str) -> float:
        configured = self.exchanges[exchange].requests_per_minute
        return EXCHANGES[exchange].requests_per_minute if configured is None else configured

    @property
    def budgets(self) -> Mapping[str, float]:
        """Requests a minute that each exchange is allowed."""
        return ByName(EXCHANGES, self.requests_per_minute_of)

    def page_limits_of(self, exchange: str) -> tuple[int, ...]:
        """Page sizes, largest first: a refused one is followed by the next."""
        known, most = EXCHANGES[exchange].page_limits, self.exchanges[exchange].page_limit
        return known if most is None else (most, *(limit for limit in known if limit < most))

    def archive_url_of(self, exchange: str) -> str | None:
        """Where history comes from by the month; None where it does not. An address of its own stands for another
        exchange, whose candles must not be mixed with those of the archive that the adapter knows.
        """
        settings, archive = self.exchanges[exchange], EXCHANGES[exchange].archive
        if archive is None or not settings.archive:
            return None
        return settings.archive_url or (archive.base_url if settings.base_url is None else None)

    def proxy_of(self, exchange: str) -> str | None:
        proxy = self.exchanges[exchange].proxy
        return None if proxy is None else proxy.reveal()


def find(option: Path | None, environ: Mapping[str, str], exists: Callable[[Path], bool] = Path.is_file) -> Path | None:
    """The file to read: ``--config``, ``MARKETD_CONFIG``, ``./config/marketd.toml``, ``/etc/marketd/marketd.toml``."""
    if option is not None:
        return option
    if environ.get("MARKETD_CONFIG"):
        return Path(environ["MARKETD_CONFIG"])
    return next((path for path in (HERE, SYSTEM) if exists(path)), None)


def read_text(path: Path) -> str | None:
    """The text of a small file, None where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigError(f"{path}: larger than {LARGEST_FILE} bytes")
        return content.decode("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def load(option: Path | None, environ: Mapping[str, str], need_database: bool = True) -> Config:
    """The configuration of this process; the one function here that touches the disk."""
    path = find(option, environ)
    text = None if path is None else read_text(path)
    if path is not None and text is None:
        raise ConfigError(f"{path}: there is no such file; name one with --config or MARKETD_CONFIG")
    return build(text or "", environ, path, read_text, need_database)


def build(text: str, environ: Mapping[str, str], file: Path | None, read: Read, need_database: bool = True) -> Config:
    """The configuration that the file's ``text`` and ``environ`` make together; ConfigError lists every mistake."""
    draft = _Draft(file, parse_toml(text, file))
    draft.take_environment(environ)
    draft.take_url(environ, read)
    draft.check_exchanges()
    draft.give_data_dir(environ)
    settings, web = draft.validated(need_database, read)
    return Config(
        database=settings.database,
        http=settings.http,
        metrics=settings.metrics,
        exchanges=settings.exchanges,
        log=settings.log,
        engine=settings.engine,
        verify=settings.verify,
        retention=settings.retention,
        timeframes=settings.timeframes,
        jobs_file=settings.jobs_file,
        owner=settings.owner,
        file=file,
        origins=draft.origins,
        web=web,
    )


def parse_toml(text: str, file: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file or 'the configuration'}: is not TOML: {clean(str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{file or 'the configuration'}: is nested too deeply") from error


class _Draft:
    """The values while they are put together: nested as in the file, with origins and mistakes on the side."""

    def __init__(self, file: Path | None, values: dict[str, Any]) -> None:
        self.values = values
        self.origins = {".".join(place): f"file {file}" for place in _leaves(values)}
        self.mistakes: list[str] = []
        for place in PATHS:
            path = self.get(place)
            if file is not None and isinstance(path, str) and path:
                self.put(place, str(file.parent / Path(path).expanduser()), f"file {file}")

    def get(self, place: Place) -> Any:
        found: Any = self.values
        for key in place:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    def put(self, place: Place, value: Any, origin: str) -> None:
        table = self.values
        for key in place[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                return  # the file holds something else where a section belongs: validation says so
        table[place[-1]] = value
        self.origins[".".join(place)] = origin

    def take_environment(self, environ: Mapping[str, str]) -> None:
        for name, place in BORROWED.items():
            if environ.get(name):
                self.put(place, environ[name], f"environment {name}")
        for name in sorted(environ):
            if name.startswith(PREFIX) and name not in NOT_SETTINGS and environ[name]:
                self._take_variable(name, environ[name])

    def _take_variable(self, name: str, text: str) -> None:
        place = tuple(name.removeprefix(PREFIX).lower().split("__"))
        section = model_of(place[:-1])
        field = section.model_fields.get(place[-1]) if section else None
        if field is None or _is_section(field):
            known = f"; known there are {' '.join(section.model_fields)}" if section and len(place) > 1 else ""
            self.mistakes.append(f"{clean(name, 80)}: names no setting; write MARKETD_<SECTION>__<KEY>{known}")
        else:
            self.put(place, text if _takes_text(field) else scalar(text), f"environment {name}")

    def take_url(self, environ: Mapping[str, str], read: Read) -> None:
        """``MARKETD_DATABASE__URL`` stands already; then the credential, ``DATABASE_URL``, ``url_file``, the file."""
        if self.origins.get("database.url", "").startswith("environment"):
            return
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder and self._url_from(Path(folder) / "database_url", "credential database_url", read, must=False):
            return
        if environ.get("DATABASE_URL"):
            self.put(URL, environ["DATABASE_URL"], "environment DATABASE_URL")
            return
        url_file = self.get(("database", "url_file"))
        if isinstance(url_file, str) and url_file:
            self._url_from(Path(url_file), f"url_file {url_file}", read, must=True)

    def _url_from(self, path: Path, origin: str, read: Read, must: bool) -> bool:
        try:
            text = read(path)
        except ConfigError as error:
            self.mistakes.append(f"{origin}: {error}")
            return False
        if text is None and not must:
            return False
        if not (text or "").strip():
            self.mistakes.append(f"{origin}: {path} {'is empty' if text is not None else 'does not exist'}")
            return False
        self.put(URL, (text or "").strip(), origin)
        return True

    def check_exchanges(self) -> None:
        """Unknown names are taken out here, so that the mistakes inside the known ones are still found."""
        exchanges = self.values.get("exchanges")
        if isinstance(exchanges, dict):
            for name in [name for name in exchanges if name not in EXCHANGES]:
                del exchanges[name]
                self.mistakes.append(
                    f"exchanges.{clean(name, 40)}: unknown exchange; known are {' '.join(sorted(EXCHANGES))}"
                )

    def give_data_dir(self, environ: Mapping[str, str]) -> None:
        """Where an embedded database is kept when nobody said: the service's state, else the user's data folder."""
        if self.get(("database", "embedded")) is not True or self.get(("database", "data_dir")) is not None:
            return
        state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        data, home = environ.get("XDG_DATA_HOME"), environ.get("HOME")
        if state:
            self.put(("database", "data_dir"), f"{state}/postgres", "default, below STATE_DIRECTORY")
        elif data or home:
            self.put(("database", "data_dir"), f"{data or f'{home}/.local/share'}/marketd/postgres", "default")

    def validated(self, need_database: bool, read: Read) -> tuple[Settings, WebConfig]:
        web = WebConfig()
        try:
            settings = Settings.model_validate(self.values)
        except ValidationError as error:
            settings = None
            details = error.errors(include_url=False)
            self.mistakes += [explained(each) for each in details if each["type"] != "default_factory_not_called"]
        if settings is not None:
            self.mistakes += [*_orphans(settings.exchanges), *_no_archive(settings.exchanges)]
            self.mistakes += _no_database(settings.database) if need_database else []
            web = self._web(settings.http, read)
        if self.mistakes or settings is None:
            raise ConfigError("configuration refused:\n" + "\n".join(f"  {mistake}" for mistake in self.mistakes))
        return settings, web

    def _web(self, http: Http, read: Read) -> WebConfig:
        try:
            web = WebConfig() if http.web_config is None else web_config(http.web_config, read)
        except ConfigError as error:
            self.mistakes += [f"http.web_config: {line}" for line in str(error).splitlines()]
            return WebConfig()
        if http.needs_authentication and not web.authenticates:
            self.mistakes.append(
                f"http.web_config: {http.web_config} lets everybody read, and {http.listen} is open to the network: "
                "name users in basic_auth_users, or set client_auth_type to RequireAndVerifyClientCert"
            )
        return web


def _orphans(exchanges: Mapping[str, ExchangeSettings]) -> list[str]:
    """Parents that the exchange neither sends nor is told to build."""
    return [
        f"exchanges.{name}.derive: {child} = {parent!r}: {name} has no {parent}; "
        f"it sends {' '.join(EXCHANGES[name].timeframes)}"
        for name, settings in exchanges.items()
        for child, parent in settings.derive.items()
        if parent not in {*EXCHANGES[name].timeframes, *EXCHANGES[name].derived, *settings.derive}
    ]


def _no_archive(exchanges: Mapping[str, ExchangeSettings]) -> list[str]:
    """Addresses of archives that nobody would read."""
    return [
        f"exchanges.{name}.archive_url: {name} has no archive"
        for name, settings in exchanges.items()
        if settings.archive_url is not None and EXCHANGES[name].archive is None
    ]


def _no_database(database: Database) -> list[str]:
    if database.url is not None:
        return []
    if not database.embedded:
        return [
            "database.url: no database is named; set DATABASE_URL, [database] url or url_file, "
            "or embedded = true for a private PostgreSQL"
        ]
    return [] if database.data_dir else ["database.data_dir: say where the embedded database is to be kept"]


def scalar(text: str) -> Any:
    """A variable's text as TOML would read it after ``key =``; what is no TOML value is the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        read = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def _leaves(values: Mapping[str, Any], above: Place = ()) -> Iterator[Place]:
    for key, value in values.items():
        if (isinstance(value, Mapping) and model_of((*above, key)) is not None) or (above, key) == ((), "exchanges"):
            yield from _leaves(value if isinstance(value, Mapping) else {}, (*above, key))
        else:
            yield (*above, key)


def _is_section(field: FieldInfo) -> bool:
    annotation = field.annotation
    inside = get_args(annotation)
    return any(isinstance(part, type) and issubclass(part, BaseModel) for part in (annotation, *inside))


def _takes_text(field: FieldInfo) -> bool:
    """True where the key holds a text, so that ``1234`` in a variable stays one."""
    return not {bool, int, float, dict, tuple}.intersection(_types(field.annotation))


def _types(annotation: Any) -> Iterator[Any]:
    yield getattr(annotation, "__origin__", annotation)
    for part in get_args(annotation):
        yield from _types(part)


def settings_of(config: Config) -> Iterator[tuple[str, str, Any]]:
    """Every setting as (``section.key``, key, value), in the order of the manual."""
    sections: list[tuple[str, Section]] = [
        ("database", config.database),
        ("http", config.http),
        ("metrics", config.metrics),
    ]
    sections += [(f"exchanges.{name}", section) for name, section in sorted(config.exchanges.items())]
    sections += [("log", config.log), ("engine", config.engine), ("verify", config.verify)]
    sections += [("retention", config.retention)]
    for prefix, section in sections:
        for key in type(section).model_fields:
            yield f"{prefix}.{key}", key, getattr(section, key)
    for key in ("timeframes", "jobs_file", "owner"):
        yield key, key, getattr(config, key)


def describe(config: Config) -> tuple[Row, ...]:
    """Every setting with its value and origin, in the order of the manual, secrets masked."""
    return tuple(
        Row(place, shown(key, value), config.origins.get(place, "default")) for place, key, value in settings_of(config)
    )


def shown(key: str, value: Any) -> str:
    """A value as text; of a database URL or proxy the password is masked, of other secrets everything."""
    match value:
        case None:
            return ""
        case Secret():
            return masked_dsn(value.reveal()) if key in ("url", "proxy") else MASK
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case dict():
            return ", ".join(f"{child} = {parent}" for child, parent in value.items())
        case _:
            return MASK if key in SECRET_KEYS else str(value)
