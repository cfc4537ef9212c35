"""Configuration: what is accepted, what wins, what is said about mistakes, and that no secret is ever shown."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from marketd.config import Config, Row, build, describe, find, load, scalar
from marketd.errors import ConfigError
from marketd.jobfile import read_jobs
from marketd.model import JobType
from marketd.secret import Secret
from marketd.settings import whole_multiple
from marketd.timeframe import TIMEFRAMES

FILE = Path("/srv/config/marketd.toml")
CANARY = "S3cr3t-canary"
URL = f"postgresql://user:{CANARY}@host:5432/db"
ROOT = Path(__file__).parents[2]


def config(
    text: str = "",
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    need_database: bool = False,
) -> Config:
    return build(text, environ or {}, FILE, lambda path: (files or {}).get(str(path)), need_database)


def refused(
    text: str = "",
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    need_database: bool = False,
) -> str:
    with pytest.raises(ConfigError) as caught:
        config(text, environ, files, need_database)
    said = str(caught.value)
    assert CANARY not in said
    assert all(line.isprintable() for line in said.splitlines())
    assert caught.value.exit_code == 78
    return said


def row(made: Config, key: str) -> Row:
    return next(each for each in describe(made) if each.key == key)


class TestDefaults:
    def test_of_an_empty_file(self) -> None:
        made = config()
        assert (made.http.host, made.http.port) == ("127.0.0.1", 8000)
        assert made.timeframes == ("1m", "5m", "15m", "1h", "4h", "1d")
        assert (made.engine.settle_s, made.engine.drain_s, made.engine.page_allowance) == (120, 20, 10)
        assert (made.log.level, made.log.format) == ("info", "auto")
        assert made.metrics.series_limit == 1000
        assert made.exchanges["bitfinex"].base_url is None
        assert made.owner is None
        assert made.jobs_file is None

    def test_the_file_that_ships(self) -> None:
        path = ROOT / "config" / "marketd.toml"
        made = build(path.read_text(), {}, path, lambda _: None)
        assert made.database.uses_embedded
        assert made.database.auto_migrate
        assert made.database.data_dir == ROOT / "config" / ".." / "var" / "postgres"
        assert made.jobs_file == ROOT / "config" / "jobs.toml"

    def test_every_key_stands_in_the_file_that_ships(self) -> None:
        shipped = (ROOT / "config" / "marketd.toml").read_text()
        account = {"api_key", "api_secret"}  # they belong into the environment
        keys = {each.key.rpartition(".")[2] for each in describe(config())} - account
        assert {key for key in keys if f"{key} = " not in shipped} == set()

    def test_the_examples_in_the_file_that_ships_are_accepted(self) -> None:
        shipped = (ROOT / "config" / "marketd.toml").read_text()
        text = re.sub(r"^# (?=[a-z_]+ = |\[)", "", shipped, flags=re.MULTILINE)
        assert text.count("\n# ") < shipped.count("\n# ") - 15
        assert config(text, files={"/etc/marketd/database_url": URL, "/srv/config/web.toml": ""}).exchanges[
            "bitfinex"
        ].derive == {
            "4h": "1h",
            "1h": "1m",
        }

    def test_the_jobs_that_ship_are_the_seed_s_own(self) -> None:
        specs = read_jobs((ROOT / "config" / "jobs.toml").read_text(), now_ms=1_767_225_600_000)
        schedules = {spec.job_type: spec.schedule for spec in specs}
        assert schedules == {
            JobType.CONTINUOUS: "*/5 * * * *",
            JobType.GAP_REPAIR: "0 2 * * *",
            JobType.BACKFILL: None,
        }
        assert len(specs) == 27


class TestOrder:
    def test_of_the_file(self) -> None:
        environ = {"MARKETD_CONFIG": "/env.toml"}
        assert find(Path("/opt.toml"), environ, lambda _: True) == Path("/opt.toml")
        assert find(None, environ, lambda _: True) == Path("/env.toml")
        assert find(None, {}, lambda _: True) == Path("config/marketd.toml")
        assert find(None, {"MARKETD_CONFIG": ""}, lambda path: path.is_absolute()) == Path("/etc/marketd/marketd.toml")
        assert find(None, {}, lambda _: False) is None

    def test_of_the_url(self) -> None:
        """fault_70."""
        text = '[database]\nurl = "postgresql://a/file"\nurl_file = "url"'
        files = {"/srv/config/url": "postgresql://a/url_file\n", "/run/cred/database_url": "postgresql://a/cred\n"}
        environ = {
            "MARKETD_DATABASE__URL": "postgresql://a/own",
            "CREDENTIALS_DIRECTORY": "/run/cred",
            "DATABASE_URL": "postgresql://a/borrowed",
        }
        expected = [
            ("postgresql://a/own", "environment MARKETD_DATABASE__URL"),
            ("postgresql://a/cred", "credential database_url"),
            ("postgresql://a/borrowed", "environment DATABASE_URL"),
            ("postgresql://a/url_file", "url_file /srv/config/url"),
        ]
        for (url, origin), name in zip(expected, [*environ, None], strict=True):
            made = config(text, environ, files)
            assert made.database.url == Secret(url)
            assert made.origins["database.url"] == origin
            if name is not None:
                environ.pop(name)
        without = config(text.partition("\nurl_file")[0])
        assert without.database.url == Secret("postgresql://a/file")
        assert without.origins["database.url"] == f"file {FILE}"

    def test_a_credential_folder_without_the_url_is_passed_over(self) -> None:
        made = config(environ={"CREDENTIALS_DIRECTORY": "/run/cred", "DATABASE_URL": URL})
        assert made.origins["database.url"] == "environment DATABASE_URL"

    def test_the_environment_wins_over_the_file(self) -> None:
        text = 'timeframes = ["1m"]\njobs_file = "a.toml"\n[http]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "debug"'
        made = config(
            text,
            {
                "TIMEFRAMES": "1m, 1h",
                "MARKETD_HTTP__LISTEN": "127.0.0.1:2",
                "MARKETD_JOBS_FILE": "b.toml",
                "MARKETD_LOG__LEVEL": "WARNING",
                "BITFINEX_API_KEY": CANARY,
            },
        )
        assert made.timeframes == ("1m", "1h")
        assert made.http.port == 2
        assert made.jobs_file == Path("b.toml"), "relative to the current directory, not to the file"
        assert made.log.level == "warning"
        assert made.exchanges["bitfinex"].api_key == Secret(CANARY)

    def test_marketd_s_own_variable_wins_over_a_borrowed_one(self) -> None:
        assert config(environ={"TIMEFRAMES": "1m", "MARKETD_TIMEFRAMES": "1h"}).timeframes == ("1h",)

    def test_an_empty_variable_counts_as_not_set(self) -> None:
        made = config(
            "[http]\nlisten = '127.0.0.1:1'", {"MARKETD_HTTP__LISTEN": "", "DATABASE_URL": "", "MARKETD_X": ""}
        )
        assert made.http.port == 1
        assert made.database.url is None

    def test_paths_of_the_file_start_at_its_folder(self) -> None:
        made = config('jobs_file = "jobs.toml"\n[database]\ndata_dir = "../var"\nbin_dir = "/usr/bin"')
        assert made.jobs_file == Path("/srv/config/jobs.toml")
        assert made.database.data_dir == Path("/srv/config/../var")
        assert made.database.bin_dir == Path("/usr/bin")


class TestExchange:
    def test_what_is_not_configured_is_what_its_adapter_knows(self) -> None:
        made = config()
        assert made.base_url_of("bitfinex") == "https://api-pub.bitfinex.com/v2"
        assert made.requests_per_minute_of("bitfinex") == 24
        assert made.page_limits_of("bitfinex") == (10_000, 5_000, 1_000, 120)
        assert made.proxy_of("bitfinex") is None
        assert made.derive["bitfinex"] == {"1w": "1d", "2w": "1d", "1M": "1d"}

    def test_what_is_configured_wins(self) -> None:
        made = config(
            '[exchanges.bitfinex]\nbase_url = "http://127.0.0.1:1"\nrequests_per_minute = 6\npage_limit = 2000\n'
            'proxy = "http://u:p@proxy:3128"\nderive = {"4h" = "1h"}'
        )
        assert made.base_url_of("bitfinex") == "http://127.0.0.1:1"
        assert made.requests_per_minute_of("bitfinex") == 6
        assert made.page_limits_of("bitfinex") == (2_000, 1_000, 120)
        assert made.proxy_of("bitfinex") == "http://u:p@proxy:3128"
        assert made.derive["bitfinex"] == {"1w": "1d", "2w": "1d", "1M": "1d", "4h": "1h"}


class TestArchive:
    def test_is_the_one_that_the_adapter_knows_where_it_knows_one(self) -> None:
        assert config().archive_url_of("binance") == "https://data.binance.vision"
        assert config().archive_url_of("bitfinex") is None

    def test_may_be_turned_off_or_named(self) -> None:
        assert config("[exchanges.binance]\narchive = false").archive_url_of("binance") is None
        named = config('[exchanges.binance]\narchive_url = "http://127.0.0.1:8099"')
        assert named.archive_url_of("binance") == "http://127.0.0.1:8099"

    def test_is_never_that_of_another_exchange_than_the_one_that_is_asked(self) -> None:
        other = '[exchanges.binance]\nbase_url = "http://127.0.0.1:8099"\n'
        assert config(other).archive_url_of("binance") is None
        both = config(other + 'archive_url = "http://127.0.0.1:8099"')
        assert both.archive_url_of("binance") == "http://127.0.0.1:8099"

    def test_that_nobody_would_read_is_refused(self) -> None:
        said = refused('[exchanges.bitfinex]\narchive_url = "https://data.binance.vision"')
        assert "exchanges.bitfinex.archive_url: bitfinex has no archive" in said


class TestVariables:
    def test_reach_every_key(self) -> None:
        made = config(
            environ={
                "MARKETD_DATABASE__EMBEDDED": "true",
                "MARKETD_DATABASE__DATA_DIR": "/d",
                "MARKETD_DATABASE__BIN_DIR": "/b",
                "MARKETD_DATABASE__AUTO_MIGRATE": "False",
                "MARKETD_HTTP__TRUST_NETWORK": "true",
                "MARKETD_HTTP__LISTEN": "0.0.0.0:9000",
                "MARKETD_EXCHANGES__BITFINEX__BASE_URL": "http://127.0.0.1:9001/v2",
                "MARKETD_EXCHANGES__BITFINEX__REQUESTS_PER_MINUTE": "12.5",
                "MARKETD_EXCHANGES__BITFINEX__PAGE_LIMIT": "1000",
                "MARKETD_EXCHANGES__BITFINEX__PROXY": "http://proxy:3128",
                "MARKETD_EXCHANGES__BITFINEX__DERIVE": '{"4h" = "1h"}',
                "MARKETD_ENGINE__SETTLE_S": "5",
                "MARKETD_METRICS__SERIES_LIMIT": "0",
                "MARKETD_TIMEFRAMES": '["1m"]',
                "MARKETD_OWNER": "1234",
            }
        )
        exchange = made.exchanges["bitfinex"]
        assert made.database.uses_embedded
        assert not made.database.auto_migrate
        assert (made.http.host, made.http.port) == ("0.0.0.0", 9000)
        assert exchange.base_url == "http://127.0.0.1:9001/v2"
        assert (exchange.requests_per_minute, exchange.page_limit) == (12.5, 1000)
        assert made.derive["bitfinex"]["4h"] == "1h"
        assert made.derive["bitfinex"]["1w"] == "1d"
        assert made.engine.settle_s == 5
        assert made.metrics.series_limit == 0
        assert made.owner == "1234", "a text stays a text"

    @pytest.mark.parametrize(
        "name",
        ["MARKETD_HTTP__LISTN", "MARKETD_HTTP", "MARKETD_FOO", "MARKETD_EXCHANGES__KRAKN__PROXY", "MARKETD_A__B__C"],
    )
    def test_that_name_no_setting_are_refused_by_name(self, name: str) -> None:
        assert f"{name}: names no setting" in refused(environ={name: CANARY})

    def test_that_are_no_settings_are_left_alone(self) -> None:
        others = {"MARKETD_CONFIG": "x", "MARKETD_TEST_PG": "x", "MARKETD_RECORDED_DATA": "x", "PATH": "x"}
        assert config(environ=others).origins == config().origins

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1),
            ("1.5", 1.5),
            ("true", True),
            ("FALSE", False),
            ("abc", "abc"),
            ('["a"]', ["a"]),
            ("1\nb = 2", "1\nb = 2"),
        ],
    )
    def test_are_read_as_toml_values(self, text: str, value: object) -> None:
        assert scalar(text) == value


class TestRefused:
    def test_all_mistakes_at_once_each_with_key_value_and_cure(self) -> None:
        said = refused(
            """
            bogus = 1
            timeframes = ["1m", "7x"]
            owner = "a b"
            jobs_file = 5
            [database]
            embedded = "yes"
            [http]
            listen = "nowhere"
            [exchanges.bitfinex]
            page_limit = 1.5
            requests_per_minute = -3
            [exchanges.krakn]
            page_limit = 1
            [metrics]
            series_limit = -1
            [log]
            level = "loud"
            [engine]
            settle_s = nan
            page_allowance = true
            """,
            {"MARKETD_ENGINE__DRAIN_S": "soon"},
        )
        for mistake in (
            "bogus: unknown key; known are database http",
            "timeframes: ['1m', '7x']: unknown timeframe '7x'; known are 1m",
            "owner: 'a b': accepted is letters",
            "jobs_file: 5: accepted is a text",
            "database.embedded: 'yes': accepted is true or false",
            "http.listen: 'nowhere': accepted is host:port",
            "exchanges.bitfinex.page_limit: 1.5: accepted is a whole number",
            "exchanges.bitfinex.requests_per_minute: -3: accepted is greater than 0",
            "exchanges.krakn: unknown exchange; known are binance bitfinex",
            "metrics.series_limit: -1: accepted is greater than or equal to 0",
            "log.level: 'loud': accepted is 'debug'",
            "engine.settle_s: nan: accepted is a number",
            "engine.drain_s: 'soon': accepted is a number",
            "engine.page_allowance: True: accepted is a whole number",
        ):
            assert mistake in said
        assert len(said.splitlines()) == 15

    @pytest.mark.parametrize(
        "text",
        [
            f'[database]\nurl = "mysql://u:{CANARY}@h/d"',
            f'database = "{URL}"',
            f'[database]\nembedded = "{URL}"',
            f'[http]\nlisten = "{URL}"',
            f'[storage]\nurl = "{URL}"',
            f'exchanges = "{URL}"',
            f'[exchanges]\nbitfinex = "{CANARY}"',
            f'[exchanges.bitfinex]\nbase_url = "https://u:{CANARY}@h/"',
            f'[exchanges.bitfinex]\nproxy = "socks5://u:{CANARY}@h:1"',
            f'[exchanges.bitfinex]\napi_key = ["{CANARY}"]',
            f'[exchanges.bitfinex]\napi_secret = {{a = "{CANARY}"}}',
        ],
    )
    def test_without_showing_a_secret(self, text: str) -> None:
        assert CANARY not in refused(text)

    def test_a_file_that_is_no_toml(self) -> None:
        assert f"{FILE}: is not TOML" in refused("= =")
        assert "nested too deeply" in refused("a = " + "[" * 100_000)

    def test_no_database_at_all_names_the_cure(self) -> None:
        said = refused(need_database=True)
        assert "DATABASE_URL" in said
        assert "embedded = true" in said

    def test_an_embedded_database_without_a_place(self) -> None:
        text = "[database]\nembedded = true"
        assert "database.data_dir" in refused(text, need_database=True)
        assert config(text, {"HOME": "/h"}).database.data_dir == Path("/h/.local/share/marketd/postgres")
        assert config(text, {"HOME": "/h", "XDG_DATA_HOME": "/x"}).database.data_dir == Path("/x/marketd/postgres")
        assert config(text, {"STATE_DIRECTORY": "/v:/w"}).database.data_dir == Path("/v/postgres")

    def test_a_url_file_that_is_missing_or_empty(self) -> None:
        """fault_70."""
        text = '[database]\nurl_file = "/secret/url"'
        assert "/secret/url does not exist" in refused(text)
        assert "/secret/url is empty" in refused(text, files={"/secret/url": "\n"})

    def test_a_url_file_that_is_not_needed_is_not_read(self) -> None:
        assert config('[database]\nurl_file = "/secret/url"', {"DATABASE_URL": URL}).database.url == Secret(URL)

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/v2",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "https://user@example.com/",
            "https://example.com/?a=1",
            "https://example.com/#a",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://",
            "example.com",
            "https://example.com:99999/",
            "",
        ],
    )
    def test_a_base_url_that_leaks_or_reaches_inside(self, url: str) -> None:
        assert "exchanges.bitfinex.base_url" in refused(f'[exchanges.bitfinex]\nbase_url = "{url}"')

    @pytest.mark.parametrize(
        "url", ["https://example.com/v2", "http://localhost:1/v2", "http://[::1]:1", "http://127.9.9.9"]
    )
    def test_but_not_these(self, url: str) -> None:
        assert config(f'[exchanges.bitfinex]\nbase_url = "{url}/"').exchanges["bitfinex"].base_url == url

    @pytest.mark.parametrize(
        "listen",
        ["8000", ":8000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:80", "a b:80", "[::1:80", "1@2:80"],
    )
    def test_a_listen_that_is_no_address(self, listen: str) -> None:
        assert "http.listen" in refused(f'[http]\nlisten = "{listen}"')

    @pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "192.168.1.5:80", "example.com:80"])
    def test_a_listen_that_is_open_to_the_network(self, listen: str) -> None:
        text = f'[http]\nlisten = "{listen}"\n'
        assert "trust_network = true" in refused(text)
        assert config(text + "trust_network = true").http.listen == listen

    @pytest.mark.parametrize(
        ("derive", "said"),
        [
            ('{"4h" = "3h"}', "4h is not made of whole 3h intervals"),
            ('{"1h" = "1h"}', "1h is not made of whole 1h intervals"),
            ('{"1h" = "4h"}', "1h is not made of whole 4h intervals"),
            ('{"1d" = "1M"}', "not made of whole"),
            ('{"4x" = "1h"}', "unknown timeframe '4x'"),
            ('{"4h" = 1}', "accepted is a text"),
            ('{"4h" = "2h"}', "bitfinex has no 2h"),
        ],
    )
    def test_a_derived_timeframe_that_cannot_be_built(self, derive: str, said: str) -> None:
        assert said in refused(f"[exchanges.bitfinex]\nderive = {derive}")


class TestWholeMultiple:
    @pytest.mark.parametrize(
        ("child", "parent", "whole"),
        [
            ("1h", "1m", True),
            ("12h", "8h", False),
            ("1w", "1d", True),
            ("1w", "4h", True),
            ("2w", "1w", True),
            ("1M", "1d", True),
            ("1M", "1w", False),
            ("1d", "1d", False),
            ("1m", "1h", False),
        ],
    )
    def test_by_example(self, child: str, parent: str, whole: bool) -> None:
        assert whole_multiple(TIMEFRAMES[child], TIMEFRAMES[parent]) is whole


class TestDescribe:
    def test_shows_every_value_with_its_origin(self) -> None:
        made = config("[engine]\nsettle_s = 60", {"MARKETD_LOG__FORMAT": "json"})
        assert row(made, "engine.settle_s") == ("engine.settle_s", "60.0", f"file {FILE}")
        assert row(made, "log.format") == ("log.format", "json", "environment MARKETD_LOG__FORMAT")
        assert row(made, "http.listen") == ("http.listen", "127.0.0.1:8000", "default")
        assert row(made, "timeframes").value == "1m,5m,15m,1h,4h,1d"

    def test_masks_what_is_secret_and_only_that(self) -> None:
        made = config(
            f'[exchanges.bitfinex]\nproxy = "http://u:{CANARY}@proxy:3128"',
            {"DATABASE_URL": URL, "BITFINEX_API_KEY": CANARY, "BITFINEX_API_SECRET": CANARY},
        )
        assert row(made, "database.url").value == "postgresql://user:***@host:5432/db"
        assert row(made, "exchanges.bitfinex.proxy").value == "http://u:***@proxy:3128"
        assert row(made, "exchanges.bitfinex.api_key").value == "***"
        assert CANARY not in f"{made!r} {made} {describe(made)}"
        with pytest.raises(TypeError):
            pickle.dumps(made)

    def test_an_embedded_database_that_a_url_overrules_is_not_migrated_unasked(self) -> None:
        made = config("[database]\nembedded = true", {"DATABASE_URL": URL})
        assert not made.database.uses_embedded
        assert not made.database.auto_migrate


class TestLoad:
    def test_reads_the_file_and_what_it_names(self, tmp_path: Path) -> None:
        (tmp_path / "marketd.toml").write_text('jobs_file = "jobs.toml"\n[database]\nurl_file = "url"')
        (tmp_path / "url").write_text(f"{URL}\n")
        made = load(tmp_path / "marketd.toml", {})
        assert made.database.url == Secret(URL)
        assert made.jobs_file == tmp_path / "jobs.toml"
        assert made.file == tmp_path / "marketd.toml"
        assert made == load(None, {"MARKETD_CONFIG": str(tmp_path / "marketd.toml")})
        assert made != replace(made, owner="x")

    def test_a_named_file_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no such file"):
            load(tmp_path / "none.toml", {})

    def test_what_is_no_text_or_no_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "latin.toml").write_bytes(b'owner = "\xfc"')
        with pytest.raises(ConfigError, match="not UTF-8"):
            load(tmp_path / "latin.toml", {})
        with pytest.raises(ConfigError, match="cannot be read"):
            load(tmp_path, {})

    def test_without_any_file_the_environment_is_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(None, {"DATABASE_URL": URL}).database.url == Secret(URL)
