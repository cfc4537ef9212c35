"""The rehearsal's market: pages, aggregation, what is visible when, sources and scenarios."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketd.clock import ScaledClock
from marketd.errors import ConfigError
from marketd.rehearsal.damage import damaged_body, damaged_rows
from marketd.rehearsal.dialects.bitfinex import Bitfinex
from marketd.rehearsal.faults import KINDS, Faults, Latency, Lost, Malformed, Revised, ServerError
from marketd.rehearsal.market import Change, Market, Overlay, Window, recorded, synthetic
from marketd.rehearsal.rows import aggregated, number_text, row_values, unfinished
from marketd.rehearsal.scenario import fault_table, load_scenario, read_faults
from marketd.rehearsal.sources import DAY_MS
from marketd.rehearsal.stats import Asked
from marketd.timeframe import TIMEFRAMES

MINUTE = 60_000
T0 = 1_364_774_400_000  # 2013-04-01 00:00, a Monday
LATER = T0 + 40 * DAY_MS
LINES = {
    7: "93.25,93.3,93.3,93.25,93.3",
    8: "100,100,100,100,93.3",
    9: "93.3,93.3,93.3,93.3,33.67686227",
    11: "93.3,93.35,93.4,93.2,7e-7",
    62: "94,95,96,93,0.00000005",
}


@pytest.fixture
def market(tmp_path: Path) -> Market:
    write_year(tmp_path, "BTCUSD", 2013, [f"{T0 + minute * MINUTE},{rest}" for minute, rest in LINES.items()])
    return recorded(tmp_path)


def write_year(directory: Path, symbol: str, year: int, lines: list[str]) -> None:
    (directory / "bitfinex").mkdir(exist_ok=True)
    path = directory / "bitfinex" / f"{symbol}-1m-{year}.csv.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def minutes(rows: list[bytes]) -> list[int]:
    return [(json.loads(row)[0] - T0) // MINUTE for row in rows]


def page(
    market: Market, window: Window, now_ms: int = LATER, overlay: Overlay | None = None, timeframe: str = "1m"
) -> list[bytes]:
    return market.page("BTCUSD", timeframe, window, now_ms, Overlay() if overlay is None else overlay)


def test_rows_are_served_in_the_digits_of_the_exchange(market: Market) -> None:
    rows = page(market, Window(limit=2, newest_first=False))
    assert rows == [b"[1364774820000,93.25,93.3,93.3,93.25,93.3]", b"[1364774880000,100,100,100,100,93.3]"]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(), [62, 11, 9, 8, 7]),
        (Window(newest_first=False), [7, 8, 9, 11, 62]),
        (Window(T0 + 8 * MINUTE, T0 + 11 * MINUTE, newest_first=False), [8, 9, 11]),
        (Window(T0 + 8 * MINUTE + 1, T0 + 11 * MINUTE - 1, newest_first=False), [9]),
        (Window(T0, LATER, 2, newest_first=False), [7, 8]),
        (Window(T0, LATER, 2, newest_first=True), [62, 11]),
        (Window(None, T0 + 10 * MINUTE, 2, newest_first=True), [9, 8]),
        (Window(LATER, None, 5), []),
        (Window(0, T0, 5), []),
    ],
)
def test_bounds_are_included_and_sort_says_which_side_is_cut(
    market: Market, window: Window, expected: list[int]
) -> None:
    assert minutes(page(market, window)) == expected


def test_longer_candles_are_exact_sums_of_minutes(market: Market) -> None:
    assert page(market, Window(newest_first=False), timeframe="5m")[:2] == [
        b"[1364774700000,93.25,93.3,100,93.25,220.27686227]",
        b"[1364775000000,93.3,93.35,93.4,93.2,7e-7]",
    ]
    for timeframe in ("1d", "1w", "1M"):
        assert page(market, Window(newest_first=False), timeframe=timeframe) == [
            b"[1364774400000,93.25,95,100,93,220.27686302]"
        ]


@pytest.mark.parametrize("timeframe", sorted(set(Bitfinex.spellings.values())))
def test_every_timeframe_is_the_aggregate_of_its_minutes(timeframe: str) -> None:
    market = synthetic(5, ["BTCUSD"], T0, T0 + 33 * DAY_MS, 0.7)
    frame = TIMEFRAMES[timeframe]
    everything = page(market, Window(limit=10**6, newest_first=False), LATER + DAY_MS)
    groups: dict[int, list[bytes]] = {}
    for row in everything:
        groups.setdefault(frame.number(json.loads(row)[0]), []).append(row)
    expected = [aggregated(frame.open_ms(number), rows) for number, rows in groups.items()]
    assert page(market, Window(limit=10**6, newest_first=False), LATER + DAY_MS, timeframe=timeframe) == expected


def test_only_what_has_opened_is_visible_and_the_newest_minute_is_unfinished(market: Market) -> None:
    opened = T0 + 9 * MINUTE
    assert minutes(page(market, Window(), opened - 1)) == [8, 7]
    for now_ms in (opened, opened + MINUTE - 1):
        newest = page(market, Window(), now_ms)[0]
        assert json.loads(newest)[0] == opened
        assert row_values(newest)[4] != "33.67686227"
    assert page(market, Window(), opened + MINUTE)[0].endswith(b",33.67686227]")


def test_the_current_hour_grows_with_its_minutes(market: Market) -> None:
    hour = page(market, Window(), T0 + 9 * MINUTE, timeframe="1h")[0]
    assert Decimal(row_values(hour)[4]) == Decimal("93.3") * 2 + Decimal("33.67686227") / 5
    assert page(market, Window(), T0 + 60 * MINUTE, timeframe="1h")[0].endswith(b",220.27686297]")


@given(st.integers(0, MINUTE - 1))
def test_an_unfinished_candle_is_plausible(elapsed: int) -> None:
    opened, close, high, low, volume = map(
        Decimal, row_values(unfinished(b"[60000,5,6,7,4,2]", 60_000, 60_000 + elapsed))
    )
    assert low <= min(opened, close) <= max(opened, close) <= high
    assert 0 < volume < 2


def test_lost_candles_are_missing_from_longer_ones_too(market: Market) -> None:
    lost = Overlay(hidden=((T0 + 8 * MINUTE, T0 + 9 * MINUTE),))
    before = page(market, Window(), timeframe="1h")
    assert minutes(page(market, Window(newest_first=False), overlay=lost)) == [7, 9, 11, 62]
    assert page(market, Window(), overlay=lost, timeframe="1h")[-1].endswith(b",93.4,93.2,126.97686297]")
    assert page(market, Window(), timeframe="1h") == before


def test_revised_candles_change_and_new_ones_can_appear(market: Market) -> None:
    start = T0 + 7 * MINUTE
    more = Overlay(changes=(Change(start, start + 4 * MINUTE),))
    assert row_values(page(market, Window(newest_first=False), overlay=more)[2])[4] == "34.67686227"
    values = ("1", "2", "3", "0.5", "4")
    added = Overlay(changes=(Change(T0 - DAY_MS, T0 - DAY_MS + MINUTE, values),))
    assert page(market, Window(limit=1, newest_first=False), overlay=added) == [b"[1364688000000,1,2,3,0.5,4]"]


def test_years_of_a_symbol_join_and_symbols_are_listed(tmp_path: Path) -> None:
    write_year(tmp_path, "BTCUSD", 2014, ["1388534400000,2,2,2,2,1"])
    write_year(tmp_path, "BTCUSD", 2013, ["1388534340000,1,1,1,1,1"])
    write_year(tmp_path, "ETHUSD", 2016, [])
    market = recorded(tmp_path)
    assert market.symbols == ("BTCUSD", "ETHUSD")
    assert len(page(market, Window(), 1_400_000_000_000)) == 2


@pytest.mark.parametrize("lines", [["60000,1,1,1,1,1", "0,1,1,1,1,1"], ["noon,1"], []])
def test_a_recorded_file_that_is_no_such_thing_is_named(tmp_path: Path, lines: list[str]) -> None:
    write_year(tmp_path, "BTCUSD", 2013, lines)
    with pytest.raises(ConfigError, match=r"BTCUSD-1m-2013\.csv\.gz"):
        page(recorded(tmp_path), Window())


def test_a_directory_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recorded candles"):
        recorded(tmp_path)


def test_synthetic_days_are_the_same_however_they_are_reached() -> None:
    def make() -> Market:
        return synthetic(11, ["BTCUSD", "DOGE:USD"], T0, T0 + 3650 * DAY_MS, 0.25)

    window = Window(T0 + 3000 * DAY_MS, T0 + 3003 * DAY_MS, 10_000, newest_first=False)
    far = T0 + 4000 * DAY_MS
    walked = make()
    page(walked, Window(T0, None, 10_000, newest_first=False), far)
    assert page(walked, window, far) == page(make(), window, far)
    other = synthetic(12, ["BTCUSD"], T0, T0 + 3650 * DAY_MS, 0.25)
    assert page(other, window, far) != page(walked, window, far)
    assert walked.page("DOGE:USD", "1m", window, far) != page(walked, window, far)


def test_synthetic_candles_are_sane_and_leave_minutes_out() -> None:
    market = synthetic(3, ["BTCUSD"], T0 + 90_000, T0 + 20 * DAY_MS, 0.25)
    rows = page(market, Window(limit=10**6, newest_first=False))
    assert 0.73 < len(rows) / (20 * 1440) < 0.77
    assert json.loads(rows[0])[0] >= T0 + 90_000
    texts = [row_values(row) for row in rows]
    for opened, close, high, low, volume in (map(Decimal, values) for values in texts):
        assert 0 < low <= min(opened, close) <= max(opened, close) <= high
        assert volume > 0
    volumes = [values[4] for values in texts]
    assert any("e-" in volume for volume in volumes)
    assert any(volume.isdigit() for volume in volumes)


@pytest.mark.parametrize(
    ("value", "text"),
    [("100", "100"), ("1E+2", "100"), ("0.00000070", "7e-7"), ("12.50", "12.5"), ("0.000001", "0.000001")],
)
def test_numbers_are_written_as_the_exchange_does(value: str, text: str) -> None:
    assert number_text(Decimal(value)) == text


# -- faults ------------------------------------------------------------------------------------------------------------


def test_faults_wait_for_their_time_on_the_exchanges_clock() -> None:
    clock = ScaledClock(T0, speed=0)
    faults = Faults(clock, (Latency(at_s=60, for_s=30),))
    assert faults.standing(Latency) == []
    clock.jump(60)
    assert len(faults.standing(Latency)) == 1
    clock.jump(30)
    assert faults.standing(Latency) == []
    faults.reset()
    assert [state for _, _, state, _ in faults.described()] == ["waiting"]


def test_a_fault_strikes_so_often_and_that_share() -> None:
    faults = Faults(ScaledClock(T0, speed=0), (ServerError(count=2, share=0.25, symbols=("BTCUSD",)),))
    ask, other = Asked(T0, "candles", "BTCUSD", "1m"), Asked(T0, "candles", "ETHUSD", "1m")
    struck = [faults.take(ServerError, ask) is not None for _ in range(12)]
    assert [at for at, hit in enumerate(struck) if hit] == [3, 7]
    assert faults.take(ServerError, other) is None


def test_lost_candles_come_back_and_revisions_begin_at_their_time() -> None:
    clock = ScaledClock(T0, speed=0)
    faults = Faults(clock)
    faults.add(
        Lost(start_ms=0, end_ms=5, restored_at_ms=T0 + 10_000),
        Lost(start_ms=5, end_ms=6, for_s=5),
        Lost(start_ms=6, end_ms=7, timeframes=("1D",)),
        Revised(start_ms=0, end_ms=5, from_ms=T0 + 10_000),
    )
    assert faults.overlay("BTCUSD", "1m") == Overlay(hidden=((0, 5), (5, 6)))
    clock.jump(10)
    assert faults.overlay("BTCUSD", "1m") == Overlay(changes=(Change(0, 5),))


SCENARIO = """
about = "an afternoon"
[[fault]]
kind = "lost"
symbols = ["BTCUSD"]
start = 2013-05-01T00:00:00Z
end = "2013-05-02T00:00:00+00:00"
at = 10
for = 60.5
[[fault]]
kind = "malformed"
how = "nan"
"""


def test_a_scenario_is_read_and_can_be_written_back(tmp_path: Path) -> None:
    path = tmp_path / "storm.toml"
    path.write_text(SCENARIO)
    lost, malformed = load_scenario(path)
    assert lost == Lost(symbols=("BTCUSD",), start_ms=1_367_366_400_000, end_ms=1_367_452_800_000, at_s=10, for_s=60.5)
    assert malformed == Malformed(how="nan")
    tables = json.loads(json.dumps([fault_table(lost), fault_table(malformed)]))
    assert read_faults(tables) == ((lost, malformed), [])


def test_all_mistakes_of_a_scenario_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "storm.toml"
    path.write_text(
        'speed = 3\n[[fault]]\nkind = "quake"\n[[fault]]\nkind = "latency"\ndelay_s = "x"\nfro = 1\n'
        '[[fault]]\nkind = "lost"\n[[fault]]\nkind = "lost"\nstart = 2013-05-02T00:00:00\nend = 5\n'
        '[[fault]]\nkind = "malformed"\nhow = "badly"\n[[fault]]\nkind = "server_error"\nshare = 2\ncount = 0\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    for part in (
        "unknown key 'speed'", "fault 1: unknown kind 'quake'", "delay_s: 'x' must be a number", "unknown key 'fro'",
        "fault 3: (lost) must have start and end", "fault 4: (lost) start: 2013-05-02T00:00:00 has no time zone",
        "how: 'badly' must be one of", "share must lie between 0 and 1", "count must be at least 1",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "latency", "delay_s": float("nan")},
        {"kind": "latency", "at": float("inf")},
        {"kind": "latency", "count": True},
        {"kind": "rate_limit", "retry_after": "1\r\nX: y"},
        {"kind": "redirect", "status": 42},
        {"kind": "lost", "start": -1, "end": 10**30},
        {"kind": "revised", "start": 0, "end": 1, "values": ["1", "1", "1", "1", "one"]},
        {"kind": "delisted"},
        {"kind": ["lost"]},
        {"kind": "malformed", "how": ["nan"]},
        "lost",
    ],
)
def test_values_that_would_break_the_exchange_itself_are_mistakes(table: object) -> None:
    faults, mistakes = read_faults([table])
    assert faults == ()
    assert mistakes


def test_the_manual_names_every_kind_of_fault_and_damage() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "rehearsal.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in manual] == []
    hows = Malformed.__dataclass_fields__["how"].type.__args__  # type: ignore[union-attr]
    assert [how for how in hows if f"`{how}`" not in manual] == []


def test_the_example_scenario_is_valid() -> None:
    assert load_scenario(Path(__file__).parents[2] / "config" / "rehearsal-storm.toml")


ROWS = [b"[%d,5,6,7,4,2]" % (T0 + minute * MINUTE) for minute in range(5)]


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        (Malformed(how="nan"), lambda body: b",NaN]" in body),
        (Malformed(how="conflict"), lambda body: len(json.loads(body)) == 6),
        (Malformed(how="duplicate", rows=2), lambda body: len(json.loads(body)) == 7),
        (Malformed(how="misaligned", candle_ms=T0), lambda body: json.loads(body)[0][0] == T0 + 1000),
        (Malformed(how="implausible"), lambda body: any(row[3] < row[4] for row in json.loads(body))),
        (Malformed(how="shuffled"), lambda body: sorted(json.loads(body)) == [json.loads(row) for row in ROWS]),
        (Malformed(how="text"), lambda body: any(row[5] == "12.5" for row in json.loads(body))),
        (Malformed(how="html"), lambda body: body.startswith(b"<")),
        (Malformed(how="blank"), lambda body: body == b""),
    ],
)
def test_damage(fault: Malformed, wrong: Callable[[bytes], bool]) -> None:
    whole = b"[" + b",".join(ROWS) + b"]"
    body = damaged_body(fault, b"[" + b",".join(damaged_rows(fault, ROWS)) + b"]").content
    assert body != whole
    assert wrong(body)


def test_damage_of_an_empty_page_is_harmless() -> None:
    assert damaged_rows(Malformed(how="nan"), []) == []
