"""marketd as an operator sets it up on a machine: its files in /etc, its database, the exchange it asks.

Owns the state before each test and the questions that tests ask afterwards. Goes the way of the manual: the set-up
script, ``marketd migrate`` as the owner, the credential, ``systemctl``.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.system.machine import Machine, eventually

UNIT = "marketd.service"
UNITS = (UNIT, "market-data-gap-repair.service", "marketd-prune.service", "exchange.service")
EXCHANGE = "http://127.0.0.1:8099"
DROP_IN = f"/run/systemd/system/{UNIT}.d/test.conf"
_PASSWORD = f"S3cr3t-{secrets.token_hex(8)}"
# Sends a body, or asks, where there is no curl.
_HTTP = """
import sys, urllib.request
url, body = sys.argv[1], sys.stdin.buffer.read() or None
request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
sys.stdout.write(urllib.request.urlopen(request, timeout=10).read().decode())
"""


def day(offset: int) -> str:
    """The date so many days from now; the exchange keeps the host's time."""
    return (datetime.now(UTC) + timedelta(days=offset)).date().isoformat()


def job(job_type: str, symbol: str = "BTCUSD", timeframe: str = "1h", more: str = "") -> str:
    """One entry of a job file."""
    return (
        f'[[jobs]]\nexchange = "bitfinex"\nsymbols = ["{symbol}"]\ntimeframes = ["{timeframe}"]\n'
        f'job_type = "{job_type}"\n{more}\n'
    )


@dataclass(frozen=True)
class Site:
    machine: Machine
    password: str = _PASSWORD

    def open_exchange(self) -> None:
        """Start the rehearsal exchange as a unit of its own."""
        self.machine.do(
            "systemd-run", "--quiet", "--unit=exchange", "--property=DynamicUser=yes",
            "marketd", "rehearse", "--port=8099", "--synthetic=7", f"--since={day(-60)}",
            "--symbols=BTCUSD,ETHUSD,LTCUSD",
        )  # fmt: skip
        eventually(lambda: self.machine("python3", "-c", _HTTP, f"{EXCHANGE}/rehearsal/stats").code == 0, 20)

    def prepare(self) -> None:
        """An empty, migrated database; the configuration; nothing wrong with the exchange."""
        self.clear()
        self._psql("postgres", "DROP DATABASE IF EXISTS marketd WITH (FORCE)")
        setup = self.machine.do("cat", "/usr/share/doc/marketd/packaging/postgresql/setup.sql")
        self.machine.do("runuser", "-u", "postgres", "--", "psql", "-q", "-f", "-", "postgres", stdin=setup)
        for role in ("marketd_owner", "marketd_daemon", "marketd_keeper"):
            self._psql("postgres", f"ALTER ROLE {role} PASSWORD '{self.password}'")
        self.machine.write("/etc/marketd/database_url", f"{self.url('marketd_daemon')}\n", "0600")
        self.configure(job("gap_repair"))
        self.faults()
        self.machine.do("env", f"DATABASE_URL={self.url('marketd_owner')}", "marketd", "migrate")

    def clear(self) -> None:
        """Stop what runs, and forget what a test has set."""
        self.machine.do("rm", "-rf", f"/run/systemd/system/{UNIT}.d")
        self.machine.do("systemctl", "daemon-reload")
        self.machine("systemctl", "kill", "--signal=CONT", UNIT)
        timers = [
            f"{name}.{kind}" for name in ("market-data-gap-repair", "marketd-prune") for kind in ("timer", "service")
        ]
        self.machine.do("systemctl", "stop", UNIT, *timers)
        self.machine("systemctl", "reset-failed")

    def url(self, role: str) -> str:
        return f"postgresql://{role}:{self.password}@127.0.0.1:5432/marketd"

    def configure(self, *jobs: str, exchange: str = "", more: str = "") -> None:
        """Write both files; ``exchange`` goes below ``[exchanges.bitfinex]``."""
        self.machine.write(
            "/etc/marketd/marketd.toml",
            'jobs_file = "jobs.toml"\n[database]\nurl_file = "/etc/marketd/database_url"\n'
            f'[exchanges.bitfinex]\nbase_url = "{EXCHANGE}/v2"\nrequests_per_minute = 6000\n{exchange}\n{more}\n',
        )
        self.jobs(*jobs)

    def jobs(self, *jobs: str) -> None:
        self.machine.write("/etc/marketd/jobs.toml", "\n".join(jobs))

    def drop_in(self, text: str) -> None:
        """Change the unit for this test."""
        self.machine.write(DROP_IN, f"[Service]\n{text}\n")
        self.machine.do("systemctl", "daemon-reload")

    def start(self) -> None:
        self.machine.do("systemctl", "start", UNIT)

    def faults(self, *faults: dict[str, Any]) -> None:
        """What is wrong with the exchange from now on, and nothing else."""
        order = json.dumps({"replace": True, "faults": faults})
        self.machine.do("python3", "-c", _HTTP, f"{EXCHANGE}/rehearsal/faults", stdin=order)

    def get(self, path: str) -> str:
        """Ask the daemon's port."""
        return self.machine.do("python3", "-c", _HTTP, f"http://127.0.0.1:8000{path}")

    def sql(self, query: str) -> list[list[str]]:
        out = self._psql("marketd", query)
        return [line.split("\t") for line in out.splitlines()]

    def count(self, what: str) -> int:
        """``SELECT count(*) FROM what``."""
        return int(self.sql(f"SELECT count(*) FROM {what}")[0][0])

    def enabled(self) -> list[list[str]]:
        """Type, symbol and timeframe of the jobs that the table has from the file."""
        return self.sql(
            "SELECT job_type, symbol, timeframe FROM market_data_jobs"
            " WHERE enabled AND origin = 'file' ORDER BY symbol, timeframe, job_type"
        )

    @property
    def pid(self) -> int:
        return int(self.machine.properties(UNIT, "MainPID")[0])

    @property
    def state(self) -> str:
        """As systemd has it: ``active running``, ``failed failed``, ``activating auto-restart``…"""
        return " ".join(self.machine.properties(UNIT, "ActiveState", "SubState"))

    @property
    def restarts(self) -> int:
        return int(self.machine.properties(UNIT, "NRestarts")[0])

    def _psql(self, database: str, query: str) -> str:
        words = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t", "--file=-")
        return self.machine.do("runuser", "-u", "postgres", "--", *words, database, stdin=query)
