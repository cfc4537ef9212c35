"""What may be configured: the sections, their keys, defaults and what each accepts.

Owns the pydantic models and the wording of every refusal. Refuses unknown keys, values of another type, addresses
that would leak or reach inside, and to show a secret. Where the values come from is ``config``'s business.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails
from yarl import URL

from marketd.address import is_loopback
from marketd.cron import parse
from marketd.errors import UsageError
from marketd.exchanges import EXCHANGES
from marketd.secret import Secret, masked
from marketd.text import clean
from marketd.timeframe import TIMEFRAMES, Timeframe

DEFAULT_TIMEFRAMES: Final = ("1m", "5m", "15m", "1h", "4h", "1d")
_LISTEN: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", re.ASCII)
ACCOUNT_KEYS: Final = ("api_key", "api_secret")
SECRET_KEYS: Final = frozenset({"url", "proxy", *ACCOUNT_KEYS})


def _secret(value: object) -> object:
    return Secret(value.strip()) if isinstance(value, str) else value


def _path(value: object) -> object:
    if isinstance(value, str) and not value:
        raise ValueError("a path must not be empty")
    return Path(value) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _postgres_url(url: Secret) -> Secret:
    if not url.reveal().startswith(("postgresql://", "postgres://")):
        raise ValueError("accepted is a URL such as postgresql://user@host:5432/database")
    return url


def _http_url(text: str, schemes: tuple[str, ...]) -> URL:
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in schemes or not url.host or not port:
        raise ValueError(f"accepted is {' or '.join(f'{scheme}://host' for scheme in schemes)}")
    return url


def _base_url(text: str) -> str:
    url = _http_url(text, ("https", "http"))
    if url.user is not None or url.password is not None:
        raise ValueError("a user or password is not accepted in it")
    if url.query_string or url.fragment:
        raise ValueError("a query or fragment is not accepted in it")
    if url.scheme == "http" and not is_loopback(url.host or ""):
        raise ValueError("http is accepted for a loopback address only; write https")
    return str(url).rstrip("/")


def _proxy(proxy: Secret) -> Secret:
    _http_url(proxy.reveal(), ("http", "https"))
    return proxy


def _listen(text: str) -> str:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        raise ValueError("accepted is host:port, such as 127.0.0.1:8000 or [::1]:8000")
    return text


def _timeframes(value: object) -> object:
    """From a list, or the environment's ``1m,5m``."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError('accepted is a list such as ["1m", "1h"]')
    for name in names:
        if name not in TIMEFRAMES:
            raise ValueError(f"unknown timeframe {clean(name, 20)!r}; known are {' '.join(TIMEFRAMES)}")
    if len(set(names)) < len(names):
        raise ValueError("a timeframe is named twice")
    return tuple(names)


def whole_multiple(child: Timeframe, parent: Timeframe) -> bool:
    """True where every interval of ``child`` is made of whole intervals of ``parent``, and of more than one."""
    if parent.step_s == 0 or child == parent:
        return False
    if child.step_s == 0:
        return parent.step_s <= 86_400 and 86_400 % parent.step_s == 0
    same_grid = (child.anchor_s - parent.anchor_s) % parent.step_s == 0
    return child.step_s > parent.step_s and child.step_s % parent.step_s == 0 and same_grid


def _derive(derive: dict[str, str]) -> dict[str, str]:
    for child, parent in derive.items():
        for name in (child, parent):
            if name not in TIMEFRAMES:
                raise ValueError(f"unknown timeframe {clean(name, 20)!r}; known are {' '.join(TIMEFRAMES)}")
        if not whole_multiple(TIMEFRAMES[child], TIMEFRAMES[parent]):
            raise ValueError(f"{child} is not made of whole {parent} intervals; name a finer timeframe that divides it")
    return derive


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)


PathText = Annotated[Path, BeforeValidator(_path)]
SecretText = Annotated[Secret, BeforeValidator(_secret)]


