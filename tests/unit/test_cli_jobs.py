"""The pure parts of ``marketd jobs``: what options mean, who may change what, and how jobs read."""

import io
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from marketd.cli.jobadd import Wanted
from marketd.cli.joblisting import judged
from marketd.cli.jobpause import until_ms
from marketd.cli.jobrules import Verb, checked, held, holders, reached
from marketd.cli.jobwords import paused
from marketd.cli.root import main
from marketd.clock import at, ms_of
from marketd.config import Config, build
from marketd.cron import Crons
from marketd.errors import JobRefused, PrivilegeError, UsageError
from marketd.jobs import NO_DERIVE
from marketd.model import Job, JobRow, JobType
from marketd.pauses import ENDLESS_MS, next_run_ms, pause_end_ms
from marketd.store.jobrows import KnownJob

NOW_MS = ms_of(datetime(2026, 1, 1, 0, 2, 3, tzinfo=UTC))
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def known(number: int, origin: str = "cli", *, removed: bool = False, owner: str | None = None) -> KnownJob:
    return KnownJob(
        number, "bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, enabled=not removed, origin=origin, owner=owner,
        removed=removed,
    )  # fmt: skip


def row(number: int, **columns: object) -> dict[str, Any]:
    return {
        "id": number, "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "continuous",
        "schedule": "*/5 * * * *", "enabled": True, "start_time": None, "end_time": None, "catch_up": "one",
        "timeout_s": None, "freshness_s": None, "jitter_s": None, "origin": "cli", "owner": None, "caused_by": None,
        "created_at": at(NOW_MS), "paused_until": None, "removed_at": None, "last_run": None, "status": None,
        "last_error": None, **columns,
    }  # fmt: skip


def rows_of(*, symbols: tuple[str, ...] = ("BTCUSD",), timeframes: tuple[str, ...] = (), **raw: object) -> list[JobRow]:
    given = {"exchange": "bitfinex", "job_type": "backfill", "enabled": True, **raw}
    return Wanted(given, symbols, timeframes, all_symbols=not symbols).rows(NOW_MS, NO_DERIVE)


