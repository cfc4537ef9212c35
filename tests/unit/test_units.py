"""The units and containers that are shipped name what there is, and belong together."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from marketd.cli.root import COMMANDS
from marketd.config import build
from marketd.jobfile import read_jobs
from marketd.settings import Database, Engine, Http, Log, Metrics, Section, Settings

ROOT = Path(__file__).parents[2]
NOW_MS = 1_798_761_600_000  # 2027-01-01
CONTAINER = ROOT / "packaging" / "container"
UNIT = ROOT / "marketd.service"
SYSTEMD = ROOT / "packaging" / "systemd"
UNITS = [UNIT, *SYSTEMD.glob("*.service"), *SYSTEMD.glob("user/*.service")]
TIMERS = sorted(SYSTEMD.glob("*.timer"))
# What the daemon needs and one round of repair does not: a port's metrics, files of its own, a command of systemd's.
ONLY_THE_DAEMON = {"StateDirectory=marketd", "RuntimeDirectory=marketd", "ProcSubset=all"}


def lines(unit: Path) -> list[str]:
    return [line for line in unit.read_text(encoding="utf-8").splitlines() if "=" in line and line[0] != "#"]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(YAML(typ="safe").load(CONTAINER / "compose.yaml")))
    return read


def test_the_units_are_found() -> None:
    assert len(UNITS) == 4


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.relative_to(ROOT)))
def test_a_unit_calls_commands_that_there_are(unit: Path) -> None:
    called = re.findall(r"^Exec\w+=.*/opt/marketd/bin/marketd (\S+)", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert called
    assert set(called) <= set(COMMANDS)


@pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer.stem)
def test_what_a_timer_starts_is_locked_in_like_the_daemon(timer: Path) -> None:
    daemon, started = lines(UNIT), lines(timer.with_suffix(".service"))
    start = next(index for index, line in enumerate(daemon) if line.startswith("Environment="))
    end = daemon.index("WantedBy=multi-user.target")
    own = ("ExecPaths=", "LoadCredential=")
    sandbox = {line for line in daemon[start:end] if not line.startswith(own)} - ONLY_THE_DAEMON
    assert sandbox <= set(started)
    assert any(line.startswith("LoadCredential=database_url:/etc/marketd/") for line in started)


@pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer.stem)
def test_a_timer_starts_a_unit_that_there_is(timer: Path) -> None:
    assert timer.with_suffix(".service").exists()
    assert not [line for line in lines(timer) if line.startswith("Unit=")]


def test_the_unit_gives_the_drain_its_time() -> None:
    stop = next(int(line.partition("=")[2]) for line in lines(UNIT) if line.startswith("TimeoutStopSec="))
    assert Engine().drain_s < stop / 2


@pytest.mark.parametrize("path", sorted(ROOT.glob("packaging/**/jobs.toml")), ids=lambda path: path.parent.name)
def test_a_job_file_that_is_shipped_is_accepted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.parent.name == "deb":  # an example: its entries are comments
        text = re.sub(r"^# (?=\[\[|\w+ = )", "", text, flags=re.MULTILINE)
    assert len(read_jobs(text, NOW_MS)) == 9


def test_the_package_is_configured_but_for_the_password() -> None:
    path = ROOT / "packaging" / "deb" / "marketd.toml"
    url = "postgresql://marketd_daemon:secret@localhost:5432/marketd"
    config = build(path.read_text(encoding="utf-8"), {}, Path("/etc/marketd/marketd.toml"), lambda path: url)
    assert config.jobs_file == Path("/etc/marketd/jobs.toml")
    assert config.database.url is not None


def test_the_containers_name_commands_settings_files_and_secrets_that_there_are() -> None:
    read = compose()
    sections: dict[str, type[Section]] = {
        "DATABASE": Database,
        "HTTP": Http,
        "METRICS": Metrics,
        "LOG": Log,
        "ENGINE": Engine,
    }
    for name, service in read["services"].items():
        if service["image"] == "marketd":
            assert service["command"][0] in COMMANDS
        for variable in service.get("environment", {}):
            if variable.startswith("MARKETD_") and variable != "MARKETD_RUN_DIR":
                section, _, key = variable.removeprefix("MARKETD_").rpartition("__")
                model = sections[section] if section else Settings
                assert key.lower() in model.model_fields, f"{name}: {variable}"
        assert set(service.get("secrets", ())) <= set(read["secrets"])
        assert set(service.get("depends_on", ())) <= set(read["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in read["volumes"] or (CONTAINER / source).exists(), f"{name}: {volume}"


def test_what_prometheus_scrapes_is_where_the_daemon_listens() -> None:
    service = compose()["services"]["marketd"]
    port = service["environment"]["MARKETD_HTTP__LISTEN"].rpartition(":")[2]
    scraped = YAML(typ="safe").load(CONTAINER / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == [f"marketd:{port}"]
    assert all(published.endswith(f":{port}") for published in service["ports"])
    assert f"EXPOSE {port}" in (CONTAINER / "Containerfile").read_text(encoding="utf-8")


def test_the_image_is_built_from_files_that_there_are() -> None:
    text = (CONTAINER / "Containerfile").read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in copied.split())
    for named in re.findall(r"packaging/\S+", text):
        assert (ROOT / named).exists()
