"""What system tests share: one booted machine with the package installed, and a fresh site on it for each test.

Needs what `make test-system` prepares: packages in ``build/deb``, root, and the programs that `machine` names.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine, booted, missing
from tests.system.site import UNIT, UNITS, Site

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "deb"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine takes its time to come up, and a service to be killed and come back."""
    for item in items:
        item.add_marker(pytest.mark.timeout(240))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed shows what the machine's journal says of the units."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if isinstance(report, pytest.TestReport) and report.failed and isinstance(machine, Machine):
        for unit in UNITS:
            report.sections.append((f"journal of {unit}", machine.journal(unit, "--lines=200")))
        report.sections.append(("user units", machine.journal("user@*", "--lines=100")))
    return report


def package(revision: int) -> Path:
    found = list(PACKAGES.glob(f"marketd_*-{revision}_*.deb"))
    assert len(found) == 1, f"no package of revision {revision} in {PACKAGES}: run `make test-system`"
    return found[0]


@pytest.fixture(scope="session")
def rootfs() -> Path:
    lacking = missing()
    assert lacking is None, f"a machine cannot be booted here for want of {lacking}"
    script = ROOT / "tests" / "system" / "rootfs.sh"
    return Path(subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


@pytest.fixture(scope="session")
def machine(rootfs: Path) -> Iterator[Machine]:
    """A machine with the first package and the rehearsal exchange."""
    with booted(rootfs, "marketd", PACKAGES) as machine:
        machine.do("dpkg", "--install", f"/packages/{package(1).name}")
        machine.do("systemctl", "enable", UNIT)  # as an operator would; also: systemd remembers how it ended
        Site(machine).open_exchange()
        yield machine


@pytest.fixture
def site(machine: Machine) -> Iterator[Site]:
    """marketd configured and stopped, an empty database, an exchange without faults."""
    site = Site(machine)
    site.prepare()
    yield site
    site.clear()
    assert site.password not in machine.do("journalctl", "--no-pager", "--quiet", "--output=export", "--all")
