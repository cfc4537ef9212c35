"""Commands against a real database and the rehearsal exchange, in this process."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stamina

from marketd.cli.start import log_service
from marketd.clock import ScaledClock
from marketd.config import load
from marketd.rehearsal.faults import Lost, ServerError, TimeframeRefused, UnknownSymbol
from marketd.store import migrations, removal
from tests.command import FIRST_MS, NOW_MS, Desk, clean_process, configuration, execute, server_at
from tests.conftest import BackgroundLoop
from tests.roles import login_url

HOUR_MS = 3_600_000
SILENT_MS = 1_708_992_000_000 - 3 * 24 * HOUR_MS  # 2024-02-24
WEEK = ("--start", "2024-02-20", "--end", "2024-02-27")


def test_migrate_names_what_it_will_do_and_does_it_once(
    empty_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_at(ScaledClock(NOW_MS))
    with clean_process(monkeypatch):
        desk = Desk(
            configuration(tmp_path, empty_database, "http://127.0.0.1:1/v2"), server, ScaledClock(NOW_MS), capsys
        )
        names = [str(migration) for migration in migrations.load()]
        assert desk("status").code == 78
        assert "run `marketd migrate`" in desk("status").err
        assert desk("migrate", "--dry-run").out.splitlines() == [f"would apply {name}" for name in names]
        assert desk("migrate").out.splitlines() == [f"applied {name}" for name in names]
        assert desk("migrate").out == "nothing to do: the schema is current\n"
        assert desk("migrate", "--json").json == {"dry_run": False, "migrations": []}
        assert desk("status").out.startswith("no series yet")


def test_a_backfill_is_shown_recorded_and_not_repeated(desk: Desk) -> None:
    said = desk("backfill", "--symbol", "BTCUSD", *WEEK, "--json")
    assert said.code == 0
    assert [(row["timeframe"], row["status"], row["candles_inserted"]) for row in said.json] == [
        ("1h", "success", 7 * 24), ("1d", "success", 7),
    ]  # fmt: skip
    assert "bitfinex BTCUSD 1h: " in said.err
    before = desk.asked
    again = desk("backfill", "--symbol", "BTCUSD", *WEEK, "--resume", "--json").json
    assert [row["candles_fetched"] for row in again] == [0, 0]
    assert desk.asked - before == 1  # the list of symbols, which tells the time
    runs = desk("runs", "--json").json["runs"]
    assert [(run["job_type"], run["symbol"], run["timeframe"], run["status"]) for run in runs] == [
        ("backfill", "BTCUSD", "1d", "success"), ("backfill", "BTCUSD", "1h", "success"),
        ("backfill", "BTCUSD", "1d", "success"), ("backfill", "BTCUSD", "1h", "success"),
    ]  # fmt: skip
    assert len(desk("runs", "--limit", "1").out.splitlines()) == 3
    assert desk("runs", "--job", "999").err.startswith("marketd: error: there is no job 999")


def test_tables_are_not_cut_in_a_pipe(desk: Desk) -> None:
    said = desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1d", *WEEK)
    header, rule, row = said.out.splitlines()
    assert " ".join(header.split()) == ("series status requests inserted updated empty gaps opened closed open")
    assert set(rule) == {"─"}
    assert row.split()[:6] == ["bitfinex", "BTCUSD", "1d", "success", "3", "7"]


def test_status_coverage_and_verify_agree(desk: Desk) -> None:
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", "--timeframe", "1w", "--start", "2024-02-05")
    status = desk("status", "--json").json
    by_frame = {row["timeframe"]: row for row in status["series"]}
    assert by_frame["1h"]["completeness_ratio"] == 1
    assert by_frame["1h"]["candles_count"] == 25 * 24
    assert by_frame["1w"]["derived_from"] == "1d"
    assert status["leases"][0]["alive"] is False
    table = desk("status", "--timeframe", "1h")
    assert "100 %" in table.out
    assert "nobody works on it" in table.err
    line, legend = desk("coverage", "--timeframe", "1h", "--width", "25").out.splitlines()
    assert "█" * 25 in line
    assert "complete" in legend
    (buckets,) = desk("coverage", "--timeframe", "1h", "--start", "2024-02-04", "--width", "2", "--json").json
    assert [bucket["unknown"] for bucket in buckets["buckets"]] == [24, 0]
    verdict = desk("verify")
    assert verdict.code == 0
    assert verdict.out.startswith("clean: 25 statements over ")


def test_damage_is_found_by_verify_and_repaired(desk: Desk, database: str, background: BackgroundLoop) -> None:
    """fault_68."""
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", *WEEK)
    execute(background, database, "DELETE FROM candles WHERE extract(hour FROM open_time) = 5")
    found = desk("verify", "--limit", "2")
    assert found.code == 1
    assert "VIOLATED i01_accounted" in found.out
    assert "7 rows in all" in found.err
    report = desk("verify", "--symbol", "BTCUSD", "--json").json
    assert (report["clean"], report["violations"][0]["total"]) == (False, 7)
    assert desk("verify", "--symbol", "ETHUSD").code == 0
    said = desk("repair-gaps", "--symbol", "BTCUSD", "--timeframe", "1h", "--max-gaps", "100", "--json")
    (row,) = said.json
    assert (row["status"], row["gaps_opened"], row["gaps_closed"], row["open_gaps"]) == ("success", 7, 7, 0)
    assert row["candles_inserted"] == 7
    assert desk("verify").code == 0
    closed = desk("gaps", "--closed", "--json").json
    assert (len(closed["gaps"]), closed["open"]) == (7, 0)
    assert {gap["resolution"] for gap in closed["gaps"]} == {"stored"}


def test_candles_that_were_restored_without_their_ledger_get_one(
    desk: Desk, database: str, background: BackgroundLoop, pg_bin_dir: Path, tmp_path: Path
) -> None:
    """By pg_dump and psql. A silence was confirmed, and has to be asked for again; nothing else."""
    frames = ("--timeframe", "1h", "--timeframe", "1d", "--timeframe", "1w")
    desk.faults.add(Lost(symbols=("BTCUSD",), start_ms=SILENT_MS, end_ms=SILENT_MS + 3 * HOUR_MS))
    assert desk("backfill", "--symbol", "BTCUSD", *frames, *WEEK).code == 0
    desk.clock.jump(7200)
    assert desk("repair-gaps", "--symbol", "BTCUSD").code == 0
    before = execute(background, database, "SELECT * FROM candles ORDER BY timeframe, open_time")
    url, dump = f"postgresql://{database.partition('://')[2]}", tmp_path / "candles.sql"
    subprocess.run([pg_bin_dir / "pg_dump", "--data-only", "-t", "candles", "-f", dump, url], check=True)
    execute(
        background, database,
        "TRUNCATE candles, candle_coverage, candle_gaps, candle_revisions, market_series, series_figures",
    )  # fmt: skip
    subprocess.run([pg_bin_dir / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", dump, url], check=True)
    assert "w02_foreign_rows" in desk("verify").out
    said = desk("verify", "--rebuild-ledger")
    assert said.code == 0
    assert said.out.splitlines() == [
        "bitfinex BTCUSD 1d: 7 stored, 0 no longer known",
        "bitfinex BTCUSD 1h: 165 stored, 0 no longer known",
    ]
    assert desk("verify").out.startswith("clean: ")
    asked = desk.asked
    assert desk("backfill", "--symbol", "BTCUSD", *frames, *WEEK).code == 0
    assert desk.asked - asked <= 5
    assert execute(background, database, "SELECT * FROM candles ORDER BY timeframe, open_time") == before
    assert desk("verify").out.startswith("clean: ")


def test_a_ledger_that_knows_more_than_was_restored_is_made_anew(
    desk: Desk, database: str, background: BackgroundLoop
) -> None:
    desk.faults.add(Lost(symbols=("BTCUSD",), start_ms=SILENT_MS, end_ms=SILENT_MS + 3 * HOUR_MS))
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", *WEEK)
    execute(background, database, "DELETE FROM candles WHERE open_time > '2024-02-25'")
    assert desk("verify").code == 1
    report = desk("verify", "--rebuild-ledger", "--symbol", "BTCUSD", "--json").json
    assert report == {
        "series": [{"exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1h", "stored": 118, "forgotten": 50}]
    }
    assert desk("verify").out.startswith("clean: ")
    assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", *WEEK).code == 0
    assert execute(background, database, "SELECT count(*) FROM candles")[0][0] == 165
    assert desk("verify", "--rebuild-ledger", "--symbol", "ETHUSD").out == "no series yet\n"
    execute(
        background, database,
        "UPDATE exchange_leases SET kind = 'daemon', holder = 'host:1', expires_at = now() + interval '1 hour'",
    )  # fmt: skip
    held = desk("verify", "--rebuild-ledger")
    assert (held.code, "worked on by daemon host:1: stop it first" in held.err) == (75, True)
    refused = desk("verify", "--rebuild-ledger", "--sample")
    assert (refused.code, "without --sample" in refused.err) == (2, True)


def test_a_mistaken_series_is_taken_away_by_who_may(
    desk: Desk, database: str, background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ("series", "drop", "--symbol", "BTCUSD", "--timeframe")
    monkeypatch.setattr(removal, "_PORTION", 50)
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", "--timeframe", "1d", "--timeframe", "1w", *WEEK)
    assert desk(*gone, "1h").code == 2
    assert "give --yes" in desk(*gone, "1h").err
    shown = desk(*gone, "1h", "--dry-run")
    assert (shown.code, shown.out) == (
        0, "bitfinex BTCUSD 1h: 168 stored candles from 2024-02-20 00:00 to 2024-02-26 23:00, 0 gaps, 0 revisions\n"
    )  # fmt: skip
    refused = desk(*gone, "1d", "--yes")
    assert (refused.code, "1w is built from it" in refused.err) == (1, True)
    execute(
        background, database,
        "INSERT INTO market_data_jobs (exchange, symbol, job_type, schedule) "
        "VALUES ('bitfinex', 'BTCUSD', 'continuous', '* * * * *')",
    )  # fmt: skip
    refused = desk(*gone, "1h", "--yes")
    assert (refused.code, "keeps it (`marketd jobs disable" in refused.err) == (1, True)
    execute(background, database, "UPDATE market_data_jobs SET enabled = false")
    with monkeypatch.context() as patched:
        patched.setenv("DATABASE_URL", background.run(login_url(database, "marketd_run")))
        assert desk(*gone, "1h", "--yes").code == 77
        patched.setenv("DATABASE_URL", background.run(login_url(database, "marketd_retain")))
        assert desk(*gone, "1h", "--yes").out.endswith("bitfinex BTCUSD 1h is gone, with 168 candles\n")
    assert desk(*gone, "1h", "--yes").code == 1
    assert execute(background, database, "SELECT array_agg(DISTINCT timeframe) FROM candles")[0][0] == ["1d"]
    for table in ("candle_coverage", "candle_gaps", "market_series", "series_figures", "candle_revisions"):
        assert execute(background, database, f"SELECT count(*) FROM {table} WHERE timeframe = '1h'")[0][0] == 0, table
    assert desk("verify").out.startswith("clean: ")
    assert [row["timeframe"] for row in desk("status", "--json").json["series"]] == ["1d", "1w"]
    assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", *WEEK).code == 0
    assert desk("verify").out.startswith("clean: ")


def test_a_sample_says_how_much_it_has_seen_and_what_it_finds_is_kept(
    desk: Desk, database: str, background: BackgroundLoop
) -> None:
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", *WEEK)
    said = desk("verify", "--sample")
    assert (said.code, said.err) == (0, "")
    assert "25 statements over 100 % (" in said.out
    nothing = desk("verify", "--sample", "0", "--seed", "7", "--json").json
    assert (nothing["sample"], nothing["seed"], nothing["pieces"]) == (True, 7, 1)
    assert nothing["pieces_known"] > 1
    execute(background, database, "UPDATE series_figures SET stored = stored + 1")
    assert desk("verify", "--symbol", "ETHUSD").code == 0
    assert desk("verify", "--sample").code == 1
    kept = "SELECT array_agg(kind || violations::text ORDER BY id) FROM verify_runs"
    assert execute(background, database, kept)[0][0] == ["sample{}", "sample{}", 'sample{"i19_figures": 1}']
    refused = desk("verify", "--seed", "7")
    assert refused.code == 2
    assert "give --sample too" in refused.err


def test_rows_by_others_are_a_warning_not_a_violation(desk: Desk, database: str, background: BackgroundLoop) -> None:
    execute(
        background, database,
        "INSERT INTO candles VALUES ('2024-01-01Z', '2024-01-02Z', 'bitfinex', 'BTCUSD', '1d', 1, 1, 1, 1, 0)",
    )  # fmt: skip
    said = desk("verify")
    assert said.code == 0
    assert "warning w02_foreign_rows" in said.out
    assert "no violation, 1 warning" in said.out


def test_a_suspect_silence_is_listed_until_it_is_settled(desk: Desk) -> None:
    desk.faults.add(Lost(start_ms=FIRST_MS + 86_400_000, end_ms=FIRST_MS + 2 * 86_400_000))
    (row,) = desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h", "--json").json
    assert (row["empty_intervals"], row["open_gaps"]) == (24, 1)
    listed = desk("gaps", "--cause", "suspect")
    assert "suspect" in listed.out
    assert "2024-02-02 00:00" in listed.out
    assert desk("gaps", "--cause", "failed").out == "no open gap\n"
    assert "█?█" in desk("coverage", "--width", "29").out
    assert "24 suspect" in desk("status").out
    desk.faults.clear(Lost)
    (row,) = desk("repair-gaps", "--json").json
    assert (row["candles_inserted"], row["open_gaps"]) == (24, 0)


def test_a_timeframe_that_the_exchange_refuses_is_built(desk: Desk) -> None:
    desk.faults.add(TimeframeRefused(timeframes=("4h",)))
    (row,) = desk("backfill", "--symbol", "BTCUSD", "--timeframe", "4h", *WEEK, "--json").json
    assert (row["status"], row["derived_from"]) == ("success", "1h")
    assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "4h", *WEEK).out.rstrip().endswith("built from 1h")


def test_nothing_to_repair_is_said(desk: Desk) -> None:
    said = desk("repair-gaps")
    assert (said.code, said.out) == (0, "")
    assert "nothing is known of bitfinex yet" in said.err
    assert desk.asked == 0


def test_an_unknown_symbol_fails_that_series_alone(desk: Desk) -> None:
    said = desk("backfill", "--symbol", "BTCUSF", "--symbol", "BTCUSD", "--timeframe", "1d", "--json")
    assert said.code == 1
    assert [row["status"] for row in said.json] == ["failed", "success"]
    assert "marketd: error: bitfinex BTCUSF 1d: bitfinex does not list BTCUSF; did you mean BTCUSD" in said.err
    assert desk("runs", "--json").json["runs"][1]["error_message"].startswith("bitfinex BTCUSF 1d: bitfinex does not")


def test_a_symbol_that_is_answered_with_nothing_is_still_unknown(desk: Desk) -> None:
    """fault_49."""
    desk.faults.add(UnknownSymbol(answer="empty"))
    said = desk("backfill", "--symbol", "ABCDEF", "--timeframe", "1d")
    assert said.code == 1
    assert "does not list ABCDEF" in said.err


def test_an_exchange_out_of_reach_is_69_and_its_run_says_why(desk: Desk) -> None:
    desk.faults.add(ServerError(status=503))
    with stamina.set_testing(True, attempts=2):
        said = desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1h")
    assert said.code == 69
    assert "HTTP 503" in said.err.splitlines()[-1]
    (run,) = desk("runs", "--json").json["runs"]
    assert run["status"] == "failed"
    assert "HTTP 503" in run["error_message"]


def test_a_plan_asks_nothing_and_bounds_what_a_backfill_then_needs(desk: Desk) -> None:
    words = (
        "--symbol",
        "BTCUSD",
        "--timeframe",
        "1h",
        "--timeframe",
        "1w",
        "--start",
        "2024-02-05",
        "--end",
        "2024-02-26",
    )
    plan = desk("plan", *words, "--json")
    assert (plan.code, desk.asked) == (0, 0)
    by_frame = {row["timeframe"]: row for row in plan.json["series"]}
    assert list(by_frame) == ["1h", "1d", "1w"]
    assert by_frame["1h"]["note"] == "first candle unknown: from --start"
    assert by_frame["1w"]["requests_at_most"] == 0
    assert by_frame["1w"]["note"] == "built from 1d"
    done = desk("backfill", *words, "--json").json
    assert sum(row["requests"] for row in done) <= plan.json["total"]["requests_at_most"]
    left = desk("plan", *words, "--json").json
    assert (left["total"]["requests_at_most"], left["total"]["candles_at_most"]) == (0, 0)


def test_a_plan_without_a_start_needs_the_first_candle(desk: Desk) -> None:
    said = desk("plan", "--symbol", "BTCUSD", "--timeframe", "1h")
    assert "first candle unknown: give --start, or --ask looks it up" in said.out
    assert "besides what is not known" in said.out
    asked = desk("plan", "--symbol", "BTCUSD", "--timeframe", "1h", "--ask", "--json").json
    assert asked["series"][0]["unknown_intervals"] == 29 * 24
    assert desk.asked == 2


def test_while_another_process_works_a_command_may_refuse_to_wait(
    desk: Desk, database: str, background: BackgroundLoop
) -> None:
    execute(
        background, database,
        "INSERT INTO exchange_leases VALUES ('bitfinex', 'elsewhere:7', 'command', 1, now() + interval '1 hour')",
    )  # fmt: skip
    for words in (
        ["backfill", "--symbol", "BTCUSD"],
        ["repair-gaps", "--symbol", "BTCUSD"],
        ["plan", "--symbol", "BTCUSD", "--ask"],
    ):
        said = desk(*words, "--no-wait")
        assert said.code == 75
        assert said.err.startswith("marketd: error: bitfinex is worked on by command elsewhere:7")
    assert "command elsewhere:7 works on it" in desk("status").err
    assert desk.asked == 0


def test_a_waiting_command_says_for_whom_and_goes_on(desk: Desk, database: str, background: BackgroundLoop) -> None:
    execute(
        background, database,
        "INSERT INTO exchange_leases VALUES ('bitfinex', 'elsewhere:7', 'command', 1, now() + interval '1.5 seconds')",
    )  # fmt: skip
    said = desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1d", *WEEK)
    assert said.code == 0
    assert said.err.startswith("bitfinex is worked on by command elsewhere:7; waiting (--no-wait ends instead)\n")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (
            ('\nurl = "', '\nurl = "postgresql://me:geheim@127.0.0.1:1/x" #'),
            69,
            "postgresql://me:***@127.0.0.1:1/x is out of reach",
        ),
        (
            ('\nurl = "', '\nurl = "mysql://me:geheim@host/x" #'),
            78,
            "database.url: accepted is a URL such as postgresql://",
        ),
        (("[http]", "[web]"), 78, "web: unknown key"),
        (("60000", '"many"'), 78, "exchanges.bitfinex.requests_per_minute: 'many': accepted is a number"),
    ],
)
def test_what_cannot_be_worked_with_is_refused_in_words(
    desk: Desk, change: tuple[str, str], code: int, said: str
) -> None:
    desk.config.write_text(desk.config.read_text().replace(*change))
    for command in ("status", "verify"):
        refused = desk(command)
        assert (refused.code, refused.out) == (code, "")
        assert said in refused.err
        assert "geheim" not in refused.err


def test_check_shows_every_setting_without_its_secret(desk: Desk) -> None:
    desk.config.write_text(desk.config.read_text() + 'api_secret = "geheim"\n')
    said = desk("check", "--print")
    assert said.code == 0
    assert "exchanges.bitfinex.api_secret" in said.out
    assert "geheim" not in said.out + said.err
    assert "nothing is wrong" in said.out
    shape = desk("check", "--print", "--json").json
    assert shape["mistakes"] == []
    assert {"key": "timeframes", "value": "1h,1d", "origin": f"file {desk.config}"} in shape["settings"]


@pytest.mark.parametrize("place", ["url_file", "file"])
def test_check_and_the_daemon_warn_of_a_password_that_everybody_may_read(desk: Desk, database: str, place: str) -> None:
    """fault_70."""
    url = f"{database}&password=geheim"
    secret = desk.config.parent / "database_url"
    text = desk.config.read_text(encoding="utf-8")
    if place == "url_file":
        secret.write_text(f"{url}\n", encoding="utf-8")
        text = text.replace(f"url = {json.dumps(database)}", 'url_file = "database_url"')
    else:
        secret = desk.config
        text = text.replace(json.dumps(database), json.dumps(url))
    desk.config.write_text(text, encoding="utf-8")
    for mode, exposed in ((0o604, True), (0o640, False)):
        secret.chmod(mode)
        said = desk("check")
        assert said.code == 0
        assert (f"{secret} holds the database's password" in said.err) == exposed
        assert "geheim" not in said.out + said.err
        log_service(load(desk.config, {}))
        assert (f"chmod o-r {secret}" in desk.capsys.readouterr().err) == exposed


def test_check_names_all_mistakes_of_file_and_rows(desk: Desk, database: str, background: BackgroundLoop) -> None:
    jobs = desk.config.parent / "jobs.toml"
    jobs.write_text('[[jobs]]\nexchange = "krakn"\njob_type = "continuous"\nschedule = "every day"\n')
    desk.config.write_text('jobs_file = "jobs.toml"\n' + desk.config.read_text())
    insert = (
        "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type) VALUES ('bitfinex', $1, '1h', 'backfill')"
    )
    for symbol in ("nope", "BTCUSD", "BTCUSD"):
        execute(background, database, insert, symbol)
    said = desk("check")
    assert said.code == 78
    for mistake in (
        "unknown exchange 'krakn'",
        "schedule",
        "job 1 is not usable: symbol: 'nope' is not a Bitfinex pair",
    ):
        assert mistake in said.err
    assert "job 3 does the same as job 2" in said.err


def test_check_says_when_the_budget_cannot_carry_the_jobs(desk: Desk) -> None:
    """fault_61."""
    jobs = desk.config.parent / "jobs.toml"
    entry: dict[str, Any] = {"symbols": ["BTCUSD", "ETHUSD"], "timeframes": ["1m"]}
    jobs.write_text(
        '[[jobs]]\nexchange = "bitfinex"\njob_type = "continuous"\nschedule = "* * * * *"\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    )
    desk.config.write_text('jobs_file = "jobs.toml"\n' + desk.config.read_text().replace("60000", "1"))
    said = desk("check")
    assert said.code == 0
    assert "2 series need 2.0 requests a minute, 1.0 are allowed" in said.err


def test_a_reader_needs_no_more_than_the_readers_role(desk: Desk, database: str, background: BackgroundLoop) -> None:
    desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1d", *WEEK)
    (name,) = execute(background, database, "SELECT current_database() AS name")[0]
    execute(background, database, f"CREATE ROLE {name}_reader LOGIN IN ROLE marketd_read")
    execute(background, database, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    desk.config.write_text(desk.config.read_text().replace("user=marketd", f"user={name}_reader"))
    plan = ("plan", "--symbol", "BTCUSD", "--start", "2024-02-01")
    # No backfill row is made for this job before a daemon or a command that writes has read it.
    execute(
        background, database,
        "INSERT INTO market_data_jobs (exchange, symbol, timeframe, job_type, schedule) "
        "VALUES ('bitfinex', 'ETHUSD', '1h', 'continuous', '5 * * * *')",
    )  # fmt: skip
    for words in (("status",), ("verify",), ("gaps",), ("runs",), ("coverage",), ("check",), plan):
        assert desk(*words).code == 0
    (eth,) = desk("status", "--symbol", "ETHUSD", "--json").json["series"]
    assert eth["next_run"].endswith(":05:00+00:00")
    assert desk("status").out.count(" in ") == 1
    assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1d").code == 77
    execute(background, database, f"DROP ROLE {name}_reader")
