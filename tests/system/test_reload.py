"""``systemctl reload`` tells the truth."""

from tests.system.machine import Machine, eventually
from tests.system.site import UNIT, Site, job

ONE = job("gap_repair")
TWO = job("gap_repair", "ETHUSD")
BROKEN = '[[jobs]]\nexchange = "nowhere"\n'


def begin(site: Site) -> None:
    """Start with one job; it is in the table, so the file has been read."""
    site.configure(ONE)
    site.start()
    eventually(lambda: len(site.enabled()) == 1, 30)


def test_a_reload_returns_when_the_new_jobs_are_in_the_table(site: Site, machine: Machine) -> None:
    begin(site)
    site.jobs(ONE, TWO)
    machine.do("systemctl", "reload", UNIT)
    assert site.enabled() == [["gap_repair", "BTCUSD", "1h"], ["gap_repair", "ETHUSD", "1h"]]


def test_a_refused_reload_fails_and_changes_nothing(site: Site, machine: Machine) -> None:
    """fault_59."""
    begin(site)
    pid = site.pid
    site.jobs(ONE, TWO, BROKEN)
    assert machine("systemctl", "reload", UNIT).code == 1
    assert site.enabled() == [["gap_repair", "BTCUSD", "1h"]]
    assert (site.pid, site.state) == (pid, "active running")
    assert "reload refused, nothing has changed: /etc/marketd/jobs.toml" in machine.journal(UNIT)
    said = machine("marketd", "reload", "--wait")  # by hand, from outside of the sandbox
    assert said.code == 1
    assert "nowhere" in said.err
    site.jobs(ONE, TWO)
    assert "gap_repair bitfinex ETHUSD 1h" in machine.do("marketd", "reload", "--wait")
    assert len(site.enabled()) == 2


def test_twenty_reloads_in_a_row_tell_the_truth(site: Site, machine: Machine) -> None:
    """fault_59."""
    begin(site)
    told, true = [], []
    for number in range(20):
        wanted = [ONE, TWO] if number % 2 else [ONE]
        site.jobs(*wanted, *([BROKEN] if number % 3 == 2 else []))
        told.append(machine("systemctl", "reload", UNIT).code == 0)
        true.append(number % 3 != 2 and len(site.enabled()) == len(wanted))
    assert told == true
    assert told.count(True) == 14