class Database(Section):
    """Where the tables are. ``url`` wins over ``embedded``; ``auto_migrate`` defaults to true for the latter only.

    ``disk`` is a path on the database's file system, where this host sees it: backfills wait while less than
    ``least_free_mb`` is left there. ``pooler``: the URL leads to a pooler that gives each transaction whatever
    connection is free.
    """

    url: Annotated[SecretText, AfterValidator(_postgres_url)] | None = None
    url_file: PathText | None = None
    pooler: bool = False
    embedded: bool = False
    data_dir: PathText | None = None
    bin_dir: PathText | None = None
    disk: PathText | None = None
    least_free_mb: int = Field(default=1000, ge=0, le=100_000_000)
    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")] | None = None
    auto_migrate: bool = Field(default_factory=lambda given: bool(given.get("embedded")) and given.get("url") is None)

    @property
    def uses_embedded(self) -> bool:
        return self.embedded and self.url is None


class Http(Section):
    """Who is meant by ``web_config`` is read with the rest of the configuration (see ``webconfig``)."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8000"
    web_config: PathText | None = None
    trust_network: bool = False

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def needs_authentication(self) -> bool:
        """True where others than this host reach the port, and nobody has said that they may all read it."""
        return not self.trust_network and not is_loopback(self.host)

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.needs_authentication and self.web_config is None:
            raise ValueError(
                f"listen = {clean(self.listen, 60)!r} is open to the network: listen on 127.0.0.1, "
                "name those who may read it in a web_config, "
                "or set trust_network = true where everybody on that network may read everything"
            )
        return self


class Metrics(Section):
    """``series_limit``: how many series at most have metrics of their own."""

    series_limit: int = Field(default=1000, ge=0, le=1_000_000)


class ExchangeSettings(Section):
    """One exchange; None means what its adapter knows. The key of an account is not needed for public candles: what it
    may do is asked by ``marketd check --exchange``, at ``auth_url``.

    ``share``: other programs ask it from the same address, and take turns with marketd by ``marketd_reserve()``; while
    the database cannot be asked for a turn, this part of ``requests_per_minute`` is used. ``archive``: whole months of
    history come from the exchange's archive, where it has one; with another ``base_url`` only from an ``archive_url``.
    """

    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    requests_per_minute: float | None = Field(default=None, gt=0, le=600_000, allow_inf_nan=False)
    share: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    page_limit: int | None = Field(default=None, ge=2, le=10_000)
    archive: bool = True
    archive_url: Annotated[str, AfterValidator(_base_url)] | None = None
    proxy: Annotated[SecretText, AfterValidator(_proxy)] | None = None
    derive: Annotated[dict[str, str], AfterValidator(_derive)] = Field(default_factory=dict)
    api_key: SecretText | None = None
    api_secret: SecretText | None = None
    auth_url: Annotated[str, AfterValidator(_base_url)] | None = None

    @property
    def without_account(self) -> Self:
        return self.model_copy(update=dict.fromkeys(ACCOUNT_KEYS))


class Log(Section):
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["auto", "text", "json"], BeforeValidator(_lower)] = "auto"


class Engine(Section):
    settle_s: float = Field(default=120.0, ge=0, le=86_400, allow_inf_nan=False)
    drain_s: float = Field(default=20.0, ge=0, le=3600, allow_inf_nan=False)
    page_allowance: int = Field(default=10, ge=1, le=10_000)


def _schedule(text: str) -> str:
    if text:
        try:
            parse(text)
        except UsageError as error:
            raise ValueError(str(error)) from error
    return text


class Verify(Section):
    """``schedule``: when the daemon holds a sample of the tables against every promise; empty: never."""

    schedule: Annotated[str, AfterValidator(_schedule)] = "30 3 * * *"


def _days(days: dict[str, int]) -> dict[str, int]:
    for name, count in days.items():
        if name not in TIMEFRAMES:
            raise ValueError(f"unknown timeframe {clean(name, 20)!r}; known are {' '.join(TIMEFRAMES)}")
        if not 2 <= count <= 36_500:
            raise ValueError(f"{count} days of {name} are not between 2 and 36500")
    return days


class Retention(Section):
    """For how many days what has ended is kept, and ``candles`` by timeframe: others for ever. ``marketd prune`` takes
    away what is older.
    """

    runs_days: int = Field(default=90, ge=2, le=36_500)
    gaps_days: int = Field(default=365, ge=2, le=36_500)
    revisions_days: int = Field(default=365, ge=2, le=36_500)
    candles: Annotated[dict[str, int], AfterValidator(_days)] = Field(default_factory=dict)


def _known_exchanges(exchanges: dict[str, ExchangeSettings]) -> dict[str, ExchangeSettings]:
    return {name: exchanges.get(name, ExchangeSettings()) for name in EXCHANGES}


class Settings(Section):
    """The whole file. ``exchanges`` holds every exchange marketd knows, configured or not."""

    database: Database = Field(default_factory=Database)
    http: Http = Field(default_factory=Http)
    metrics: Metrics = Field(default_factory=Metrics)
    exchanges: Annotated[dict[str, ExchangeSettings], AfterValidator(_known_exchanges)] = Field(
        default_factory=dict, validate_default=True
    )
    log: Log = Field(default_factory=Log)
    engine: Engine = Field(default_factory=Engine)
    verify: Verify = Field(default_factory=Verify)
    retention: Retention = Field(default_factory=Retention)
    jobs_file: PathText | None = None
    timeframes: Annotated[tuple[str, ...], BeforeValidator(_timeframes)] = DEFAULT_TIMEFRAMES
    owner: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] | None = None


PATHS: Final = (
    ("database", "url_file"), ("database", "data_dir"), ("database", "bin_dir"), ("database", "disk"),
    ("http", "web_config"), ("jobs_file",),
)  # fmt: skip
"""The keys that hold a path, relative in the file to the file's own folder."""


