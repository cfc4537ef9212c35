"""The other units: marketd in a user's own manager, repair and pruning by timer."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine, eventually
from tests.system.site import EXCHANGE, Site, day, job

USER = "trader"
REPAIR = "market-data-gap-repair"
PRUNE = "marketd-prune"


@pytest.fixture
def lingering(machine: Machine) -> Iterator[str]:
    """A user whose manager runs without a login."""
    machine.do("useradd", "--create-home", USER)
    machine.do("loginctl", "enable-linger", USER)
    uid = machine.do("id", "-u", USER)
    eventually(lambda: machine("systemctl", "is-active", f"user@{uid}").code == 0, 20)
    yield uid
    machine.do("loginctl", "terminate-user", USER)
    eventually(lambda: machine("userdel", "--remove", USER).code == 0, 30)


def test_a_user_without_root_runs_it_with_a_database_of_its_own(site: Site, machine: Machine, lingering: str) -> None:
    def by_user(*words: str, code: int = 0) -> str:
        runtime = f"XDG_RUNTIME_DIR=/run/user/{lingering}"
        said = machine("runuser", "-u", USER, "--", "env", f"HOME=/home/{USER}", runtime, *words)
        assert said.code == code, said
        return said.out.strip()

    folder = f"/home/{USER}/.config/marketd"
    config = (
        f'jobs_file = "jobs.toml"\n[database]\nembedded = true\n[http]\nlisten = "127.0.0.1:8001"\n'
        f'[exchanges.bitfinex]\nbase_url = "{EXCHANGE}/v2"\nrequests_per_minute = 6000\n'
    )
    for name, text in (("marketd.toml", config), ("jobs.toml", job("backfill", more=f"start = {day(-24)}"))):
        by_user("install", "-D", "-m", "0600", "/dev/null", f"{folder}/{name}")
        machine.do("tee", f"{folder}/{name}", stdin=text)
    by_user("systemctl", "--user", "enable", "--now", "marketd")
    assert by_user("systemctl", "--user", "is-active", "marketd") == "active"

    def status() -> str:
        return machine("runuser", "-u", USER, "--", "marketd", "--config", f"{folder}/marketd.toml", "status").out

    eventually(lambda: "100" in status(), 60, "the backfill")
    machine.do("tee", f"{folder}/jobs.toml", stdin="nonsense = 1")
    by_user("systemctl", "--user", "reload", "marketd", code=1)
    machine.do("tee", f"{folder}/jobs.toml", stdin=job("backfill", "ETHUSD", more=f"start = {day(-24)}"))
    by_user("systemctl", "--user", "reload", "marketd")
    by_user("systemctl", "--user", "stop", "marketd")
    assert by_user("systemctl", "--user", "show", "--property=Result", "--value", "marketd") == "success"
    # Its private server is gone with it.
    assert machine("pgrep", "--uid", USER, "postgres").code == 1


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "beside the daemon"])
def test_a_timer_repairs_what_is_owed(site: Site, machine: Machine, daemon: bool) -> None:
    machine.do("marketd", "backfill", "--symbol", "BTCUSD", "--timeframe", "1h", "--start", day(-24))
    stored = site.count("candles")
    assert stored > 100
    site.sql(f"DELETE FROM candles WHERE open_time >= '{day(-20)}' AND open_time < '{day(-19)}'")
    assert site.count("candles") < stored
    if daemon:
        site.start()
    machine.do("systemctl", "enable", "--now", f"{REPAIR}.timer")
    assert f"{REPAIR}.timer" in machine.do("systemctl", "list-timers", "--no-pager")
    machine.do("systemctl", "start", f"{REPAIR}.service", timeout_s=120)
    assert machine.properties(f"{REPAIR}.service", "Result", "ExecMainStatus") == ["success", "0"]
    assert site.count("candles") >= stored
    assert site.count("candle_gaps WHERE repaired_at IS NULL") == 0
    assert machine.do("marketd", "verify")
    machine.do("systemctl", "disable", "--now", f"{REPAIR}.timer")


def test_a_timer_takes_old_runs_away(site: Site, machine: Machine) -> None:
    machine.do("marketd", "backfill", "--symbol", "BTCUSD", "--timeframe", "1h", "--start", day(-24))
    site.sql(f"INSERT INTO market_data_job_runs (job_id, scheduled_for, started_at, completed_at, status) {_OLD_RUNS}")
    assert machine("systemctl", "start", f"{PRUNE}.service").code == 1, "not without its own login"
    machine.write("/etc/marketd/keeper_url", f"{site.url('marketd_keeper')}\n", "0600")
    machine.do("systemctl", "enable", "--now", f"{PRUNE}.timer")
    assert f"{PRUNE}.timer" in machine.do("systemctl", "list-timers", "--no-pager")
    machine.do("systemctl", "start", f"{PRUNE}.service", timeout_s=120)
    assert machine.properties(f"{PRUNE}.service", "Result", "ExecMainStatus") == ["success", "0"]
    assert site.count("market_data_job_runs") == 1
    assert machine.do("marketd", "verify")
    machine.do("systemctl", "disable", "--now", f"{PRUNE}.timer")
    machine.do("rm", "/etc/marketd/keeper_url")


_OLD_RUNS = """
SELECT id, t, t, t, 'success' FROM market_data_jobs,
    generate_series(now() - interval '200 days', now() - interval '100 days', interval '1 day') AS t
"""
