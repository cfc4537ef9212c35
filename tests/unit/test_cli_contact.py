"""What is made of what an exchange says: credentials that are half given, clocks, and what is warned of."""

import pytest

from marketd.cli.answered import Answered
from marketd.cli.contact import Account, Contact, Heard, Pair, Standing, given
from marketd.config import build
from marketd.errors import ConfigError
from marketd.exchanges import EXCHANGES
from marketd.exchanges.facts import Powers, Reply
from marketd.secret import Secret

NOW_MS = 1_767_225_600_000


def answered(ahead_s: float | None = 0.0, standing: Standing | None = None) -> Answered:
    contact = Contact("https://api.example.com", 0.25, ahead_s, 3, standing or Standing(Account.NONE))
    return Answered(EXCHANGES["bitfinex"], build("", {}, None, lambda path: None, need_database=False), contact)


def warned(powers: Powers, ahead_s: float = 0.0) -> list[str]:
    return list(answered(ahead_s, Standing(Account.VALID, powers)).warnings())


@pytest.mark.parametrize("name", EXCHANGES)
def test_credentials_come_from_the_environment_of_every_exchange(name: str) -> None:
    environ = {f"{name.upper()}_API_KEY": "key-1", f"{name.upper()}_API_SECRET": "secret-1"}
    config = build("", environ, None, lambda path: None, need_database=False)
    assert given(config, name) == Pair(Secret("key-1"), Secret("secret-1"))
    assert [other for other in EXCHANGES if given(config, other)] == [name]
    assert config.in_use(()) == (), "a key alone is no work"


@pytest.mark.parametrize(("there", "lacking"), [("KEY", "SECRET"), ("SECRET", "KEY")])
def test_one_without_the_other_is_a_mistake(there: str, lacking: str) -> None:
    config = build("", {f"BITFINEX_API_{there}": "canary"}, None, lambda path: None, need_database=False)
    with pytest.raises(ConfigError, match=f"BITFINEX_API_{there} is given and BITFINEX_API_{lacking} is not") as caught:
        given(config, "bitfinex")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "api_secret"])
def test_what_stands_in_the_file_is_not_sent(name: str) -> None:
    config = build(f'[exchanges.bitfinex]\n{name} = "canary"', {}, None, lambda path: None, need_database=False)
    with pytest.raises(ConfigError, match=f"{name} stands in the file.*: set BITFINEX_{name.upper()}") as caught:
        given(config, "bitfinex")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("date_ms", "age_s", "ahead_ms"),
    [(NOW_MS, 0.0, 0), (NOW_MS + 3000, 0.0, 3000), (NOW_MS - 8000, 5.0, -3000), (None, 0.0, None)],
)
def test_clocks_are_compared_in_the_middle(date_ms: int | None, age_s: float, ahead_ms: int | None) -> None:
    reply = Reply(200, b"", date_ms=date_ms, age_s=age_s)
    assert Heard(reply, NOW_MS + 400, NOW_MS + 600).ahead_ms == ahead_ms


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [
        (0.9, "within a second of this host's"), (-0.9, "within a second of this host's"),
        (3.2, "3 s ahead of this host's"), (-125.0, "2 min 5 s behind this host's"),
        (None, "the exchange tells no time"),
    ],
)  # fmt: skip
def test_the_difference_of_the_clocks_in_words(
    capsys: pytest.CaptureFixture[str], ahead_s: float | None, said: str
) -> None:
    answered(ahead_s).show()
    assert f"clock: {said}\n" in capsys.readouterr().out


def test_what_is_warned_of_and_how_loudly() -> None:
    assert warned(Powers()) == []
    (trade,) = warned(Powers(writes=("orders", "positions")))
    assert trade.startswith("warning: the key can write (orders, positions)")
    withdraw, write = warned(Powers(writes=("orders", "withdraw"), withdraws=True))
    assert withdraw.startswith("DANGER: THIS KEY CAN WITHDRAW MONEY")
    assert "(orders, withdraw)" in write


@pytest.mark.parametrize(("ahead_s", "warnings"), [(119.0, 0), (-121.0, 1), (121.0, 1)])
def test_clocks_are_warned_of_from_the_difference_on_that_delays_proofs(ahead_s: float, warnings: int) -> None:
    assert len(warned(Powers(), ahead_s)) == warnings
