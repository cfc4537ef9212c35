"""Jobs: the file, rows of the table, and who works on which series."""

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.clock import at, ms_of
from marketd.cron import Crons
from marketd.errors import ConfigError, UsageError
from marketd.jobfile import moment, read_jobs
from marketd.jobs import (
    Feasibility,
    assigned,
    duplicates,
    feasibility,
    job_from_row,
    ordered,
    tracked_series,
    work_of,
    working_rows,
)
from marketd.model import Job, JobRow, JobType, Series

NOW_MS = ms_of(datetime(2026, 1, 1, tzinfo=UTC))
FRAMES = ("1m", "1h")

Row = dict[str, object]


def entry(**keys: str) -> str:
    """A ``[[jobs]]`` of Bitfinex, backfill, with TOML values as they are written."""
    values = {"exchange": '"bitfinex"', "job_type": '"backfill"', **keys}
    return "[[jobs]]\n" + "\n".join(f"{key} = {value}" for key, value in values.items() if value)


def specs(*entries: str) -> tuple[JobRow, ...]:
    return read_jobs("\n".join(entries), NOW_MS)


def refused(*entries: str) -> str:
    with pytest.raises(ConfigError) as caught:
        specs(*entries)
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    return str(caught.value)


class TestFile:
    def test_makes_one_row_a_symbol_and_timeframe(self) -> None:
        made = specs(entry(symbols='["BTCUSD", "ETHUSD"]', timeframes='["1m", "1h"]'))
        assert [(spec.symbol, spec.timeframe) for spec in made] == [
            ("BTCUSD", "1m"), ("BTCUSD", "1h"), ("ETHUSD", "1m"), ("ETHUSD", "1h"),
        ]  # fmt: skip

    def test_makes_one_row_for_all_where_a_list_is_left_out(self) -> None:
        (all_series,) = specs(entry())
        assert (all_series.symbol, all_series.timeframe) == (None, None)
        (all_frames,) = specs(entry(symbols='["BTCUSD"]'))
        assert (all_frames.symbol, all_frames.timeframe) == ("BTCUSD", None)
        (all_symbols,) = specs(entry(timeframes='["1m"]'))
        assert (all_symbols.symbol, all_symbols.timeframe) == (None, "1m")

    def test_reads_every_key(self) -> None:
        (spec,) = specs(
            entry(
                symbols='["BTCUSD"]', timeframes='["1w"]', job_type='"continuous"', schedule='"*/5  * * * *"',
                enabled="false", start="2024-01-01", end='"2025-01-01T00:00:00+02:00"', catch_up='"none"',
                timeout_s="60", freshness_s="300.5", jitter_s="20",
            )
        )  # fmt: skip
        assert spec == JobRow(
            exchange="bitfinex", symbol="BTCUSD", timeframe="1w", job_type=JobType.CONTINUOUS,
            schedule="*/5 * * * *", enabled=False, start_ms=ms_of(datetime(2024, 1, 1, tzinfo=UTC)),
            end_ms=ms_of(datetime(2024, 12, 31, 22, tzinfo=UTC)), catch_up="none", timeout_s=60.0, freshness_s=300.5,
            jitter_s=20.0, origin="file",
        )  # fmt: skip
        job = spec.job(7)
        assert (job.id, job.origin, job.catch_up, job.freshness_s, job.jitter_s) == (7, "file", "none", 300.5, 20.0)

    def test_without_entries_asks_for_nothing(self) -> None:
        assert specs("") == ()
        assert specs("# nothing\n") == ()

    def test_all_mistakes_at_once_each_with_entry_key_value_and_cure(self) -> None:
        """fault_57."""
        said = refused(
            entry(
                exchange='"krakn"', job_type='"fill"', schedule='"0 0 31 2 *"', start="2024-01-01T00:00:00",
                end='"2023-13-01"', enabled="1", catch_up='"two"', timeout_s="0", freshness_s="nan", jitter_s="3601",
                symbol='"BTCUSD"',
            ),
            entry(symbols='["tBTCUSD", 5]', timeframes='["2h"]', start="2030-01-01", end="2025-01-01"),
            entry(symbols="[]", timeframes='"1m"', start='"1999-01-01"', end="12:00:00"),
            "[[jobs]]\nenabled = true",
        )  # fmt: skip
        for mistake in (
            "entry 1: exchange: unknown exchange 'krakn'; known are bitfinex",
            "entry 1: job_type: unknown job_type 'fill'; known are backfill gap_repair continuous",
            "entry 1: schedule: cron expression '0 0 31 2 *' is not one",
            "entry 1: start: 2024-01-01T00:00:00 has no offset; write 2024-01-01T00:00:00Z",
            "entry 1: end: '2023-13-01' is no time; write 2024-01-01",
            "entry 1: enabled: 1 is neither true nor false",
            "entry 1: catch_up: 'two' is unknown; accepted is one or none",
            "entry 1: timeout_s: 0 is not a time in seconds",
            "entry 1: freshness_s: nan is not a time in seconds",
            "entry 1: jitter_s: 3601 is not a time in seconds; accepted is a number above 0, up to 3600",
            "entry 1: symbol: unknown key; known are exchange symbols timeframes",
            "write symbols = [...]",
            "entry 2: symbols: 'tBTCUSD' is not a Bitfinex pair: write BTCUSD",
            "entry 2: symbols: 5 is not a symbol",
            "entry 2: timeframes: unknown timeframe '2h'; bitfinex offers 1m 5m",
            "entry 2: start: 2030-01-01T00:00:00+00:00 is in the future",
            "entry 2: end: 2025-01-01T00:00:00+00:00 is not later than start",
            "entry 3: symbols: list is not a list of names; leave the key out to mean all",
            "entry 3: timeframes: '1m' is not a list of names",
            "entry 3: start: 1999-01-01T00:00:00+00:00 is before 2000-01-01",
            "entry 3: end: time is no time",
            "entry 4: exchange: is missing",
            "entry 4: job_type: is missing",
        ):
            assert mistake in said

    def test_the_same_job_twice_is_a_mistake(self) -> None:
        said = refused(entry(symbols='["BTCUSD", "ETHUSD"]'), entry(symbols='["ETHUSD"]', enabled="false"))
        assert "entry 2: backfill bitfinex ETHUSD all timeframes stands already in entry 1" in said
        assert "entry 1" in refused(entry(symbols='["BTCUSD", "BTCUSD"]'))

    def test_a_configured_derived_timeframe_may_be_named(self) -> None:
        toml = entry(symbols='["BTCUSD"]', timeframes='["2h"]')
        assert read_jobs(toml, NOW_MS, {"bitfinex": {"2h": "1h"}})[0].timeframe == "2h"

    @pytest.mark.parametrize(
        ("toml", "said"),
        [
            ("= =", "not TOML"),
            ("a = " + "[" * 100_000, "nested too deeply"),
            ("jobs = 5", "jobs is not a list"),
            ("jobs = [5]", "entry 1: jobs: 5 is not an entry"),
            ("[jobs]\nexchange = 'bitfinex'", "write each job as [[jobs]]"),
            ("[[job]]\n", "unknown job"),
        ],
    )
    def test_that_is_no_job_file(self, toml: str, said: str) -> None:
        assert said in refused(toml)

    def test_more_than_ten_thousand_rows_are_refused_quickly(self) -> None:
        """fault_58."""
        names = ", ".join(f'"{a}{b}{c}USD"' for a in "ABCDEFGHIJKL" for b in "ABCDEFGHIJKL" for c in "ABCDEFGHIJKL")
        frames = '["1m", "5m", "15m", "30m", "1h", "3h", "6h"]'
        began = time.perf_counter()
        said = refused(entry(symbols=f"[{names}]", timeframes=frames), entry(schedule='"@reboot"'))
        assert "more than 10000 rows" in said
        assert time.perf_counter() - began < 2

    def test_a_flood_of_mistakes_is_cut(self) -> None:
        said = refused(*[entry(symbols='["?"]')] * 500)
        assert "and 400 more" in said
        assert len(said.splitlines()) == 102

    @pytest.mark.parametrize(
        "symbol", ["x" * 10_000, "\\u001b[2J", "BTC/../USD", "btcusd", "ＢＴＣＵＳＤ", "' OR 1=1", ""]
    )
    def test_no_symbol_can_be_anything_but_a_symbol(self, symbol: str) -> None:
        assert len(refused(entry(symbols=f'["{symbol}"]'))) < 400


