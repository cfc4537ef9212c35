"""Which markets rest, by the list of their exchange."""

from typing import Any

import pytest

from marketd.errors import Unreachable
from marketd.exchanges.facts import Listing, Status
from marketd.markets import Markets, Rest, is_believable, reason, resting

LISTING = {
    "BTCUSDT": Status.TRADING, "ETHUSDT": Status.TRADING, "NAVBTC": Status.DELISTED, "LUNAUSDT": Status.HALTED,
}  # fmt: skip


def test_what_is_not_traded_rests() -> None:
    assert resting(("BTCUSDT", "NAVBTC", "LUNAUSDT", "BTCUSD"), LISTING) == {
        "NAVBTC": Rest.DELISTED, "LUNAUSDT": Rest.HALTED, "BTCUSD": Rest.UNLISTED,
    }  # fmt: skip
    assert resting((), LISTING) == {}


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