class TestAdd:
    def test_makes_one_row_a_symbol_and_timeframe(self) -> None:
        made = rows_of(symbols=("BTCUSD", "ETHUSD"), timeframes=("1m", "1h"))
        assert [(each.symbol, each.timeframe, each.origin) for each in made] == [
            ("BTCUSD", "1m", "cli"), ("BTCUSD", "1h", "cli"), ("ETHUSD", "1m", "cli"), ("ETHUSD", "1h", "cli"),
        ]  # fmt: skip

    def test_leaves_out_what_means_all(self) -> None:
        assert [(each.symbol, each.timeframe) for each in rows_of(symbols=())] == [(None, None)]

    def test_reads_every_option_like_the_job_file(self) -> None:
        (made,) = rows_of(
            timeframes=("1d",), job_type="continuous", schedule="*/5  * * * *", start="2024-01-01",
            end="2030-01-01T00:00:00Z", catch_up="none", timeout_s=60.0, jitter_s=20.0, freshness_s=300.0,
            enabled=False,
        )  # fmt: skip
        assert made == JobRow(
            "bitfinex", "BTCUSD", "1d", JobType.CONTINUOUS, "*/5 * * * *", enabled=False,
            start_ms=ms_of(datetime(2024, 1, 1, tzinfo=UTC)), end_ms=ms_of(datetime(2030, 1, 1, tzinfo=UTC)),
            catch_up="none", timeout_s=60.0, jitter_s=20.0, freshness_s=300.0, origin="cli",
        )  # fmt: skip

    def test_names_every_mistake_at_once_with_value_and_cure(self) -> None:
        with pytest.raises(UsageError) as caught:
            rows_of(
                symbols=("BTC\x1b[2JUSD", "b" * 5000), timeframes=("7x", "1m", "1m"), schedule="* " * 150,
                start="2024-01-01T00:00", end="1999-01-01", catch_up="two", timeout_s=float("nan"), jitter_s="soon",
                freshness_s=float("inf"),
            )  # fmt: skip
        said = str(caught.value)
        for mistake in (
            "--symbol: 'BTCUSD' is not a Bitfinex pair: write BTCUSD",
            "--symbol: 'bbb",
            "--timeframe: unknown timeframe '7x'; bitfinex offers 1m",
            "--timeframe '1m' is given 2 times; give it once",
            "--schedule: cron expression of 300 characters; at most 256 are accepted",
            "--start: 2024-01-01T00:00:00 has no offset; write 2024-01-01T00:00:00Z",
            "--end: 1999-01-01T00:00:00+00:00 is before 2000-01-01",
            "--catch-up: 'two' is unknown; accepted is one or none",
            "--timeout: nan is not a time in seconds; accepted is a number above 0, up to 31622400",
            "--jitter: 'soon' is not a time in seconds; accepted is a number above 0, up to 3600",
            "--freshness: inf is not a time in seconds",
        ):
            assert mistake in said
        assert said.startswith("11 mistakes:\n")
        assert all(line.isprintable() for line in said.splitlines())
        assert len(said) < 3000

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            (Wanted({}, (), ()), "--symbol is missing; give it, or --all-symbols"),
            (Wanted({}, ("BTCUSD",), (), all_symbols=True), "--all-symbols: --symbol is given too"),
            (
                Wanted({"exchange": "krakn"}, ("BTCUSD",), ()),
                "--exchange: unknown exchange 'krakn'; known are bitfinex",
            ),
            (Wanted({"job_type": "fill"}, ("BTCUSD",), ()), "--type: unknown job_type 'fill'; known are backfill"),
            (Wanted({"job_type": "continuous"}, ("BTCUSD",), ()), "the usual one is --schedule '*/5 * * * *'"),
        ],
    )
    def test_refuses_what_cannot_be_meant(self, wanted: Wanted, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            wanted.rows(NOW_MS, NO_DERIVE)
        assert said in str(caught.value)

    @pytest.mark.parametrize("job_type", ["gap_repair", "backfill"])
    def test_needs_no_schedule_for_what_falls_due_by_itself(self, job_type: str) -> None:
        assert rows_of(job_type=job_type)[0].schedule is None


class TestUntil:
    @pytest.mark.parametrize(
        ("written", "ms"),
        [
            ("90m", NOW_MS + 90 * MINUTE),
            ("2h", NOW_MS + 2 * HOUR),
            ("3d", NOW_MS + 3 * DAY),
            ("1w", NOW_MS + 7 * DAY),
            ("2026-01-02", NOW_MS - 123_000 + DAY),
            ("2026-01-01T02:00:00+01:00", NOW_MS - 123_000 + HOUR),
        ],
    )
    def test_is_a_time_or_how_long(self, written: str, ms: int) -> None:
        assert until_ms(written, NOW_MS) == ms

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("2026-01-01", "is not in the future; it is 2026-01-01T00:02:03Z now"),
            ("0h", "is not in the future"),
            ("2026-01-01T02:00", "has no offset"),
            ("2200-01-01", "is after 2200-01-01; leave --until out"),
            ("999999w", "is after 2200-01-01"),
            ("9999999w", "is no time"),
            ("-2h", "is no time; write 2024-01-01 or 2024-01-01T00:00:00Z, or how long: 90m, 2h, 3d, 1w"),
            ("2y", "or how long"),
            ("", "is no time"),
            ("\x1b[2J", "is no time"),
            ("٣h", "is no time"),
        ],
    )
    def test_refuses_everything_else(self, written: str, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            until_ms(written, NOW_MS)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()


class TestRules:
    @pytest.mark.parametrize("verb", Verb)
    @pytest.mark.parametrize("origin", ["cli", "auto"])
    def test_what_was_made_here_may_be_changed(self, verb: Verb, origin: str) -> None:
        assert checked([3, 3], {3: known(3, origin)}, verb) == [known(3, origin)]

    @pytest.mark.parametrize(
        ("verb", "cure"),
        [
            (Verb.ENABLE, "set enabled = true in the file and reload"),
            (Verb.DISABLE, "set enabled = false in the file and reload, or `marketd jobs pause 3`"),
            (Verb.REMOVE, "take it out of the file and reload, or `marketd jobs pause 3`"),
        ],
    )
    def test_a_job_of_the_file_is_changed_in_the_file(self, verb: Verb, cure: str) -> None:
        with pytest.raises(JobRefused) as caught:
            checked([3], {3: known(3, "file", owner="host\nb")}, verb)
        assert str(caught.value) == (
            f"job 3 comes from the job file of host b, whose next reload would undo this: {cure}"
        )

    @pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME])
    @pytest.mark.parametrize("origin", ["file", "sql", "cli", "auto", "order"])
    def test_every_job_may_be_paused(self, verb: Verb, origin: str) -> None:
        assert checked([3], {3: known(3, origin)}, verb)

    @pytest.mark.parametrize(("verb", "refused"), [(Verb.ENABLE, True), (Verb.REMOVE, True), (Verb.DISABLE, False)])
    def test_an_order_may_only_be_withdrawn(self, verb: Verb, refused: bool) -> None:
        jobs = {3: known(3, "order")}
        if not refused:
            assert checked([3], jobs, verb)
            return
        with pytest.raises(JobRefused, match="is an order by hand"):
            checked([3], jobs, verb)

    @pytest.mark.parametrize("verb", Verb)
    def test_every_reason_is_said_at_once(self, verb: Verb) -> None:
        with pytest.raises(JobRefused) as caught:
            checked([9, 4, 3], {3: known(3), 4: known(4, removed=True)}, verb)
        assert str(caught.value).splitlines() == [
            "nothing was changed:",
            "  there is no job 9; `marketd jobs list --all` shows all",
            "  job 4 was removed; `marketd jobs add` makes a new one",
        ]

    def test_rows_that_the_database_passes_over_are_named_with_the_statement(self) -> None:
        reached([known(3)], {3}, Verb.DISABLE)
        with pytest.raises(PrivilegeError) as caught:
            reached([known(3), known(4, "sql")], {3}, Verb.DISABLE)
        assert "may not change job 4 (origin sql)" in str(caught.value)
        assert "UPDATE market_data_jobs SET enabled = false WHERE id = 4;" in str(caught.value)

    def test_a_slot_is_held_by_the_lowest_usable_row(self) -> None:
        rows = [row(1, symbol="nope"), row(2, timeframe="7x"), row(4), row(3, origin="sql")]
        (holder,) = holders(rows, NO_DERIVE).values()
        assert holder.id == 3

    @pytest.mark.parametrize(
        ("by", "said"),
        [
            (known(7), "x is the work of job 7 already, origin cli: `marketd jobs remove 7` first"),
            (known(7, "sql"), "x is the work of job 7 already, made by SQL: change it there"),
            (known(7, "file", owner="here"), "already, from the job file of here: change it there"),
        ],
    )
    def test_who_holds_a_slot_is_said_with_a_cure(self, by: KnownJob, said: str) -> None:
        assert said in held("x", by)