class TestMoment:
    @pytest.mark.parametrize(
        "written",
        [
            date(2024, 1, 1),
            "2024-01-01",
            "2024-01-01T00:00:00Z",
            "2024-01-01 02:00:00+02:00",
            datetime(2024, 1, 1, tzinfo=UTC),
            datetime(2023, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5))),
        ],
    )
    def test_is_an_instant(self, written: object) -> None:
        assert at(moment(written)) == datetime(2024, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        "written",
        ["2024-01-01T00:00:00", datetime(2024, 1, 1), "soon", "", 5, True, None, "2024-02-30", "0001-01-01"],  # noqa: DTZ001
    )
    def test_or_is_refused(self, written: object) -> None:
        with pytest.raises(UsageError):
            moment(written)


def row(**columns: object) -> Row:
    return {
        "id": 7, "exchange": "bitfinex", "symbol": "BTCUSD", "timeframe": "1m", "job_type": "continuous",
        "schedule": "*/5 * * * *", "enabled": True, "start_time": None, "end_time": None, "catch_up": "one",
        "timeout_s": None, "freshness_s": None, "origin": "sql", "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "paused_until": None, **columns,
    }  # fmt: skip


class TestRow:
    def test_becomes_a_job(self) -> None:
        job = job_from_row(
            row(
                start_time=datetime(2024, 1, 1, tzinfo=UTC), timeout_s=Decimal(60), freshness_s=300.5, jitter_s=15,
                origin="file",
                paused_until=datetime.max.replace(tzinfo=UTC), status="ok",
            )
        )  # fmt: skip
        assert job == Job(
            id=7, exchange="bitfinex", symbol="BTCUSD", timeframe="1m", job_type=JobType.CONTINUOUS,
            schedule="*/5 * * * *", start_ms=ms_of(datetime(2024, 1, 1, tzinfo=UTC)), timeout_s=60.0, origin="file",
            created_ms=NOW_MS, paused_until_ms=job.paused_until_ms, freshness_s=300.5, jitter_s=15.0,
        )  # fmt: skip
        assert job.paused_until_ms is not None
        assert job.paused_until_ms > NOW_MS
        assert job.freshness_s == 300.5
        assert job_from_row(row()).freshness_s is None

    def test_with_nulls_means_all(self) -> None:
        job = job_from_row(row(symbol=None, timeframe=None, schedule=None))
        assert (job.symbol, job.timeframe, job.schedule) == (None, None, None)

    @pytest.mark.parametrize(
        ("column", "value", "said"),
        [
            ("exchange", "krakn", "unknown exchange 'krakn'"),
            ("exchange", None, "exchange: must not be empty"),
            ("symbol", "x" * 10_000, "is not a Bitfinex pair"),
            ("symbol", "BTC\x1b[2JUSD", "is not a Bitfinex pair"),
            ("symbol", 5, "is not a symbol"),
            ("timeframe", "7x", "unknown timeframe '7x'"),
            ("job_type", "fill", "unknown job_type"),
            ("job_type", None, "job_type: must not be empty"),
            ("schedule", "@reboot", "words are not accepted"),
            ("schedule", "0 0 31 2 *", "schedule: cron expression"),
            ("schedule", "* " * 4000, "at most 256"),
            ("enabled", None, "enabled: must not be empty"),
            ("start_time", datetime(2024, 1, 1), "no time zone"),  # noqa: DTZ001
            ("end_time", "soon", "is not a time"),
            ("catch_up", "all", "accepted is one or none"),
            ("timeout_s", -1.0, "timeout_s: -1.0 is not a time in seconds"),
            ("freshness_s", float("nan"), "freshness_s: nan"),
            ("jitter_s", 3600.5, "jitter_s: 3600.5 is not a time in seconds; accepted is a number above 0, up to 3600"),
            ("origin", "evil", "is unknown"),
        ],
    )
    def test_that_is_hostile_is_refused_by_name(self, column: str, value: object, said: str) -> None:
        """fault_56, fault_57, fault_71."""
        with pytest.raises(ConfigError, match="job 7 is not usable") as caught:
            job_from_row(row(**{column: value}))
        assert said in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600

    def test_tells_everything_that_is_wrong(self) -> None:
        times = {"start_time": datetime(2024, 1, 2, tzinfo=UTC), "end_time": datetime(2024, 1, 1, tzinfo=UTC)}
        with pytest.raises(ConfigError) as caught:
            job_from_row(row(symbol="?", schedule="@reboot", **times))
        assert all(part in str(caught.value) for part in ("symbol: ", "schedule: ", "end_time: must be later"))

    def test_ten_thousand_of_them_parse_each_expression_once(self) -> None:
        crons = Crons()
        rows = [row(id=number, schedule=("*/5 * * * *", "0 2 * * *")[number % 2]) for number in range(10_000)]
        began = time.perf_counter()
        jobs = [job_from_row(each, crons) for each in rows]
        assert len(jobs) == 10_000
        assert len(crons) == 2
        assert time.perf_counter() - began < 2


