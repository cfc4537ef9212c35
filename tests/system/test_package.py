"""The package over its whole life, on machines of its own: installed, upgraded, removed, purged."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import PACKAGES, ROOT, package
from tests.system.machine import Machine, booted, eventually
from tests.system.site import UNIT, Site, job


def inside(revision: int) -> str:
    """A package as the machine sees it."""
    return f"/packages/{package(revision).name}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def machine(rootfs: Path) -> Iterator[Machine]:
    """A machine without marketd."""
    with booted(rootfs, "package", PACKAGES) as machine:
        yield machine


def test_lintian_finds_no_error() -> None:
    said = subprocess.run(["lintian", "--fail-on", "error", package(1)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_same_commit_gives_the_same_package_wherever_it_is_built(tmp_path: Path) -> None:
    elsewhere = tmp_path / "a" / "longer" / "path"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        copy = elsewhere / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)
    (elsewhere / ".venv").symlink_to(ROOT / ".venv")
    date = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    subprocess.run(
        ["packaging/deb/build.sh", "1"], cwd=elsewhere, check=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": date.stdout.strip()},
    )  # fmt: skip
    (again,) = (elsewhere / "build" / "deb").glob("*.deb")
    assert again.name == package(1).name
    assert digest(again) == digest(package(1))


def test_an_installation_starts_nothing_and_says_where_to_read_on(machine: Machine) -> None:
    said = machine.do("dpkg", "--install", inside(1))
    assert "/usr/share/doc/marketd/docs/operations.md" in said
    machine.do("test", "-s", "/usr/share/doc/marketd/docs/operations.md")
    assert machine("systemctl", "is-enabled", UNIT).out.strip() == "disabled"
    assert machine("systemctl", "is-active", UNIT).out.strip() == "inactive"
    assert machine.do("marketd", "--version").startswith("marketd ")
    assert machine.do("dpkg", "--verify", "marketd") == ""
    assert "/etc/marketd/jobs.toml" in machine.do("dpkg-query", "--show", "--showformat=${Conffiles}", "marketd")


def test_an_upgrade_keeps_the_configuration_and_restarts_what_runs(machine: Machine) -> None:
    """fault_72."""
    machine.do("dpkg", "--install", inside(1))
    site = Site(machine)
    site.open_exchange()
    site.prepare()
    site.configure(job("backfill"))
    machine.do("systemctl", "enable", "--now", UNIT)
    before = site.pid
    machine.do("dpkg", "--install", "--force-confold", inside(2))
    assert site.state == "active running"
    assert site.pid != before
    assert machine.do("systemctl", "is-enabled", UNIT) == "enabled"
    assert 'job_type = "backfill"' in machine.do("cat", "/etc/marketd/jobs.toml")
    eventually(lambda: site.count("market_data_job_runs WHERE status = 'success'"), 60)
    machine.do("systemctl", "stop", UNIT)
    machine.do("dpkg", "--install", "--force-confold", inside(2))
    assert site.state == "inactive dead"  # what does not run is not started


def test_a_removal_keeps_the_configuration_and_a_purge_takes_all_but_the_database(machine: Machine) -> None:
    machine.do("dpkg", "--install", inside(1))
    site = Site(machine)
    site.open_exchange()
    site.prepare()
    site.configure(job("backfill"))
    machine.do("systemctl", "enable", "--now", UNIT)
    eventually(lambda: site.count("candles"), 60)
    machine.do("systemctl", "stop", "exchange")
    machine.do("dpkg", "--remove", "marketd")
    assert machine("pgrep", "--full", "/opt/marketd").code == 1
    assert machine.properties(UNIT, "LoadState") == ["not-found"]
    machine.do("test", "-e", "/etc/marketd/marketd.toml", "-a", "-e", "/etc/marketd/database_url")
    machine.do("dpkg", "--purge", "marketd")
    left = machine.do("find", "/", "-xdev", "-name", "*marketd*", "-not", "-path", "/var/log/*")
    assert left == ""
    assert site.count("candles") > 0