class TestNextRun:
    @pytest.mark.parametrize(
        ("paused_until_ms", "next_ms"),
        [
            (None, NOW_MS - 123_000 + 5 * MINUTE),
            (NOW_MS - 1, NOW_MS - 123_000 + 5 * MINUTE),
            (NOW_MS - 123_000 + HOUR, NOW_MS - 123_000 + HOUR),
            (NOW_MS - 123_000 + HOUR + 1, NOW_MS - 123_000 + HOUR + 5 * MINUTE),
            (ENDLESS_MS, None),
        ],
    )
    def test_is_not_before_a_pause_ends(self, paused_until_ms: int | None, next_ms: int | None) -> None:
        job = Job(
            1, "bitfinex", "BTCUSD", "1m", JobType.CONTINUOUS, "*/5 * * * *", paused_until_ms=paused_until_ms
        )  # fmt: skip
        assert next_run_ms(job, Crons(), NOW_MS) == next_ms

    @pytest.mark.parametrize(("schedule", "enabled"), [(None, True), ("* * * * *", False)])
    def test_is_never_without_schedule_or_while_disabled(self, schedule: str | None, enabled: bool) -> None:
        job = Job(1, "bitfinex", "BTCUSD", "1m", JobType.BACKFILL, schedule, enabled)
        assert next_run_ms(job, Crons(), NOW_MS) is None


