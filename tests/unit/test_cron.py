"""Cron: what is accepted, when it fires, and what a table says is due."""

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.clock import at, ms_of
from marketd.cron import Crons, CronTable, Firing, longest_step_s, parse
from marketd.errors import UsageError

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def utc(text: str) -> int:
    return ms_of(datetime.fromisoformat(text).replace(tzinfo=UTC))


T0 = utc("2026-01-01T00:00")


class TestParse:
    @pytest.mark.parametrize(
        ("expression", "said"),
        [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("* * * * * *", "6 fields"),
            ("@reboot", "words are not accepted"),
            (" @hourly", "words are not accepted"),
            ("*/0 * * * *", "not acceptable"),
            ("0 0 31 2 *", "is not one"),
            ("0 0 30 2 *", "is not one"),
            ("0 0 31 4,6,9,11 *", "is not one"),
            ("60 * * * *", "out of range"),
            ("0-99999999999 * * * *", "is not one"),
            ("R * * * *", "random"),
            ("0 R(1-5) * * *", "random"),
            ("H/5 * * * *", "random"),
            ("x" * 300, "at most 256"),
            ("0," * 124 + "0 * * * *", "257 characters; at most 256"),
            ("1," * 2048 + "1 * * * *", "at most 256"),
            ("* * * * nope", "is not one"),
            ("٣ * * * *", "is not one"),
        ],
    )
    def test_refuses_with_a_reason(self, expression: str, said: str) -> None:
        """fault_56, fault_71."""
        with pytest.raises(UsageError, match=said) as caught:
            parse(expression)
        assert len(str(caught.value)) < 400

    def test_shows_no_control_characters_of_what_it_refuses(self) -> None:
        with pytest.raises(UsageError) as caught:
            parse("\x1b[2J\n0 0 * *")
        assert str(caught.value).isprintable()

    def test_keeps_the_expression_in_single_spaces(self) -> None:
        assert parse("  */5  *\t* * * ").expression == "*/5 * * * *"

    def test_the_same_expression_twice_is_the_same_schedule(self) -> None:
        one, other = parse("*/5 * * * *"), parse(" */5  * * * *")
        assert (one, repr(one)) == (other, repr(other))

    @pytest.mark.parametrize(
        "expression",
        [
            "0 0 29 2 *", "0 0 L * *", "0 0 * mar fri", "0 22-2 * * *", "0 0 * * 7",
            pytest.param("00," + "0," * 122 + "0 * * * *", id="256 characters"),
        ],
    )  # fmt: skip
    def test_accepts_what_does_fire(self, expression: str) -> None:
        assert parse(expression).next_after(T0) > T0


class TestFiring:
    @pytest.mark.parametrize(
        ("expression", "now", "following"),
        [
            ("*/5 * * * *", "2026-01-01T00:00", "2026-01-01T00:05"),
            ("*/5 * * * *", "2026-01-01T00:04:59.999", "2026-01-01T00:05"),
            ("0 2 * * *", "2026-01-01T02:00", "2026-01-02T02:00"),
            ("0 0 29 2 *", "2096-02-29T00:00", "2104-02-29T00:00"),
            ("30 2 * * *", "2026-03-29T00:00", "2026-03-29T02:30"),  # skipped in Berlin, never in UTC
            ("0 0 1 1 *", "2026-01-01T00:00:00.001", "2027-01-01T00:00"),
            ("0 0 1 * 1", "2026-01-01T00:00", "2026-01-05T00:00"),  # day or weekday, as cron has it
        ],
    )
    def test_next_after(self, expression: str, now: str, following: str) -> None:
        assert at(parse(expression).next_after(utc(now))) == at(utc(following))

    def test_latest_at_or_before_includes_the_instant_itself(self) -> None:
        cron = parse("*/5 * * * *")
        assert cron.latest_at_or_before(T0) == T0
        assert cron.latest_at_or_before(T0 - 1) == T0 - 5 * MINUTE
        assert cron.latest_at_or_before(T0 + 5 * MINUTE - 1) == T0

    @settings(deadline=None)
    @given(
        now_ms=st.integers(utc("2000-01-01"), utc("2100-01-01")),
        expression=st.sampled_from(
            ["* * * * *", "*/7 * * * *", "0 2 * * *", "15,45 9-17 * * 1-5", "0 0 1 * *", "0 0 29 2 *", "0 0 L * *"]
        ),
    )
    def test_the_two_directions_agree(self, now_ms: int, expression: str) -> None:
        cron = parse(expression)
        latest, following = cron.latest_at_or_before(now_ms), cron.next_after(now_ms)
        assert latest <= now_ms < following
        assert cron.next_after(latest) == following
        assert cron.latest_at_or_before(following) == following
        assert cron.latest_at_or_before(following - 1) == latest