def job(
    number: int,
    symbol: str | None = None,
    timeframe: str | None = None,
    job_type: JobType = JobType.CONTINUOUS,
    enabled: bool = True,
    origin: str = "sql",
    schedule: str | None = "*/5 * * * *",
) -> Job:
    return Job(number, "bitfinex", symbol, timeframe, job_type, schedule, enabled, origin=origin)


def series(symbol: str, timeframe: str) -> Series:
    return Series("bitfinex", symbol, timeframe)


BTC_1M, BTC_1H, ETH_1M, ETH_1H = (series(symbol, frame) for symbol in ("BTCUSD", "ETHUSD") for frame in FRAMES)


class TestTracked:
    def test_are_the_series_that_enabled_jobs_name(self) -> None:
        jobs = [
            job(1, "BTCUSD", "1m"),
            job(2, "ETHUSD"),
            job(3),
            job(4, "LTCUSD", "1m", enabled=False),
            job(5, "XRPUSD", "1m", origin="order"),
            job(6, None, "1d"),
        ]
        assert tracked_series(jobs, FRAMES) == {BTC_1M, ETH_1M, ETH_1H}

    def test_hold_the_parents_of_derived_ones(self) -> None:
        derive = {"bitfinex": {"2w": "1w", "1w": "1d"}}
        assert tracked_series([job(1, "BTCUSD", "2w")], FRAMES, derive) == {
            series("BTCUSD", frame) for frame in ("2w", "1w", "1d")
        }


