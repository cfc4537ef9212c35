"""The unit under a real systemd: start, stop, death, watchdog, signals, refusal, sandbox."""

import re

import pytest

from tests.system.machine import Machine, eventually
from tests.system.site import UNIT, Site, day, job

BACKFILL = job("backfill", timeframe="1m", more=f"start = {day(-24)}")
EVERY_MINUTE = 'schedule = "* * * * *"'
MOST_EXPOSED = 1.1  # below it: no network, no /proc, or an address list, none of which the program can do with


def test_start_returns_when_the_daemon_is_ready_and_it_works(site: Site, machine: Machine) -> None:
    site.configure(BACKFILL)
    site.start()
    assert machine.do("systemctl", "is-active", UNIT) == "active"
    assert site.get("/livez")
    eventually(lambda: site.count("candles") > 1000, 30)
    eventually(lambda: machine.properties(UNIT, "StatusText") == ["1 jobs, 1 series"], 30)
    assert site.sql("SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'marketd%'") == [
        ["marketd_daemon"]
    ]


def test_the_sandbox_is_as_tight_as_the_program_allows(site: Site, machine: Machine) -> None:
    said = machine.do("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"Overall exposure level for marketd\.service: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= MOST_EXPOSED, said
    machine.do("systemd-analyze", "verify", UNIT, "market-data-gap-repair.timer", "marketd-prune.timer")
    site.configure(BACKFILL)
    site.start()
    eventually(lambda: site.count("market_data_job_runs WHERE status = 'success'"), 60)
    metrics = site.get("/metrics")
    assert "process_resident_memory_bytes" in metrics
    assert "process_open_fds" in metrics
    assert machine.properties(UNIT, "NRestarts", "ExecMainStatus") == ["0", "0"]
    # From within: no shell to start, nothing to write, no other process to see.
    inside = ("nsenter", f"--target={site.pid}", "--mount", "--wd=/")
    assert "Permission denied" in machine(*inside, "/bin/true").err
    uid, umask = machine.do("sh", "-c", f"awk '/^(Uid|Umask)/ {{ print $2 }}' /proc/{site.pid}/status").split()[::-1]
    assert (uid != "0", umask) == (True, "0077")


def test_a_killed_daemon_is_started_again_and_tells_how_its_runs_ended(site: Site, machine: Machine) -> None:
    """fault_9, fault_1."""
    site.faults({"kind": "latency", "delay_s": 5, "asks": ["candles"]})
    site.configure(
        BACKFILL, job("continuous", "ETHUSD", "1m", EVERY_MINUTE), job("continuous", "LTCUSD", "1m", EVERY_MINUTE)
    )
    site.start()
    running = (
        "SELECT r.id, r.job_id, r.scheduled_for FROM market_data_job_runs r JOIN market_data_jobs j ON j.id = r.job_id"
        " WHERE r.status = 'running' AND j.schedule <> '' ORDER BY r.id"
    )
    eventually(lambda: len(site.sql(running)) == 2, 90, "both firings under way")
    before, fired = site.pid, site.sql(running)
    machine.do("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    orphans = [number for (number,) in site.sql("SELECT id FROM market_data_job_runs WHERE status = 'running'")]
    assert {number for number, _, _ in fired} <= set(orphans)
    eventually(lambda: site.state == "active running" and site.pid not in (0, before), 20)
    assert site.restarts == 1
    site.faults()
    ended = f"SELECT DISTINCT status FROM market_data_job_runs WHERE id IN ({', '.join(orphans)})"
    eventually(lambda: site.sql(ended) == [["interrupted"]], 30)
    # Each job is fired again, at a later time; no firing is repeated.
    jobs, newest, last = ", ".join(number for _, number, _ in fired), fired[0][2], max(map(int, orphans))
    again = f"market_data_job_runs WHERE job_id IN ({jobs}) AND id > {last}"
    eventually(lambda: site.count(f"{again} AND status = 'success'") >= 2, 90)
    assert site.count(f"{again} AND scheduled_for <= '{newest}'") == 0
    assert machine.do("marketd", "verify")


def test_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again(site: Site, machine: Machine) -> None:
    """fault_7."""
    site.drop_in("WatchdogSec=3\nRestartSec=100ms")
    site.start()
    before = site.pid
    machine.do("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    eventually(lambda: site.pid not in (0, before), 2 * 3)
    eventually(lambda: site.state == "active running", 10)
    assert "Watchdog timeout" in machine.journal(UNIT)


@pytest.mark.parametrize("fault", [{"kind": "latency", "delay_s": 0.5}, {"kind": "hang"}], ids=["slow", "hangs"])
def test_stop_during_a_backfill_ends_in_time_and_with_0(site: Site, machine: Machine, fault: dict[str, object]) -> None:
    """fault_2."""
    site.configure(BACKFILL, exchange="page_limit = 1000", more="[engine]\ndrain_s = 3")
    site.faults({**fault, "asks": ["candles"]})
    site.start()
    eventually(lambda: site.count("market_data_job_runs WHERE status = 'running'"), 30)
    if fault["kind"] == "latency":
        eventually(lambda: site.count("candles"), 30)
    machine.do("systemctl", "stop", UNIT, timeout_s=20)
    assert machine.properties(UNIT, "Result", "ExecMainCode", "ExecMainStatus") == ["success", "1", "0"]
    (ended,) = site.sql("SELECT status FROM market_data_job_runs")
    assert ended[0] in ("interrupted", "success")
    assert site.count("exchange_leases WHERE expires_at > clock_timestamp()") == 0


def test_sighup_while_it_starts_does_not_end_it(site: Site, machine: Machine) -> None:
    """fault_6."""
    machine.do("systemctl", "start", "--no-block", UNIT)
    pid = eventually(lambda: site.pid, 10)
    # As often as the kernel lets us, from the moment on when the interpreter is started.
    machine.do("sh", "-c", f"until grep -qx marketd /proc/{pid}/comm; do :; done")
    machine.do("sh", "-c", f"while kill -HUP {pid} && ! systemctl is-active --quiet {UNIT}; do :; done")
    assert (site.pid, site.restarts, site.state) == (pid, 0, "active running")


def test_a_thousand_sighups_change_nothing_and_lose_nothing(site: Site, machine: Machine) -> None:
    """fault_5."""
    site.configure(job("continuous", more=EVERY_MINUTE))
    site.start()
    eventually(lambda: len(site.enabled()) == 1, 30)
    pid = site.pid
    site.jobs(job("continuous", more=EVERY_MINUTE), job("gap_repair"))
    machine.do("sh", "-c", f"for i in $(seq 1000); do kill -HUP {pid}; done")
    eventually(lambda: len(site.enabled()) == 2, 30)
    site.jobs(job("continuous", more=EVERY_MINUTE))
    machine.do("systemctl", "reload", UNIT)
    assert site.enabled() == [["continuous", "BTCUSD", "1h"]]
    assert (site.pid, site.restarts, site.state) == (pid, 0, "active running")
    assert "Traceback" not in machine.journal(UNIT)
    machine.do("sh", "-c", f"for i in $(seq 1000); do kill -HUP {pid}; done; systemctl stop {UNIT}")
    assert machine.properties(UNIT, "Result", "ExecMainStatus") == ["success", "0"]


def test_a_wrong_configuration_is_refused_once_and_in_words(site: Site, machine: Machine) -> None:
    """fault_12."""
    site.configure(more='[engine]\nsettle_s = "soon"\n[nonsense]\nkey = 1')
    assert machine("systemctl", "start", UNIT).code == 1
    # Not "activating auto-restart": it is not tried again.
    assert site.state == "failed failed"
    assert machine.properties(UNIT, "ExecMainStatus", "NRestarts") == ["78", "0"]
    said = machine.journal(UNIT)
    assert "engine.settle_s" in said
    assert "nonsense" in said


def test_a_schema_that_was_not_migrated_is_refused_once_and_in_words(site: Site, machine: Machine) -> None:
    """fault_12, fault_72."""
    site.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION marketd_owner")
    site.start()
    eventually(lambda: site.state == "failed failed", 20)
    assert machine.properties(UNIT, "ExecMainStatus", "NRestarts") == ["78", "0"]
    assert "marketd migrate" in machine.journal(UNIT)


def test_a_database_that_is_not_there_or_refuses_is_waited_for(site: Site, machine: Machine) -> None:
    site.configure(BACKFILL)
    site.sql("ALTER ROLE marketd_daemon PASSWORD 'another'")
    site.start()
    eventually(lambda: "database away" in machine.journal(UNIT), 30)
    assert site.state == "active running"
    assert site.password not in machine.journal(UNIT)
    site.sql(f"ALTER ROLE marketd_daemon PASSWORD '{site.password}'")
    eventually(lambda: site.count("candles"), 60)


def test_without_the_database_url_it_is_not_started_at_all(site: Site, machine: Machine) -> None:
    """fault_70."""
    machine.do("rm", "/etc/marketd/database_url")
    said = machine("systemctl", "start", UNIT)
    assert said.code == 1
    assert "Assertion failed" in said.err
    assert site.state == "inactive dead"
    assert "AssertPathExists=/etc/marketd/database_url was not met" in machine("systemctl", "status", UNIT).out
