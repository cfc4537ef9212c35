"""The port as its readers see it: a real socket on loopback in front of a real database."""

import asyncio
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from marketd.clock import ms_of
from marketd.errors import Busy, ConfigError
from marketd.fillings import Filling
from marketd.meter import Reading
from marketd.metrics import Metrics
from marketd.model import Claim, Series
from marketd.ranges import Ranges
from marketd.store.reports import Reports
from marketd.store.session import Database
from marketd.web import ExchangeStatus, JobStatus, Port
from marketd.web.handlers import MOST_READERS, Handlers
from marketd.web.port import split
from tests.integration.ledger_rows import BLOCK, BTC, DAY, FIRST, START, Rows, minutes
from tests.sites import Site, served
from tests.told import NOW_MS, Told

READS = (
    "/", "/livez", "/readyz", "/health", "/healthz", "/system/health", "/system/status", "/ingestion/status", "/gaps",
    "/gaps/summary", "/jobs", "/metrics", "/coverage?symbol=BTCUSD&timeframe=1m", "/candles?symbol=BTCUSD&timeframe=1m",
)  # fmt: skip


def aware(text: str) -> datetime:
    """The time that ``text`` says; fails where it has no offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment


def is_time(text: str) -> bool:
    return aware(text) > START


async def test_health(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), confirmed=minutes((0, 40)))
    shape = await site.get("/health")
    assert shape["status"] == "ok"
    assert shape["database"].pop("latency_ms") >= 0
    assert shape["database"] == {"connected": True, "candles_table_exists": True, "total_candles": 1400}
    assert aware(shape["timestamp"]) == START + timedelta(days=2)
    assert (await site.get("/healthz"))["status"] == "ok"


async def test_health_without_a_schema(empty_database: str) -> None:
    """fault_26."""
    async with served(empty_database) as site:
        shape = await site.get("/health")
        assert shape["database"]["candles_table_exists"] is False
        assert shape["database"]["total_candles"] == 0
        status = await site.get("/ingestion/status?symbol=BTCUSD&timeframe=1m")
        assert (status["db_ok"], status["schema_ok"], status["candles_count"]) == (True, False, None)
        assert status["error"] == "SchemaError"
        whole = await site.get("/ingestion/status")
        assert (whole["db_ok"], whole["schema_ok"], whole["series"]) == (True, False, [])
        system = await site.get("/system/health")
        assert system["database"]["status"] == "degraded"
        assert system["overall"]["status"] == "error"
        assert (await site.get("/gaps", 503))["detail"].startswith("the schema is not current")


async def test_health_without_a_database(away: Site) -> None:
    shape = await away.get("/health", 503)
    assert shape == {
        "detail": {"status": "error", "database": {"connected": False, "error": "the database is out of reach"}}
    }
    await away.get("/healthz", 503)


async def test_everything_else_without_a_database(away: Site) -> None:
    system = await away.get("/system/health")
    assert system["api"]["status"] == "ok"
    assert system["database"] == {
        "status": "error",
        "message": "Database error: DatabaseUnavailable",
        "details": {"error": "the database is out of reach"},
    }
    assert system["ingestion"]["status"] == "error"
    assert system["overall"] == {"status": "error"}
    status = await away.get("/system/status")
    assert status["database"] == {
        "status": "error", "connected": False, "latency_ms": None, "error": "the database is out of reach",
    }  # fmt: skip
    one = await away.get("/ingestion/status?symbol=BTCUSD&timeframe=1m")
    assert (one["candles_count"], one["db_ok"], one["schema_ok"]) == (None, False, False)
    assert (one["latest_candle_open_time"], one["error"]) == (None, "DatabaseUnavailable")
    whole = await away.get("/ingestion/status")
    assert (whole["db_ok"], whole["series"], whole["jobs"]) == (False, [], [])
    for path in ("/gaps", "/gaps/summary", "/jobs", "/jobs/1/runs", "/coverage?symbol=BTCUSD&timeframe=1m"):
        assert await away.get(path, 503) == {"detail": "the database is out of reach"}
    assert await away.get("/livez")
    assert (await away.get("/readyz", 503))["reasons"] == ["the database is out of reach"]
    assert "marketd_build_info" in await away.text("/metrics")
    assert "the database is out of reach" in await away.text("/")


async def test_no_answer_shows_where_the_database_is(away: Site) -> None:
    """fault_67."""
    for path in READS:
        async with away.http.get(f"http://{away.address}{path}") as response:
            text = await response.text()
        assert "secret_user" not in text
        assert "secret_word" not in text
        assert "127.0.0.1:9" not in text
        assert "SELECT" not in text


async def test_livez_follows_the_scheduler(site: Site) -> None:
    assert (await site.get("/livez"))["status"] == "ok"
    site.told.age_s = 31
    assert (await site.get("/livez", 503))["status"] == "error"


async def test_readyz_names_its_reasons(site: Site) -> None:
    assert await site.get("/readyz") == {"status": "ok", "reasons": []}
    site.told.reasons = ["the job table is not loaded", "draining: about to stop"]
    assert (await site.get("/readyz", 503))["reasons"] == ["the job table is not loaded", "draining: about to stop"]


async def test_system_status(site: Site) -> None:
    shape = await site.get("/system/status")
    assert shape["backend"] == {"status": "ok", "uptime_seconds": 90, "version": "1.2.3"}
    assert shape["timestamp"] == NOW_MS
    assert shape["database"].pop("latency_ms") >= 0
    assert shape["database"] == {"status": "ok", "connected": True}


async def test_system_health_of_a_fresh_installation_is_degraded(site: Site) -> None:
    shape = await site.get("/system/health")
    assert shape["api"] == {"status": "ok", "uptime_seconds": 90, "message": "API running"}
    assert shape["database"]["status"] == "ok"
    assert shape["database"]["message"] == "Database connected"
    assert shape["database"]["details"] == {"candle_count": 0}
    assert shape["ingestion"] == {"status": "degraded", "message": "No recent ingestion runs found"}
    assert shape["overall"] == {"status": "degraded"}


async def test_system_health_when_all_is_well(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK + 1, minutes((1440, 2880)))
    await rows.run(await rows.job(), ago=timedelta(minutes=3))
    site.told.goals = {BTC: 480}
    shape = await site.get("/system/health")
    assert shape["ingestion"]["status"] == "ok"
    assert shape["ingestion"]["message"] == "Ingestion active (1 runs in last 24h)"
    details = shape["ingestion"]["details"]
    assert is_time(details["last_run"])
    assert is_time(details["last_success"])
    assert (details["runs_24h"], details["failed_24h"], details["series_late"], details["open_gaps"]) == (1, 0, 0, 0)
    assert shape["overall"] == {"status": "ok"}
    site.told.age_s = 99
    assert (await site.get("/system/health"))["overall"] == {"status": "error"}


@pytest.mark.parametrize(
    ("goals", "series_late"),
    [({}, 0), ({BTC: 100.0}, 1), ({BTC: 200_000.0, Series("bitfinex", "ETHUSD", "1h"): 7200.0}, 1)],
    ids=["nothing to keep fresh", "behind its objective", "never answered"],
)
async def test_system_health_degrades(site: Site, rows: Rows, goals: dict[Series, float], series_late: int) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    await rows.run(await rows.job(), ago=timedelta(minutes=3))
    site.told.goals = goals
    ingestion = (await site.get("/system/health"))["ingestion"]
    assert ingestion["status"] == "degraded"
    assert ingestion["details"]["series_late"] == series_late


async def test_status_of_a_series(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), once=minutes((5, 7)), confirmed=minutes((10, 20)))
    await rows.candle(FIRST)
    await rows.candle(FIRST + 1439)
    await rows.run(await rows.job(), ago=timedelta(minutes=3), inserted=9)
    site.told.goals = {BTC: 90_000.0}
    shape = await site.get("/ingestion/status?exchange=bitfinex&symbol=btcusd&timeframe=1m")
    assert (shape["exchange"], shape["symbol"], shape["timeframe"]) == tuple(BTC)
    assert shape["latest_candle_open_time"] == BTC.frame.open_ms(FIRST + 1439)
    assert shape["first_open_time"] == ms_of(START)
    assert shape["candles_count"] == 1428
    assert shape["empty_intervals"] == 12
    assert (shape["schema_ok"], shape["db_ok"], shape["complete"], shape["open_gaps"]) == (True, True, True, 0)
    assert (shape["lag_seconds"], shape["freshness_objective_seconds"]) == (86_400, 90_000)
    assert shape["last_run"]["status"] == "success"
    assert shape["last_run"]["candles_inserted"] == 9
    assert is_time(shape["last_success"])
    site.told.goals = {BTC: 480.0}
    assert (await site.get("/ingestion/status?symbol=BTCUSD&timeframe=1m"))["complete"] is False


async def test_status_of_an_unknown_series(site: Site) -> None:
    shape = await site.get("/ingestion/status?symbol=NONE&timeframe=1m")
    assert (shape["candles_count"], shape["latest_candle_open_time"]) == (0, None)
    assert (shape["db_ok"], shape["schema_ok"], shape["complete"], shape["last_run"]) == (True, True, False, None)


async def test_status_of_the_whole(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    eth = Series("bitfinex", "ETHUSD", "1h")
    await rows.know(eth)
    job = await rows.job()
    await rows.run(job, ago=timedelta(hours=2), inserted=5)
    await rows.run(job, ago=timedelta(hours=1), status="failed")
    site.told.known_jobs = {job: JobStatus(NOW_MS + 60_000, True)}
    used = {Claim.CONTINUOUS: 9, Claim.BACKFILL: 3}
    site.told.known_exchanges = [ExchangeStatus("bitfinex", 30, 12, "cooling", NOW_MS + 5000, used)]
    site.told.filling = {BTC: Filling(40, Reading(0.25, 900.0, None, 30))}
    shape = await site.get("/ingestion/status")
    assert shape["runs_24h"] == {
        "total": 2, "success": 1, "partial": 0, "failed": 1, "running": 0, "interrupted": 0, "skipped": 0,
    }  # fmt: skip
    assert shape["last_run"]["error_message"] == "because"
    assert is_time(shape["last_success"])
    assert shape["candles_24h"] == 5
    assert [entry["symbol"] for entry in shape["series"]] == ["BTCUSD", "ETHUSD"]
    assert shape["backfills"] == [{
        "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "share": 0.25, "requests": 40,
        "requests_left": 30, "rate": 900.0, "seconds_left": None,
    }]  # fmt: skip
    (exchange,) = shape["exchanges"]
    assert aware(exchange.pop("until")) == START + timedelta(days=2, seconds=5)
    assert exchange.pop("used") == {"continuous": 9, "order": 0, "gap_repair": 0, "backfill": 3, "recheck": 0}
    assert exchange == {"name": "bitfinex", "budget_per_minute": 30, "used_last_minute": 12, "state": "cooling"}
    (entry,) = shape["jobs"]
    assert (entry["id"], entry["running"]) == (job, True)
    first = await site.get("/ingestion/status?limit=1")
    assert [entry["symbol"] for entry in first["series"]] == ["BTCUSD"]
    rest = await site.get(f"/ingestion/status?limit=1&cursor={first['next_cursor']}")
    assert [entry["symbol"] for entry in rest["series"]] == ["ETHUSD"]
    none = await site.get("/ingestion/status?exchange=kraken")
    assert (none["series"], none["exchanges"], none["jobs"]) == ([], [], [])


async def test_gaps(site: Site, rows: Rows) -> None:
    first = await rows.gap("failed", minutes((0, 3)))
    second = await rows.gap("late", minutes((10, 12)))
    shape = await site.get("/gaps?limit=1")
    (gap,) = shape["gaps"]
    assert (shape["total"], gap["id"], gap["cause"], gap["attempts"]) == (2, first, "failed", 0)
    assert (gap["exchange"], gap["symbol"], gap["timeframe"]) == tuple(BTC)
    assert (aware(gap["gap_start"]), aware(gap["gap_end"])) == (START, START + timedelta(minutes=3))
    assert is_time(gap["detected_at"])
    assert (gap["next_attempt_at"], gap["last_error"]) == (None, None)
    rest = await site.get(f"/gaps?limit=1&cursor={shape['next_cursor']}")
    assert [gap["id"] for gap in rest["gaps"]] == [second]
    assert (await site.get("/gaps?symbol=ETHUSD&timeframe=1m"))["total"] == 0


async def test_gap_summary(site: Site, rows: Rows) -> None:
    assert await site.get("/gaps/summary") == {"open_gaps": 0, "repaired_24h": 0, "oldest_open_gap": None}
    await rows.gap("failed", minutes((0, 3)))
    await rows.gap("lost", minutes((9, 10)), repaired="stored")
    expected = {"open_gaps": 1, "repaired_24h": 1, "oldest_open_gap": ms_of(START)}
    assert await site.get("/gaps/summary?exchange=bitfinex") == expected


async def test_jobs_and_their_runs(site: Site, rows: Rows) -> None:
    job = await rows.job()
    site.told.known_jobs = {job: JobStatus(NOW_MS + 60_000, False)}
    (shape,) = (await site.get("/jobs"))["jobs"]
    assert (shape["id"], shape["exchange"], shape["symbol"], shape["timeframe"]) == (job, *BTC)
    assert (shape["job_type"], shape["schedule"], shape["enabled"]) == ("continuous", None, True)
    assert aware(shape["next_run"]) == START + timedelta(days=2, minutes=1)
    assert (shape["running"], shape["last_run"]) == (False, None)
    old = await rows.run(job, ago=timedelta(hours=2))
    new = await rows.run(job, ago=timedelta(hours=1), inserted=4)
    last = (await site.get("/jobs"))["jobs"][0]["last_run"]
    assert (last["status"], last["candles_inserted"], last["error_message"]) == ("success", 4, None)
    assert is_time(last["started_at"])
    assert is_time(last["completed_at"])
    runs = await site.get(f"/jobs/{job}/runs?limit=1")
    assert [run["id"] for run in runs["runs"]] == [new]
    older = await site.get(f"/jobs/{job}/runs?cursor={runs['next_cursor']}")
    assert [run["id"] for run in older["runs"]] == [old]
    assert (await site.get("/jobs/999/runs", 404))["detail"] == "no job 999"


async def test_coverage(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY), confirmed=minutes((0, 60)))
    shape = await site.get("/coverage?symbol=BTCUSD&timeframe=1m&buckets=2")
    assert (shape["exchange"], shape["symbol"], shape["timeframe"]) == tuple(BTC)
    assert (aware(shape["start"]), aware(shape["end"])) == (START, START + timedelta(days=2))
    counts = [[b[state] for state in ("stored", "empty", "gap", "unknown")] for b in shape["buckets"]]
    assert counts == [[1380, 60, 0, 0], [0, 0, 0, 1440]]
    part = await site.get(
        "/coverage?symbol=BTCUSD&timeframe=1m&start=2024-01-01T00:00:00+00:00&end=2024-01-01T01:00:00Z&buckets=1"
    )
    assert part["buckets"][0]["empty"] == 60
    future = await site.get("/coverage?symbol=BTCUSD&timeframe=1m&start=2024-01-02&end=2199-01-01&buckets=1")
    assert aware(future["end"]) == START + timedelta(days=2)
    assert (await site.get("/coverage?symbol=NONE&timeframe=1m"))["buckets"] == []


async def test_the_status_page_lists_series_and_loads_nothing_from_elsewhere(site: Site, rows: Rows) -> None:
    await rows.block(BLOCK, Ranges.of(DAY))
    site.told.known_exchanges = [ExchangeStatus("bitfinex", 30, 12, "open", NOW_MS)]
    await rows.block(BLOCK, Ranges.of(DAY), series=Series("bitfinex", "<b>&'", "1m"))
    text = await site.text("/")
    assert "BTCUSD" in text
    assert "&lt;b&gt;&amp;&#39;" in text
    assert "<b>&" not in text
    async with site.http.get(f"http://{site.address}/") as response:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
    loaded = re.findall(r'(?:href|src)="(/static/[^"]*)"', text)
    assert len(loaded) == 2
    for path in loaded:
        async with site.http.get(f"http://{site.address}{path}") as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
    assert await site.get("/static/../page.py", 404) == {"detail": "no such path"}


async def test_metrics_in_both_formats(site: Site) -> None:
    url = f"http://{site.address}/metrics"
    async with site.http.get(url) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        assert "marketd_build_info" in await response.text()
    async with site.http.get(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/ingestion/status?symbol=BTCUSD", "timeframe"),
        ("/ingestion/status?timeframe=1m", "symbol"),
        ("/ingestion/status?symbol=BTCUSD&timeframe=7m", "timeframe"),
        ("/ingestion/status?cursor=x", "cursor"),
        ("/ingestion/status?cursor=bitfinex,BTCUSD,9m", "cursor"),
        ("/gaps?symbol=';DROP+TABLE+candles", "symbol"),
        ("/gaps?symbol=%00", "symbol"),
        ("/gaps?exchange=a%0Ab", "exchange"),
        ("/gaps?cause=bad+luck", "cause"),
        ("/gaps?limit=1000000000", "limit"),
        ("/gaps?limit=-1", "limit"),
        ("/gaps?limit=0", "limit"),
        ("/gaps?limit=%D9%A3", "limit"),
        ("/gaps?cursor=99999999999999999999", "cursor"),
        ("/jobs?limit=many", "limit"),
        ("/jobs/seven/runs", "id"),
        ("/jobs/1/runs?cursor=-5", "cursor"),
        ("/coverage", "symbol"),
        ("/coverage?symbol=BTCUSD&timeframe=1m&start=2024-01-02&end=2024-01-01", "start"),
        ("/coverage?symbol=BTCUSD&timeframe=1m&start=2024-01-01T00:00:00", "start"),
        ("/coverage?symbol=BTCUSD&timeframe=1m&end=9999-01-01", "end"),
        ("/coverage?symbol=BTCUSD&timeframe=1m&buckets=2001", "buckets"),
    ],
)
async def test_bad_parameters_are_named(site: Site, path: str, name: str) -> None:
    """fault_64."""
    detail = (await site.get(path, 422))["detail"]
    assert detail.startswith(f"{name}: ")
    assert detail.isprintable()


@pytest.mark.parametrize("path", ["/nothing", "/../etc/passwd", "/jobs/1", "/health/", "/%2e%2e/x"])
async def test_unknown_paths(site: Site, path: str) -> None:
    """fault_65."""
    assert await site.get(path, 404) == {"detail": "no such path"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods(site: Site, method: str) -> None:
    """fault_65."""
    async with site.http.request(method, f"http://{site.address}/health") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert await response.json() == {"detail": "only GET and HEAD are answered here"}


async def test_head_is_answered_without_a_body(site: Site) -> None:
    async with site.http.head(f"http://{site.address}/system/status") as response:
        assert response.status == 200
        assert await response.read() == b""


@pytest.mark.parametrize("path", [*READS, "/nothing"])
async def test_headers_of_every_answer(site: Site, path: str) -> None:
    """fault_65."""
    async with site.http.get(f"http://{site.address}{path}", headers={"Origin": "https://evil.example"}) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("evil.example:8000", 421), ("127.0.0.1.evil.example", 421), ("[2001:db8::1]:80", 421),
     ("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:1", 200), ("[::1]:8000", 200), ("localhost.:80", 200)],
)  # fmt: skip
async def test_a_loopback_port_answers_to_its_own_names(site: Site, host: str, status: int) -> None:
    """fault_65."""
    await site.get("/livez", status, headers={"Host": host})


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: 1\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["long url", "long header", "many headers", "nul", "tls"],
)
async def test_malformed_requests_get_a_short_answer(site: Site, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """fault_63."""
    head, _, body = (await site.raw(sent)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"aiohttp" not in head
    assert body == b'{"detail": "not a request that can be read"}'
    assert all(record.exc_info is None and record.name.startswith("marketd") for record in caplog.records)


async def test_too_many_readers_are_turned_away(database: str) -> None:
    """fault_66."""
    everybody_in, gate = asyncio.Event(), asyncio.Event()
    inside = []

    class Slow(Reports):
        async def ping(self) -> float:
            inside.append(True)
            if len(inside) == MOST_READERS:
                everybody_in.set()
            await gate.wait()
            return await super().ping()

    async with (
        Database(database, size=2) as opened,
        Port("127.0.0.1:0", Slow(opened), Told(), Metrics().registry) as port,
        aiohttp.ClientSession() as http,
        asyncio.TaskGroup() as group,
    ):
        site = Site(Told(), http, port.address)
        waiting = [group.create_task(site.get("/health")) for _ in range(MOST_READERS)]
        await everybody_in.wait()
        assert await site.get("/gaps", 503) == {"detail": "too many readers at once"}
        assert (await site.get("/livez"))["status"] == "ok"
        gate.set()
        assert [(await answer)["status"] for answer in waiting] == ["ok"] * MOST_READERS
    assert len(inside) == MOST_READERS


async def test_a_fault_of_ours_says_nothing(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """fault_67."""

    class Broken(Reports):
        async def ping(self) -> float:
            raise RuntimeError("postgresql://user:hunter2@host/db")

    async with (
        Database(database, size=1) as opened,
        Port("127.0.0.1:0", Broken(opened), Told(), Metrics().registry) as port,
        aiohttp.ClientSession() as http,
    ):
        assert await Site(Told(), http, port.address).get("/health", 500) == {"detail": "internal error"}
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "http handler failed"
    assert record.exc_info is None


async def test_the_port_closes_quickly_whatever_is_asked(database: str) -> None:
    asked = asyncio.Event()

    class Stuck(Reports):
        async def ping(self) -> float:
            asked.set()
            await asyncio.Event().wait()
            return 0

    async with Database(database, size=1) as opened, aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        async with Port("127.0.0.1:0", Stuck(opened), Told(), Metrics().registry) as port:
            pending = group.create_task(_cut_off(http, port.address))
            await asked.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert await pending


async def _cut_off(http: aiohttp.ClientSession, address: str) -> bool:
    try:
        await http.get(f"http://{address}/health")
    except aiohttp.ClientError:
        return True
    return False


async def test_a_taken_port_is_busy(site: Site, database: str) -> None:
    async with Database(database, size=1) as opened:
        with pytest.raises(Busy, match="taken by another process"):
            async with Port(site.address, Reports(opened), Told(), Metrics().registry):
                pass
        with pytest.raises(ConfigError, match="cannot be bound"):
            async with Port("192.0.2.1:0", Reports(opened), Told(), Metrics().registry):
                pass


@pytest.mark.parametrize("listen", ["8000", "localhost", ":8000", "::1:8000", "[::1:8000", "a:b", "a:70000", ""])
def test_addresses_that_are_none(listen: str) -> None:
    with pytest.raises(ConfigError, match="listen"):
        split(listen)


async def test_every_path_is_in_the_manual(database: str) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    async with Database(database, size=1) as opened:
        routes = Handlers(Reports(opened), Told(), Metrics().registry).routes()
    assert {route.method for route in routes} == {"GET"}
    assert not [route.path for route in routes if f"GET {route.path}`" not in manual]


def test_addresses() -> None:
    assert split("127.0.0.1:8000") == ("127.0.0.1", 8000)
    assert split("[::1]:0") == ("::1", 0)
