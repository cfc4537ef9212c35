"""``marketd top`` and the daemon that it watches."""

import json
from pathlib import Path

from marketd.clock import SystemClock
from marketd.rehearsal.market import synthetic
from marketd.rehearsal.server import RehearsalServer
from tests.daemons import until
from tests.jobfile import entry
from tests.processes import called, environment, started

DAY = 86_400_000


async def test_it_tells_what_the_daemon_does(database: str, tmp_path: Path) -> None:
    clock = SystemClock()
    market = synthetic(3, ("BTCUSD",), clock.now_ms() - 3 * DAY, clock.now_ms() + DAY, 0.1)
    (tmp_path / "jobs.toml").write_text(entry("continuous", ("BTCUSD",), ("1h",), schedule="* * * * *"))
    (tmp_path / "marketd.toml").write_text(f'jobs_file = "{tmp_path}/jobs.toml"\n')
    async with (
        RehearsalServer(market, clock) as server,
        started(tmp_path, database, server.base_url) as daemon,
    ):
        url = f"http://{(await daemon.said('listening'))['address']}"

        async def fresh() -> bool:
            code, said = await called(daemon.environ, "top", "--url", url)
            return code == 0 and "1 series: all fresh, no holes" in said and "bitfinex BTCUSD 1h" in said

        await until(fresh)
        code, said = await called(daemon.environ, "top", "--url", url, "--json")
        assert code == 0
        assert json.loads(said)["exchanges"][0]["used"]["continuous"] >= 0


async def test_where_no_daemon_answers_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "marketd.toml").write_text("")
    environ = environment(tmp_path, "postgresql://localhost/none", "http://127.0.0.1:9", "one")
    code, said = await called(environ, "top", "--url", "http://127.0.0.1:9")
    assert code == 69
    assert "no daemon answers there" in said