def test_how_a_pause_reads() -> None:
    assert pause_end_ms(None, NOW_MS) == pause_end_ms(NOW_MS, NOW_MS) == (False, None)
    assert pause_end_ms(NOW_MS + 1, NOW_MS) == (True, NOW_MS + 1)
    assert pause_end_ms(ENDLESS_MS, NOW_MS) == (True, None)
    assert (paused(None), paused(NOW_MS)) == ("paused", "paused until 2026-01-01 00:02")


@pytest.fixture
def config() -> Config:
    return build('timeframes = ["1m", "1h"]', {}, None, lambda path: None, need_database=False)


@pytest.mark.parametrize(
    ("columns", "state", "refused"),
    [
        ({}, "enabled", None),
        ({"enabled": False}, "disabled", None),
        ({"enabled": False, "removed_at": at(NOW_MS)}, "removed", None),
        ({"origin": "order"}, "waiting", None),
        ({"origin": "order", "last_run": 7}, "running", None),
        ({"origin": "order", "enabled": False}, "ended", None),
        ({"paused_until": at(NOW_MS + HOUR)}, "paused until 2026-01-01 01:02", None),
        ({"paused_until": at(NOW_MS - HOUR)}, "enabled", None),
        ({"paused_until": datetime(9999, 1, 1, tzinfo=UTC)}, "paused", None),
        ({"id": 9}, "refused", "job 2 does the same for the same series"),
        ({"timeframe": "7x"}, "refused", "unknown timeframe '7x'"),
        ({"schedule": "\x1b[2J"}, "refused", "schedule: cron expression"),
        ({"timeout_s": float("nan")}, "refused", "timeout_s: nan"),
    ],
)
def test_a_row_is_listed_with_its_state(
    config: Config, columns: dict[str, object], state: str, refused: str | None
) -> None:
    rows = [row(1, symbol="ETHUSD") if "id" not in columns else row(2), row(5, **columns)]
    listed = judged(config, rows, {}, NOW_MS)[1]
    assert listed.state == state
    assert (listed.refused is None) == (refused is None)
    assert (refused or "") in (listed.refused or "")
    assert (listed.next_ms is not None) == (state.startswith(("enabled", "paused until")))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["add", "--symbol", "BTCUSD"], "Missing option '--type'"),
        (["add", "--symbol", "BTCUSD", "--type", "backfill", "--end", "2024-01-01", "--end", "2025-01-01"], "2 times"),
        (["list", "--type", "fill"], "unknown job_type 'fill'"),
        (["list", "--exchange", "krakn"], "unknown exchange 'krakn'"),
        (["enable"], "Missing argument"),
        (["disable", "0"], "0 is not in the range"),
        (["disable", "9223372036854775808"], "is not in the range"),
        (["disable", "1e3"], "'1e3' is not a valid integer range"),
        (["remove", "1"], "nobody can be asked here: to remove jobs, give --yes"),
        (["pause"], "give either ids of jobs or --exchange"),
        (["pause", "1", "--exchange", "bitfinex"], "give either ids of jobs or --exchange"),
        (["pause", "--exchange", "krakn"], "unknown exchange 'krakn'"),
        (["pause", "1", "--until", "2020-01-01"], "'2020-01-01' is not in the future"),
        (["resume"], "give either ids of jobs or --exchange"),
        (["history", "99999999999999999999"], "is not in the range"),
    ],
)
def test_wrong_usage_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["jobs", *argv]) == 2
    assert said in capsys.readouterr().err
