"""``marketd jobs`` against a real database, as the owner of the tables and as the runtime role."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from marketd.clock import ScaledClock
from marketd.model import JobRow, JobType
from marketd.store.runs import Runs
from marketd.store.session import Database
from tests.command import NOW_MS, Desk, clean_process, configuration, execute, server_at
from tests.conftest import BackgroundLoop
from tests.integration.ledger_rows import Rows
from tests.integration.test_cli_process import MODULE, ended, start

CONTINUOUS = ("--type", "continuous", "--schedule", "*/5 * * * *")
BTC = ("--symbol", "BTCUSD", "--timeframe", "1m")
HOSTILE = "BTC\x1b[2J\x9bUSD"

Sql = Callable[..., list[asyncpg.Record]]


@pytest.fixture
def by_sql(database: str, background: BackgroundLoop) -> Sql:
    """What the owner of the tables does behind our back."""
    return lambda statement, *values: execute(background, database, statement, *values)


def desk_as(role: str | None, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    chosen = dsn if role is None else dsn.replace("user=marketd", f"user={role}")
    clock = ScaledClock(NOW_MS)
    return Desk(configuration(tmp_path, chosen, "http://127.0.0.1:1/v2"), server_at(clock), clock, capsys)


def login(by_sql: Sql, group: str) -> str:
    """A login role that is a member of ``group``; the server outlives the test, and so may the role."""
    name = f"{group}_login"
    by_sql(f"DO $$ BEGIN CREATE ROLE {name} LOGIN IN ROLE {group}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    return name


@pytest.fixture(params=["owner", "runtime"])
def desk(
    request: pytest.FixtureRequest,
    by_sql: Sql,
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    role = login(by_sql, "marketd_run") if request.param == "runtime" else None
    with clean_process(monkeypatch):
        yield desk_as(role, database, tmp_path, capsys)


@pytest.fixture
def runtime(
    by_sql: Sql, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    with clean_process(monkeypatch):
        yield desk_as(login(by_sql, "marketd_run"), database, tmp_path, capsys)


def insert(by_sql: Sql, **columns: Any) -> int:
    """A row made by SQL; returns its id."""
    row = {"exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "continuous", **columns}
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    made = by_sql(
        f"INSERT INTO market_data_jobs ({', '.join(row)}) VALUES ({places}) RETURNING id", *row.values()
    )  # fmt: skip
    number: int = made[0]["id"]
    return number


def column(by_sql: Sql, name: str, number: int) -> Any:
    return by_sql(f"SELECT {name} AS found FROM market_data_jobs WHERE id = $1", number)[0]["found"]


class TestAdd:
    def test_says_what_the_new_jobs_work_on_and_when(self, desk: Desk) -> None:
        said = desk("jobs", "add", *BTC, "--timeframe", "1h", *CONTINUOUS)
        assert said.code == 0
        lines = said.out.splitlines()
        assert [lines[0], lines[1]] == ["job 1: continuous bitfinex BTCUSD 1m", "  works on: BTCUSD 1m"]
        assert lines[2].startswith("  next firing: 20")
        assert lines[3] == "job 2: continuous bitfinex BTCUSD 1h"
        assert said.err == "a running daemon takes this up within a minute\n"

    def test_writes_a_row_with_everything_that_was_said(self, desk: Desk, by_sql: Sql) -> None:
        words = ("--symbol", "BTCUSD", "--type", "backfill", "--start", "2024-01-01", "--end", "2034-01-01")
        policies = ("--catch-up", "none", "--timeout", "60", "--jitter", "20.5", "--freshness", "300")
        (job,) = desk("jobs", "add", *words, *policies, "--disabled", "--json").json["jobs"]
        assert (job["id"], job["enabled"], job["series"], job["next_run"]) == (1, False, [], None)
        (row,) = by_sql("SELECT * FROM market_data_jobs")
        assert (row["origin"], row["owner"], row["enabled"], row["timeframe"]) == ("cli", None, False, None)
        assert (row["start_time"].isoformat(), row["end_time"].year) == ("2024-01-01T00:00:00+00:00", 2034)
        assert [row[key] for key in ("catch_up", "timeout_s", "jitter_s", "freshness_s")] == ["none", 60, 20.5, 300]

    def test_a_symbol_alone_works_on_the_configured_timeframes(self, desk: Desk) -> None:
        said = desk("jobs", "add", "--symbol", "BTCUSD", "--type", "backfill")
        assert said.out.splitlines() == [
            "job 1: backfill bitfinex BTCUSD all timeframes",
            "  works on: BTCUSD 1d, BTCUSD 1h",
            "  next firing: at once, until its history is complete",
        ]

    def test_all_symbols_work_on_what_others_track(self, desk: Desk) -> None:
        alone = desk("jobs", "add", "--all-symbols", "--type", "gap_repair")
        assert "  works on: nothing now: no other job names a symbol" in alone.out
        assert "whenever something is owed" in alone.out
        assert "note: without --schedule, such as '0 2 * * *'" in alone.err
        desk("jobs", "add", *BTC, *CONTINUOUS)
        other = desk("jobs", "add", "--all-symbols", "--type", "backfill")
        assert "  works on: BTCUSD 1m" in other.out

    def test_more_than_the_budget_allows_is_noted(self, desk: Desk) -> None:
        desk.config.write_text(desk.config.read_text().replace("60000", "1"))
        said = desk("jobs", "add", *BTC, "--type", "continuous", "--schedule", "* * * * *", "--symbol", "ETHUSD")
        assert said.code == 0
        assert "note: more is asked than allowed: bitfinex: 2 series need 2.0 requests a minute" in said.err

    @pytest.mark.parametrize(
        ("columns", "cure"),
        [
            ({"origin": "cli"}, "origin cli: `marketd jobs remove 1` first"),
            ({"origin": "file", "owner": "here"}, "from the job file of here: change it there"),
            ({"origin": "sql"}, "made by SQL: change it there"),
        ],
    )
    def test_what_another_job_does_is_refused_whole(
        self, desk: Desk, by_sql: Sql, columns: dict[str, Any], cure: str
    ) -> None:
        insert(by_sql, **columns)
        said = desk("jobs", "add", "--timeframe", "1h", *BTC, *CONTINUOUS)
        assert said.code == 1
        assert said.err == (
            f"marketd: error: continuous bitfinex BTCUSD 1m is the work of job 1 already, {cure}\n"
        )  # fmt: skip
        assert by_sql("SELECT count(*) AS found FROM market_data_jobs")[0]["found"] == 1

    def test_a_row_that_does_not_work_is_in_nobodys_way(self, desk: Desk, by_sql: Sql) -> None:
        insert(by_sql, enabled=False)
        insert(by_sql, origin="order")
        insert(by_sql, schedule="never")
        assert desk("jobs", "add", *BTC, *CONTINUOUS).code == 0

    def test_mistakes_reach_no_database(self, desk: Desk) -> None:
        away = desk.config.read_text().replace('\nurl = "', '\nurl = "postgresql://me@127.0.0.1:1/x" #')
        desk.config.write_text(away)
        said = desk("jobs", "add", "--symbol", HOSTILE, "--type", "continuous", "--schedule", "*" * 300)
        assert said.code == 2
        assert said.err.startswith("marketd: error: 2 mistakes:\n  --schedule: cron expression of 300 characters")
        assert all(line.isprintable() for line in said.err.splitlines())


class TestChange:
    def test_disable_enable_and_remove(self, desk: Desk, by_sql: Sql) -> None:
        desk("jobs", "add", *BTC, "--timeframe", "1h", *CONTINUOUS)
        assert desk("jobs", "disable", "2", "1", "2").out.splitlines() == [
            "disabled job 2: continuous bitfinex BTCUSD 1h", "disabled job 1: continuous bitfinex BTCUSD 1m",
        ]  # fmt: skip
        assert not column(by_sql, "enabled", 1)
        assert desk("jobs", "enable", "1").code == 0
        assert column(by_sql, "enabled", 1)
        assert desk("jobs", "remove", "1", "--yes").out == "removed job 1: continuous bitfinex BTCUSD 1m\n"
        assert column(by_sql, "NOT enabled AND removed_at IS NOT NULL", 1)
        assert "job 1 was removed; `marketd jobs add` makes a new one" in desk("jobs", "enable", "1").err

    @pytest.mark.parametrize("verb", ["enable", "disable", "remove"])
    def test_of_several_all_or_none_are_changed(self, desk: Desk, by_sql: Sql, verb: str) -> None:
        mine = insert(by_sql, origin="cli", enabled=verb == "disable")
        other = insert(by_sql, origin="file", owner="here")
        said = desk("jobs", verb, str(mine), str(other), "99", *(["--yes"] if verb == "remove" else []))
        assert said.code == 1
        assert f"job {other} comes from the job file of here, whose next reload would undo this" in said.err
        assert "there is no job 99" in said.err
        assert column(by_sql, "updated_at = created_at", mine)

    @pytest.mark.parametrize("verb", ["enable", "disable", "remove"])
    def test_rows_made_by_sql_are_their_owners(self, runtime: Desk, by_sql: Sql, verb: str) -> None:
        more = ["--yes"] if verb == "remove" else []
        mine = insert(by_sql, origin="auto", timeframe="1h", enabled=verb == "disable")
        theirs = insert(by_sql, enabled=verb != "enable")
        said = runtime("jobs", verb, str(mine), str(theirs), *more)
        assert said.code == 77
        assert f"this database role may not change job {theirs} (origin sql)" in said.err
        statement = said.err.splitlines()[-1].strip()
        assert column(by_sql, "updated_at = created_at", mine)
        by_sql(statement)
        assert column(by_sql, "enabled", theirs) == (verb == "enable")
        assert runtime("jobs", verb, str(mine), *more).code == 0

    def test_the_owner_of_the_tables_may_change_rows_made_by_sql(
        self, by_sql: Sql, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        number = insert(by_sql)
        assert desk_as(None, database, tmp_path, capsys)("jobs", "disable", str(number)).code == 0

    def test_a_reader_may_change_nothing(
        self, by_sql: Sql, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        desk = desk_as(login(by_sql, "marketd_read"), database, tmp_path, capsys)
        number = str(insert(by_sql, origin="cli"))
        for words in (
            ("disable", number), ("remove", number, "--yes"), ("pause", number), ("resume", number),
            ("pause", "--exchange", "bitfinex"), ("resume", "--exchange", "bitfinex"),
            ("add", "--symbol", "ETHUSD", *CONTINUOUS),
        ):  # fmt: skip
            assert desk("jobs", *words).code == 77
        assert desk("jobs", "list").code == desk("jobs", "history", number).code == 0

    def test_two_jobs_for_the_same_are_not_enabled(self, desk: Desk, by_sql: Sql) -> None:
        for enabled in (True, False, False):
            insert(by_sql, origin="cli", enabled=enabled)
        assert "(job 2) is the work of job 1 already" in desk("jobs", "enable", "1", "2").err
        desk("jobs", "disable", "1")
        assert "(job 3) is the work of job 2 already" in desk("jobs", "enable", "2", "3").err
        assert desk("jobs", "enable", "3").code == 0

    def test_an_order_that_waits_may_be_withdrawn(self, desk: Desk, by_sql: Sql) -> None:
        order = str(insert(by_sql, origin="order"))
        assert desk("jobs", "remove", order, "--yes").code == 1
        assert desk("jobs", "disable", order).code == 0
        assert desk("jobs", "enable", order).code == 1

    @pytest.mark.parametrize(("answer", "code", "kept"), [("n", 1, True), ("", 1, True), ("y", 0, False)])
    async def test_a_terminal_is_asked_before_jobs_go(
        self, database: str, tmp_path: Path, answer: str, code: int, kept: bool
    ) -> None:
        async with Database(database, size=1) as opened:
            number = await Runs(opened).add_job(JobRow("bitfinex", "BTCUSD", "1m", JobType.BACKFILL))
            config = configuration(tmp_path, database, "http://127.0.0.1:1/v2")
            terminal, theirs = os.openpty()
            os.write(terminal, f"{answer}\n".encode())
            words = ("--config", str(config), "jobs", "remove", str(number))
            done, out, err = await ended(await start(*MODULE, *words, stdin=theirs))
            os.close(terminal)
            os.close(theirs)
            assert done == code
            assert "job 1: backfill bitfinex BTCUSD 1m\nRemove 1 job for good? [y/N]" in err
            assert ("removed job 1" in out, "nothing was removed" in err) == (not kept, kept)
            assert bool(await Runs(opened).enabled_jobs()) == kept


class TestPause:
    @pytest.mark.parametrize("origin", ["file", "sql", "cli", "auto"])
    def test_a_job_of_any_origin_is_paused_and_resumed(self, desk: Desk, by_sql: Sql, origin: str) -> None:
        number = insert(by_sql, origin=origin, owner="here" if origin == "file" else None)
        said = desk("jobs", "pause", str(number), "--until", "2200-01-01T00:00:00-01:00")
        assert said.code == 2
        said = desk("jobs", "pause", str(number), "--until", "2199-12-31")
        assert said.out == f"job {number} is paused until 2199-12-31 00:00: continuous bitfinex BTCUSD 1m\n"
        assert column(by_sql, "paused_until", number).isoformat() == "2199-12-31T00:00:00+00:00"
        assert "is paused until resumed: continuous" in desk("jobs", "pause", str(number)).out
        assert column(by_sql, "paused_until = 'infinity'", number)
        assert desk("jobs", "resume", str(number)).code == 0
        assert column(by_sql, "paused_until", number) is None

    def test_a_job_that_is_not_there_leaves_the_others_alone(self, desk: Desk, by_sql: Sql) -> None:
        number = insert(by_sql)
        for verb in ("pause", "resume"):
            said = desk("jobs", verb, str(number), "99", str(2**63 - 1))
            assert (said.code, said.err.count("there is no job")) == (1, 2)
        assert column(by_sql, "updated_at = created_at", number)

    def test_an_exchange_is_paused_whole(self, desk: Desk, by_sql: Sql) -> None:
        number = str(insert(by_sql, schedule="* * * * *"))
        assert desk("jobs", "pause", "--exchange", "bitfinex", "--until", "2199-01-01").code == 0
        listed = desk("jobs", "list")
        assert "paused until 2199-01-01 00:00" in listed.out
        assert listed.err == (
            "bitfinex is paused until 2199-01-01 00:00: `marketd jobs resume --exchange bitfinex`\n"
        )  # fmt: skip
        desk("jobs", "pause", "--exchange", "bitfinex")
        shown = desk("jobs", "list", "--json").json
        assert [(each["exchange"], each["paused_until"]) for each in shown["pauses"]] == [("bitfinex", None)]
        assert (shown["jobs"][0]["state"], shown["jobs"][0]["next_run"]) == ("paused", None)
        assert "but bitfinex is paused: `marketd jobs resume --exchange bitfinex`" in desk("jobs", "resume", number).err
        assert desk("jobs", "resume", "--exchange", "bitfinex").out == "bitfinex is not paused\n"
        assert desk("jobs", "list", "--json").json["pauses"] == []


class TestList:
    def test_nothing_is_said_to_be_there(self, desk: Desk) -> None:
        assert desk("jobs", "list").out == "no job: `marketd jobs add` or an entry of the job file makes one\n"

    def test_rows_that_cannot_be_used_are_shown_with_their_reason(self, desk: Desk, by_sql: Sql) -> None:
        insert(by_sql, origin="file", owner="here", schedule="*/5 * * * *")
        insert(by_sql)
        insert(by_sql, symbol=HOSTILE, schedule="* " * 150, exchange="bitfinex")
        insert(by_sql, symbol="ETHUSD", timeout_s=float("nan"), exchange="bitfinex")
        said = desk("jobs", "list")
        assert (said.code, said.err) == (0, "")
        assert all(line.isprintable() for line in said.out.splitlines())
        header, _, *lines = said.out.splitlines()
        assert header.split() == ["id", "series", "type", "schedule", "state", "origin", "next", "run", "problem"]
        assert "enabled file here 20" in " ".join(lines[0].split())
        assert "refused sql - job 1 does the same for the same series" in " ".join(lines[1].split())
        assert "is not a Bitfinex pair" in lines[2]
        jobs = desk("jobs", "list", "--json").json["jobs"]
        assert [job["state"] for job in jobs] == ["enabled", "refused", "refused", "refused"]
        assert "schedule: cron expression of 300 characters" in jobs[2]["refused"]
        assert "timeout_s: nan" in jobs[3]["refused"]

    def test_filters_and_what_is_out_of_sight(self, desk: Desk, by_sql: Sql) -> None:
        desk("jobs", "add", "--symbol", "BTCUSD", "--symbol", "ETHUSD", *CONTINUOUS)
        desk("jobs", "add", "--symbol", "BTCUSD", "--type", "backfill", "--disabled")
        order = insert(by_sql, origin="order", enabled=False, job_type="backfill")
        desk("jobs", "remove", "1", "--yes")

        def ids(*words: str) -> list[int]:
            return [job["id"] for job in desk("jobs", "list", *words, "--json").json["jobs"]]

        assert ids() == [2, 3]
        assert ids("--all") == [1, 2, 3, order]
        assert ids("--symbol", "BTCUSD") == [3]
        assert ids("--exchange", "bitfinex", "--type", "continuous") == [2]
        states = {job["id"]: job["state"] for job in desk("jobs", "list", "--all", "--json").json["jobs"]}
        assert states == {1: "removed", 2: "enabled", 3: "disabled", order: "ended"}


class TestHistory:
    def test_runs_with_lateness_duration_and_counters(
        self, desk: Desk, database: str, background: BackgroundLoop
    ) -> None:
        async def fill() -> int:
            connection = await asyncpg.connect(database)
            try:
                rows = Rows(connection)
                job, other = await rows.job(), await rows.job("backfill")
                for ago in (3, 2, 1):
                    await rows.run(job, ago=timedelta(hours=ago), inserted=7)
                await rows.run(other, ago=timedelta(minutes=1), status="failed")
                await connection.execute(
                    "UPDATE market_data_job_runs SET started_at = scheduled_for + interval '90 seconds',"
                    " completed_at = scheduled_for + interval '5 minutes'"
                )
                return job
            finally:
                await connection.close()

        job = background.run(fill())
        runs = desk("jobs", "history", str(job), "--limit", "2", "--json").json["runs"]
        assert [run["job_id"] for run in runs] == [job, job]
        assert runs[0]["scheduled_for"] > runs[1]["scheduled_for"]
        assert (runs[0]["late_seconds"], runs[0]["took_seconds"], runs[0]["candles_inserted"]) == (90, 210, 7)
        assert "1 min 30 s" in desk("jobs", "history", str(job)).out
        assert len(desk("jobs", "history", "--json").json["runs"]) == 4
        assert desk("jobs", "history").out == desk("runs").out
        assert desk("jobs", "list", "--json").json["jobs"][1]["last_run"]["status"] == "failed"
        assert "failed 20" in desk("jobs", "list").out

    def test_a_job_without_runs_and_no_job(self, desk: Desk, by_sql: Sql) -> None:
        number = insert(by_sql)
        assert desk("jobs", "history", str(number)).out == "no run yet\n"
        said = desk("jobs", "history", str(2**63 - 1))
        assert (said.code, said.out) == (1, "")
        assert "there is no job 9223372036854775807" in said.err