def worked(one: Job, tracked: set[Series], among: list[Job]) -> tuple[Series, ...]:
    return assigned([one], tracked, FRAMES, working_rows(among))[one.id]


class TestAssigned:
    def test_a_wildcard_works_on_what_is_tracked_when_it_fires(self) -> None:
        jobs = [
            job(1, "BTCUSD", "1m", JobType.BACKFILL),
            job(2, "ETHUSD", None, JobType.BACKFILL),
            job(3),
            job(4, None, "1h"),
        ]
        tracked = tracked_series(jobs, FRAMES)
        assert worked(jobs[2], tracked, jobs) == (BTC_1M, ETH_1M)
        assert worked(jobs[3], tracked, jobs) == (ETH_1H,), "it names the timeframe, so it beats the other"

    def test_a_wildcard_alone_works_on_nothing(self) -> None:
        assert worked(job(1), tracked_series([job(1)], FRAMES), [job(1)]) == ()

    def test_an_explicit_row_beats_a_wildcard_of_its_own_type_only(self) -> None:
        jobs = [job(1, "BTCUSD", "1m"), job(2, "BTCUSD"), job(3), job(4, None, None, JobType.GAP_REPAIR)]
        tracked = tracked_series(jobs, FRAMES)
        assert worked(jobs[0], tracked, jobs) == (BTC_1M,)
        assert worked(jobs[1], tracked, jobs) == (BTC_1H,)
        assert worked(jobs[2], tracked, jobs) == ()
        assert worked(jobs[3], tracked, jobs) == (BTC_1H, BTC_1M)

    def test_of_equal_rows_the_lowest_id_works(self) -> None:
        jobs = [job(9, "BTCUSD", "1m"), job(5, "BTCUSD", "1m"), job(3, "BTCUSD", "1m", enabled=False)]
        tracked = tracked_series(jobs, FRAMES)
        assert [worked(each, tracked, jobs) for each in jobs] == [(), (BTC_1M,), ()]
        assert duplicates(jobs) == ((jobs[0], jobs[1]),)

    def test_an_order_works_on_what_it_names_whoever_else_does(self) -> None:
        jobs = [job(1, "BTCUSD", "1m"), job(2, "BTCUSD", "1m", origin="order"), job(3, None, None, origin="order")]
        tracked = tracked_series(jobs, FRAMES)
        assert ordered(jobs[1], tracked, FRAMES) == (BTC_1M,)
        assert ordered(jobs[2], tracked, FRAMES) == (BTC_1M,)
        assert duplicates(jobs) == ()

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([None, "BTCUSD", "ETHUSD"]),
                st.sampled_from([None, "1m", "1h", "1d"]),
                st.sampled_from(list(JobType)),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    def test_no_series_has_two_jobs_of_one_type_and_every_wanted_one_has_one(
        self, drawn: list[tuple[str | None, str | None, JobType, bool]]
    ) -> None:
        jobs = [job(number, *each) for number, each in enumerate(drawn)]
        tracked = tracked_series(jobs, FRAMES)
        for job_type in JobType:
            typed = [each for each in jobs if each.job_type is job_type]
            done = [one for each in typed for one in worked(each, tracked, jobs)]
            assert len(done) == len(set(done))
            wanted = tracked_series(typed, FRAMES)
            for each in typed:
                if each.enabled and each.symbol is None:
                    wanted |= {one for one in tracked if each.timeframe in (None, one.timeframe)}
            assert set(done) == wanted

    def test_of_ten_thousand_jobs_is_quick(self) -> None:
        """fault_58."""
        jobs = [job(number, f"A{number:05d}", "1m") for number in range(10_000)]
        tracked = tracked_series(jobs, FRAMES)
        began = time.perf_counter()
        found = assigned(jobs, tracked, FRAMES, working_rows(jobs))
        assert sum(len(each) for each in found.values()) == 10_000
        assert time.perf_counter() - began < 1