class TestLongestStep:
    @pytest.mark.parametrize(
        ("expression", "step_s"),
        [
            ("* * * * *", 60),
            ("*/5 * * * *", 300),
            ("*/7 * * * *", 420),
            ("0 2 * * *", 86_400),
            ("0 2,3 * * *", 23 * 3600),
            ("30 9-17 * * *", 16 * 3600),
            ("0 2 * * 1-5", 3 * 86_400),
            ("0 2 * * 1", 7 * 86_400),
            ("0 1 * * 1", 7 * 86_400),
            ("0 0 * 6 *", 337 * 86_400),
            ("0 2 * * " + ",".join(f"{day}#{week}" for day in range(7) for week in range(1, 6)), 86_400),
            ("0 0 1 * *", 31 * 86_400),
            ("0 0 1 1 *", 366 * 86_400),
            ("0 0 29 2 *", 1461 * 86_400),
            ("0 0 * * 5#5", 119 * 86_400),
            ("0 0 * 9 6#2", 371 * 86_400),
            ("0 0 * 2 0#5", 28 * 1461 // 4 * 86_400),
            ("0 0 1 * 1", 7 * 86_400),
        ],
    )
    def test_is_the_longest_pause(self, expression: str, step_s: int) -> None:
        assert longest_step_s(parse(expression)) == step_s

    @settings(deadline=None)
    @given(
        minute=st.sampled_from(["0", "*/5", "*/13", "3,50", "7-59/10"]),
        hour=st.sampled_from(["*", "*/6", "9-17", "0,23", "12"]),
        weekday=st.sampled_from(["*", "1-5", "0,3", "6"]),
    )
    def test_agrees_with_walking_a_fortnight(self, minute: str, hour: str, weekday: str) -> None:
        cron = parse(f"{minute} {hour} * * {weekday}")
        instants = [cron.next_after(T0)]
        while instants[-1] < T0 + 16 * DAY:
            instants.append(cron.next_after(instants[-1]))
        walked = max(later - earlier for earlier, later in pairwise(instants))
        assert longest_step_s(cron) * 1000 == walked

    def test_of_how_many_a_minute(self) -> None:
        assert parse("*/5 9 * * *").per_minute == 12 / 60
        assert parse("* * * * *").per_minute == 1


class TestTable:
    def test_says_what_is_due_and_when_the_next_is(self) -> None:
        table = CronTable([(2, "0 2 * * *"), (1, "*/5 * * * *"), (3, "*/5 * * * *")], seen_ms=T0)
        assert table.next_ms == T0 + 5 * MINUTE
        assert table.due(T0 + 5 * MINUTE - 1) == ((), T0 + 5 * MINUTE)
        due = table.due(T0 + 5 * MINUTE)
        assert sorted(due.firings) == [Firing(1, T0 + 5 * MINUTE), Firing(3, T0 + 5 * MINUTE)]
        assert due.next_ms == T0 + 10 * MINUTE
        assert table.due(T0 + 5 * MINUTE).firings == ()

    @pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Europe/London"])
    def test_the_zone_of_the_host_moves_no_firing(self, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """fault_55: a whole year, with the hours that its zone leaves out and repeats."""
        cron = parse("30 1,2 * * *")
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            year = [
                firing for day in range(366) for firing in (T0 + day * DAY + 90 * MINUTE, T0 + day * DAY + 150 * MINUTE)
            ]
            table, found = CronTable([(1, "30 1,2 * * *")], seen_ms=T0), list[int]()
            while table.next_ms is not None and len(found) < len(year):
                found += [firing.scheduled_ms for firing in table.due(table.next_ms).firings]
            assert found == year
            assert [cron.next_after(at_ms - 1) for at_ms in year] == year
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_an_empty_table_is_never_due(self) -> None:
        assert CronTable([], seen_ms=T0).due(T0 + DAY) == ((), None)

    def test_missed_firings_are_one_a_job_the_latest(self) -> None:
        """fault_54."""
        table = CronTable([(1, "* * * * *"), (2, "0 2 * * *")], seen_ms=T0)
        due = table.due(T0 + 30 * DAY + 90_500)
        assert sorted(due.firings) == [Firing(1, T0 + 30 * DAY + MINUTE), Firing(2, T0 + 29 * DAY + 2 * HOUR)]
        assert due.next_ms == T0 + 30 * DAY + 2 * MINUTE

    def test_a_clock_set_back_neither_stalls_nor_repeats_in_one_go(self) -> None:
        """fault_52."""
        table = CronTable([(1, "*/5 * * * *")], seen_ms=T0)
        table.due(T0 + DAY)
        assert table.due(T0 + HOUR) == ((), T0 + HOUR + 5 * MINUTE)
        assert table.due(T0 + HOUR + 5 * MINUTE).firings == (Firing(1, T0 + HOUR + 5 * MINUTE),)

    def test_a_clock_set_forward_ten_years_fires_once(self) -> None:
        """fault_51."""
        table = CronTable([(1, "* * * * *")], seen_ms=T0)
        assert len(table.due(T0 + 3650 * DAY).firings) == 1

    def test_a_reload_neither_loses_nor_repeats_a_slot(self) -> None:
        old = CronTable([(1, "*/5 * * * *")], seen_ms=T0)
        old.due(T0 + 5 * MINUTE)
        new = CronTable([(1, "*/5 * * * *"), (2, "*/5 * * * *")], seen_ms=old.seen_ms)
        assert new.due(T0 + 6 * MINUTE).firings == ()
        assert sorted(new.due(T0 + 11 * MINUTE).firings) == [Firing(1, T0 + 10 * MINUTE), Firing(2, T0 + 10 * MINUTE)]

    def test_what_a_stop_has_missed_is_the_latest_slot_after_the_recorded_one(self) -> None:
        table = CronTable([(1, "*/5 * * * *"), (2, "0 2 * * *"), (3, "0 2 * * *")], seen_ms=T0 + 3 * HOUR)
        missed = table.missed({1: T0 + 3 * HOUR, 2: T0 - DAY})
        assert missed == (Firing(2, T0 + 2 * HOUR),)

    def test_the_next_of_every_job(self) -> None:
        table = CronTable([(1, "*/5 * * * *"), (2, "0 2 * * *")], seen_ms=T0)
        assert table.next_of() == {1: T0 + 5 * MINUTE, 2: T0 + 2 * HOUR}
        assert len(table) == 2

    def test_ten_thousand_jobs_load_and_fire_quickly(self) -> None:
        """fault_58."""
        expressions = ["* * * * *", "*/5 * * * *", "0 2 * * *", "30 3 * * 1"]
        began = time.perf_counter()
        table = CronTable(((n, expressions[n % 4]) for n in range(10_000)), seen_ms=T0)
        assert time.perf_counter() - began < 0.05
        assert len(table.due(T0 + 8 * DAY).firings) == 10_000

    def test_an_expression_is_parsed_once(self) -> None:
        crons = Crons()
        assert crons["*/5 * * * *"] is crons["*/5 * * * *"]
        CronTable([(1, "0 2 * * *")], T0, crons)
        assert set(crons) == {"*/5 * * * *", "0 2 * * *"}
        with pytest.raises(UsageError):
            crons["@reboot"]