def model_of(place: tuple[str, ...]) -> type[Section] | None:
    """The model of the section at ``place``, None where there is no section."""
    match place:
        case ():
            return Settings
        case ("exchanges", name) if name in EXCHANGES:
            return ExchangeSettings
        case (name,):
            return _SECTIONS.get(name)
        case _:
            return None


_SECTIONS: Final[dict[str, type[Section]]] = {
    "database": Database, "http": Http, "metrics": Metrics, "log": Log, "engine": Engine,
    "verify": Verify, "retention": Retention,
}  # fmt: skip

_ACCEPTED: Final = {
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "a table",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "is_instance_of": "a text in quotes",
    "finite_number": "a number",
    "string_pattern_mismatch": "letters, digits, dot, dash and underscore",
}


def explained(detail: ErrorDetails) -> str:
    """One line on one mistake: the key, its value unless secret, and what is accepted."""
    place = tuple(str(part) for part in detail["loc"])
    key = ".".join(clean(part, 40) for part in place)
    if detail["type"] == "extra_forbidden":
        model = model_of(place[:-1])
        return f"{key}: unknown key; known are {' '.join(model.model_fields) if model else 'none here'}"
    accepted = _ACCEPTED.get(detail["type"])
    said = f"accepted is {accepted}" if accepted else detail["msg"].removeprefix("Value error, ")
    said = said.replace("Input should be", "accepted is")
    return f"{key}: {_shown(place, detail['input'])}{said}"


def _shown(place: tuple[str, ...], value: Any) -> str:
    """The value of a key that is no secret; whole sections are not shown, a secret may sit anywhere in them."""
    model = model_of(place[:-1])
    secret = model is None or place[-1] in SECRET_KEYS or place[-1] not in model.model_fields
    if secret or model_of(place) is not None or isinstance(value, Mapping):
        return ""
    return f"{clean(masked(repr(value)), 80)}: "
