"""Which markets rest, by the list of their exchange."""

from typing import Any

import pytest

from marketd.errors import Unreachable
from marketd.exchanges.facts import Listing, Status
from marketd.markets import REFUSED_MS, Markets, Rest, Resting, is_believable, reason, resting
from marketd.model import JobType, Series

LISTING = {
    "BTCUSDT": Status.TRADING, "ETHUSDT": Status.TRADING, "NAVBTC": Status.DELISTED, "LUNAUSDT": Status.HALTED,
}  # fmt: skip


def test_what_is_not_traded_rests() -> None:
    assert resting(("BTCUSDT", "NAVBTC", "LUNAUSDT", "BTCUSD"), LISTING) == {
        "NAVBTC": Rest.DELISTED, "LUNAUSDT": Rest.HALTED, "BTCUSD": Rest.UNLISTED,
    }  # fmt: skip
    assert resting((), LISTING) == {}


MINUTE, HOUR = Series("binance", "NAVBTC", "1m"), Series("binance", "NAVBTC", "1h")


def test_a_live_series_rests_when_it_was_followed_past_the_interval_in_which_its_market_was_seen_to_rest() -> None:
    seen_ms = 1_700_000_000_000  # 13 minutes and 20 seconds past an hour
    rest = Resting("binance", LISTING)
    assert rest.judge(("NAVBTC", "BTCUSDT"), seen_ms) == {"NAVBTC"}
    for series, closes_ms in ((MINUTE, seen_ms + 40_000), (HOUR, seen_ms + 2_800_000)):
        rest.note_followed(series, closes_ms - 1)
        assert not rest.rests(series, JobType.CONTINUOUS)
        rest.note_followed(series, closes_ms)
        assert rest.rests(series, JobType.CONTINUOUS)
        assert not rest.rests(series, JobType.GAP_REPAIR)
        assert not rest.rests(series, JobType.BACKFILL)
    assert rest.judge(("NAVBTC", "BTCUSDT"), seen_ms + 7_200_000) == frozenset()
    assert rest.rests(HOUR, JobType.CONTINUOUS), "it was seen to rest before"
    rest.note_followed(Series("binance", "BTCUSDT", "1m"), seen_ms + 7_200_000)
    assert not rest.rests(Series("binance", "BTCUSDT", "1m"), JobType.CONTINUOUS)
    rest.listing = {**LISTING, "NAVBTC": Status.TRADING}
    rest.judge(("NAVBTC", "BTCUSDT"), seen_ms + 7_200_000)
    rest.listing = LISTING
    rest.judge(("NAVBTC", "BTCUSDT"), seen_ms + 9_000_000)
    assert not rest.rests(HOUR, JobType.CONTINUOUS), "it was traded meanwhile"


def test_what_the_exchange_refuses_rests_whatever_its_list_says() -> None:
    rest = Resting("binance", LISTING, unknown={"NAVBTC": 0, "GONE": 0})
    rest.judge(("NAVBTC", "LUNAUSDT", "GONE", "OTHER"), 0)
    found = [rest.rests(Series("binance", name, "1m"), JobType.BACKFILL) for name in ("NAVBTC", "LUNAUSDT", "GONE")]
    assert found == [True, False, True]
    assert not rest.rests(Series("binance", "OTHER", "1m"), JobType.CONTINUOUS), "what is not listed may be served"


def test_what_was_refused_is_tried_again_after_a_while() -> None:
    """It may be served again though the list does not show it: what is owed of it must not be owed for ever."""
    rest, gone = Resting("binance", LISTING, unknown={"GONE": 1_000}), Series("binance", "GONE", "1m")
    rest.judge(("GONE",), 1_000 + REFUSED_MS - 1)
    assert rest.rests(gone, JobType.GAP_REPAIR)
    rest.judge(("GONE",), 1_000 + REFUSED_MS)
    assert not rest.rests(gone, JobType.GAP_REPAIR)
    rest.unknown["GONE"] = 5_000
    rest.judge(("GONE",), 4_000)
    assert not rest.rests(gone, JobType.GAP_REPAIR), "a clock that was ahead must not hold it back"


@pytest.mark.parametrize(
    ("symbol", "rest", "said"),
    [
        ("NAVBTC", Rest.DELISTED, "binance has delisted NAVBTC"),
        ("LUNAUSDT", Rest.HALTED, "binance has halted LUNAUSDT"),
        ("BTCUSD", Rest.UNLISTED, "binance does not list BTCUSD; did you mean BTCUSDT, ETHUSDT?"),
        ("XXXXXX", Rest.UNLISTED, "binance does not list XXXXXX"),
    ],
)
def test_the_reason_is_said_in_words(symbol: str, rest: Rest, said: str) -> None:
    assert reason("binance", symbol, rest, LISTING) == said


@pytest.mark.parametrize(("now", "before", "believed"), [(0, 0, False), (1, 0, True), (4, 10, False), (5, 10, True)])
def test_a_list_that_has_lost_more_than_half_is_not_believed(now: int, before: int, believed: bool) -> None:
    def listing(count: int) -> Listing:
        return {f"S{at}": Status.TRADING for at in range(count)}

    assert is_believable(listing(now), listing(before)) is believed


class Said:
    """A fetcher that says these lists one after the other."""

    exchange = type("Named", (), {"name": "binance"})

    def __init__(self, *lists: Any) -> None:
        self.lists = list(lists)
        self.fetcher = self

    async def learn(self, asking: Any, *, anew: bool = False) -> None: ...

    async def symbols(self, asking: Any) -> Listing:
        said = self.lists.pop(0)
        if isinstance(said, Exception):
            raise said
        return dict(said)


async def test_a_look_keeps_what_it_had_where_the_exchange_fails_or_says_nonsense() -> None:
    said: Any = Said(LISTING, Unreachable("away"), {}, {"BTCUSDT": Status.TRADING}, {**LISTING, "NEW": Status.TRADING})
    markets = Markets(said)
    assert await markets.look() is True
    for _ in range(3):
        assert await markets.look() is False
        assert markets.listing == LISTING
    assert await markets.look() is True
    assert "NEW" in markets.listing
