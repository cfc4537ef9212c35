"""Which silences are not believed at once: outages are named, thin markets are not."""

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd import suspects
from marketd.ranges import NOTHING, Ranges, Span
from marketd.timeframe import TIMEFRAMES, Timeframe

MINUTE, HOUR, DAY = TIMEFRAMES["1m"], TIMEFRAMES["1h"], TIMEFRAMES["1d"]


def silences(path: Path) -> list[Span]:
    with gzip.open(path, "rt") as lines:
        there = Ranges.from_numbers(int(line.split(",", 1)[0]) // 60_000 for line in lines)
    return list(there.hull - there)


def market(usual: int, *, days: int = 40, seed: int = 1) -> list[Span]:
    """Silences of ``usual`` minutes on average, none longer than four times that, between single candles."""
    chance, runs, at = random.Random(seed), list[Span](), 0
    while at < days * 1440:
        length = min(int(chance.expovariate(1 / usual)) + 1, 4 * usual)
        runs.append((at, at + length))
        at += length + 1
    return runs


def with_silence(runs: list[Span], start: int, length: int) -> tuple[list[Span], Span]:
    """``runs`` with one more that swallows those it touches."""
    outage = (start, start + length)
    return sorted([run for run in runs if run[1] < outage[0] or outage[1] < run[0]] + [outage]), outage


class TestUnusual:
    @settings(max_examples=200)
    @given(st.integers(1, 60), st.integers(0, 2**16), st.sampled_from([MINUTE, HOUR, DAY]), st.sampled_from([1, 3]))
    def test_shorter_runs_than_comparable_change_nothing(
        self, usual: int, seed: int, frame: Timeframe, times: int
    ) -> None:
        runs, _ = with_silence(market(usual, days=5, seed=seed), 3_000, usual * 7)
        long = [run for run in runs if run[1] - run[0] >= suspects.comparable(frame)]
        assert suspects.unusual(long, frame, times=times) == suspects.unusual(runs, frame, times=times)

    @pytest.mark.parametrize("usual", [2, 10, 40, 90])
    def test_a_market_as_it_always_is_is_believed(self, usual: int) -> None:
        assert suspects.unusual(market(usual), MINUTE) == []

    @pytest.mark.parametrize(("usual", "outage"), [(2, 180), (10, 180), (40, 600), (90, 1_500)])
    def test_a_silence_far_longer_than_usual_is_named(self, usual: int, outage: int) -> None:
        runs, silent = with_silence(market(usual), 20_000, outage)
        assert suspects.unusual(runs, MINUTE) == [silent]

    def test_two_outages_in_a_month_do_not_hide_each_other(self) -> None:
        runs, first = with_silence(market(10), 15_000, 400)
        runs, second = with_silence(runs, 30_000, 300)
        assert suspects.unusual(runs, MINUTE) == [first, second]

    @pytest.mark.parametrize(("length", "named"), [(59, False), (60, True)])
    def test_less_than_an_hour_is_never_suspect(self, length: int, named: bool) -> None:
        runs = [(0, 1), (100, 100 + length), (500, 501)]
        assert suspects.unusual(runs, MINUTE) == ([(100, 100 + length)] if named else [])

    @pytest.mark.parametrize(("length", "named"), [(2, False), (3, False), (4, True)])
    def test_a_few_intervals_are_never_suspect(self, length: int, named: bool) -> None:
        assert suspects.unusual([(10, 10 + length)], HOUR) == ([(10, 10 + length)] if named else [])

    def test_usual_is_measured_within_a_month_to_both_sides(self) -> None:
        reach = suspects.near(MINUTE)
        assert reach == 30 * 1440
        others = [(at * 200, at * 200 + 100) for at in range(3)]
        edge = others[0][1] + reach
        near, far = (edge - 1, edge + 199), (edge, edge + 200)
        assert near not in suspects.unusual([*others, near], MINUTE)
        assert far in suspects.unusual([*others, far], MINUTE)

    def test_a_coarse_series_is_compared_over_thirty_intervals_at_least(self) -> None:
        assert suspects.near(DAY) == suspects.near(TIMEFRAMES["1w"]) == suspects.near(TIMEFRAMES["1M"]) == 30

    def test_nothing_is_nothing(self) -> None:
        assert suspects.unusual([], MINUTE) == []

    def test_recorded_markets_have_a_handful_a_year(self, recorded_data: Path) -> None:
        for path in sorted((recorded_data / "bitfinex").glob("*-1m-*.csv.gz")):
            runs = silences(path)
            assert len(runs) > 100
            assert len(suspects.unusual(runs, MINUTE)) <= 3

    @pytest.mark.parametrize("symbol", ["BTCUSD", "LTCUSD"])
    def test_the_outage_of_the_made_up_data_is_all_that_is_named(self, symbol: str) -> None:
        path = Path(__file__).parents[1] / "data" / "bitfinex" / f"{symbol}-1m-2013.csv.gz"
        found = suspects.unusual(silences(path), MINUTE)
        assert [240 <= end - start < 270 for start, end in found] == [True]

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 400)), max_size=25), st.sampled_from([1.0, 3.0]))
    def test_is_the_rule_word_for_word(self, steps: list[tuple[int, int]], times: float) -> None:
        """More than ``times`` the third longest other run nearby, or one interval where there are not three."""
        runs, at = list[Span](), 0
        for apart, length in steps:
            runs.append((at + apart, at + apart + length))
            at += apart + length
        reach = suspects.near(MINUTE)
        expected = []
        for run in runs:
            near = sorted(
                other[1] - other[0]
                for other in runs
                if other != run and other[1] > run[0] - reach and other[0] < run[1] + reach
            )
            usual = near[-3] if len(near) >= 3 else 1
            if run[1] - run[0] >= 60 and run[1] - run[0] > times * usual:
                expected.append(run)
        assert suspects.unusual(runs, MINUTE, times=times) == expected


class TestShared:
    SILENT = (10_000, 10_090)

    def markets(self, silent: int, others: int) -> dict[str, list[Span]]:
        runs = {f"S{n}": with_silence(market(5, seed=n), 10_000, 90)[0] for n in range(silent)}
        return runs | {f"T{n}": market(5, seed=100 + n) for n in range(others)}

    @pytest.mark.parametrize(("silent", "others", "named"), [(3, 0, True), (3, 2, True), (3, 3, False), (2, 0, False)])
    def test_three_symbols_and_a_majority_make_it_an_outage(self, silent: int, others: int, named: bool) -> None:
        found = suspects.shared(self.markets(silent, others), MINUTE)
        expected = {f"S{n}": [self.SILENT] for n in range(silent)} if named else {}
        assert found == expected

    def test_silences_at_other_times_are_nobodys_outage(self) -> None:
        runs = {f"S{n}": with_silence(market(5, seed=n), 10_000 * (n + 1), 90)[0] for n in range(3)}
        assert suspects.shared(runs, MINUTE) == {}


class TestDoubtful:
    def test_what_a_closed_gap_has_settled_is_not_doubted_again(self) -> None:
        assert suspects.doubtful((10, 50), Ranges.of((0, 30)), None) == Ranges.of((30, 50))
        assert suspects.doubtful((10, 50), Ranges.of((10, 50)), None) == NOTHING

    @pytest.mark.parametrize(("first", "expected"), [(5, (10, 50)), (20, (20, 50)), (60, (0, 0))])
    def test_nothing_before_the_first_candle_is_doubted(self, first: int, expected: Span) -> None:
        assert suspects.doubtful((10, 50), NOTHING, first) == Ranges.of(expected)