class TestFeasibility:
    def test_counts_firings_but_no_more_than_two_requests_an_interval(self) -> None:
        jobs = [
            job(1, "BTCUSD", "1m"),
            job(2, "BTCUSD", "1h", schedule="* * * * *"),
            job(3, "ETHUSD", "1m", JobType.BACKFILL),
        ]
        (found,) = feasibility(jobs, work_of(jobs, FRAMES), {"bitfinex": 24.0})
        assert (found.exchange, found.series, found.budget_per_minute) == ("bitfinex", 2, 24.0)
        assert found.needed_per_minute == pytest.approx(0.2 + 2 / 60)

    def test_says_with_numbers_what_cannot_be_done(self) -> None:
        """fault_61."""
        jobs = [job(n, f"AB{n:04d}", "1m", schedule="* * * * *") for n in range(40)]
        (found,) = feasibility(jobs, work_of(jobs, FRAMES), {"bitfinex": 24.0})
        assert not found.feasible
        assert str(found) == "bitfinex: 40 series need 40.0 requests a minute, 24.0 are allowed"

    def test_derived_series_cost_nothing(self) -> None:
        derive = {"bitfinex": {"1h": "1m"}}

        def needed(one: Job) -> tuple[Feasibility, ...]:
            return feasibility([one], work_of([one], FRAMES, derive), {"bitfinex": 24.0}, derive)

        both, only = needed(job(1, "BTCUSD")), needed(job(1, "BTCUSD", "1m"))
        assert both == only

    def test_leaves_out_what_does_not_work(self) -> None:
        jobs = [job(1, "BTCUSD", "1m"), job(2, "BTCUSD", "1m"), replace(job(3, "ETHUSD", "1m"), enabled=False)]
        (found,) = feasibility(jobs, work_of(jobs, FRAMES), {"bitfinex": 24.0})
        assert found.series == 1
        assert found.feasible
