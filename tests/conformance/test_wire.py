"""Every adapter against what its exchange documents: literal replies, the bounds of asks, errors."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.errors import (
    BadReply,
    LimitRefused,
    OutOfReach,
    Refused,
    Throttled,
    UnknownSymbol,
    UnknownTimeframe,
    Unreachable,
)
from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Exchange, Oldest, Paging, Reply, Status
from marketd.rehearsal.dialects import spoken
from marketd.timeframe import TIMEFRAMES
from tests.conformance.direct import call_of
from tests.conformance.spec import SPECS

HTML = b"<!DOCTYPE html><html><title>522: Connection timed out</title></html>"
NOW_MS = 1_700_000_000_000


@pytest.fixture(params=NAMES)
def exchange(request: pytest.FixtureRequest) -> Exchange:
    return EXCHANGES[request.param]


def test_every_exchange_has_a_specification_and_a_dialect() -> None:
    assert set(SPECS) == set(NAMES)
    assert {spoken(name).name for name in NAMES} == set(NAMES)


def test_a_literal_reply_is_read_to_the_digit(exchange: Exchange) -> None:
    sample = SPECS[exchange.name].sample
    rows = exchange.read_candles(sample.body)
    read = [dict(zip(exchange.columns, line.decode().split(","), strict=True)) for line in rows.lines]
    names = ("open_ms", "open", "high", "low", "close", "volume")
    assert [tuple(row[name] for name in names) for row in read] == list(sample.candles)
    assert rows.open_ms == [int(candle[0]) for candle in sample.candles]
    for name in names[1:]:
        assert getattr(rows, name) == [float(candle[names.index(name)]) for candle in sample.candles]


def test_the_specification_reads_the_sample_alike() -> None:
    for spec in SPECS.values():
        assert spec.said(spec.sample.body) == set(spec.sample.candles)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(
    timeframe_at=st.integers(0, 20), number=st.integers(100, 5_000), count=st.integers(1, 300),
    newest_first=st.booleans(),
)  # fmt: skip
def test_an_ask_is_heard_as_it_is_meant(
    name: str, timeframe_at: int, number: int, count: int, newest_first: bool
) -> None:
    """Half-open with us: the first candle is in, the one at the end is not, at whatever bounds the exchange has."""
    exchange, spec, dialect = EXCHANGES[name], SPECS[name], spoken(name)
    timeframe = list(exchange.timeframes)[timeframe_at % len(exchange.timeframes)]
    frame = TIMEFRAMES[timeframe]
    start_ms, end_ms = frame.open_ms(number), frame.open_ms(number + count)
    request = exchange.candles_request(spec.symbol, timeframe, start_ms, end_ms, newest_first, count)
    asked = dialect.asked(call_of(request), end_ms + 1)
    assert (asked.kind, asked.symbol, dialect.spellings[asked.timeframe]) == ("candles", spec.symbol, timeframe)
    window = dialect.window(dialect.bounds(asked), frame, end_ms + 1)
    heard_start = 0 if window.start_ms is None else -(-window.start_ms // (frame.step_s * 1000))
    heard_end = number + count if window.end_ms is None else window.end_ms // (frame.step_s * 1000) + 1
    early = 1 if exchange.strays else 0
    if exchange.paging is not Paging.RECENT:
        assert (heard_start, heard_end) == (number - early, number + count)
        assert window.limit >= count
        assert exchange.counted or window.newest_first == newest_first
    elif window.start_ms is not None:
        assert heard_start == number


def test_weeks_and_months_are_built(exchange: Exchange) -> None:
    """No two exchanges begin a week on the same day."""
    for name in ("1w", "2w", "1M"):
        assert name not in exchange.timeframes
        assert exchange.derived[name] == "1d"
    for name, parent in exchange.derived.items():
        assert parent in exchange.timeframes
        assert name not in exchange.timeframes
    assert {"1m", "1h", "1d"} <= set(exchange.timeframes)


def test_what_an_exchange_says_of_itself_fits_together(exchange: Exchange) -> None:
    assert exchange.check_symbol(SPECS[exchange.name].symbol) is None
    assert exchange.base_url.startswith("https://")
    assert all(larger > smaller for larger, smaller in pairwise(exchange.page_limits))
    assert exchange.page_limits[0] <= SPECS[exchange.name].most
    assert exchange.columns[0] == "open_ms"
    assert sorted(exchange.columns) == sorted(("open_ms", "open", "high", "low", "close", "volume"))
    if exchange.reach is not None:
        assert exchange.counted


def test_a_rehearsal_trades_symbols_that_the_exchange_could_have(exchange: Exchange) -> None:
    symbols = spoken(exchange.name).symbols
    assert {symbol: exchange.check_symbol(symbol) for symbol in symbols} == dict.fromkeys(symbols)
    assert len(symbols) == 3


@pytest.mark.parametrize("wrong", ["", " ", "btc usd", "../etc", "BTC\n", "x" * 80, "BTC?x=1", "BTC#", "BTC%2F", "é'"])
def test_nothing_is_a_symbol_that_could_change_a_request(exchange: Exchange, wrong: str) -> None:
    said = exchange.check_symbol(wrong)
    assert said is not None
    assert said.isprintable()


def test_symbols_are_read_as_the_exchange_lists_them(exchange: Exchange) -> None:
    symbol, dialect = SPECS[exchange.name].symbol, spoken(exchange.name)
    listing: dict[str, Status] = {}
    for request in exchange.symbols_requests():
        asked = dialect.asked(call_of(request), NOW_MS)
        assert asked.kind == "symbols"
        listing |= exchange.read_symbols(dialect.listing(asked, {symbol: "trading"}))
    assert listing == {symbol: Status.TRADING}


@pytest.mark.parametrize("traded", ["halted", "delisted"])
def test_what_is_not_traded_is_not_listed_as_traded(exchange: Exchange, traded: Any) -> None:
    symbol, dialect = SPECS[exchange.name].symbol, spoken(exchange.name)
    request = exchange.symbols_requests()[0]
    asked = dialect.asked(call_of(request), NOW_MS)
    told = exchange.read_symbols(dialect.listing(asked, {symbol: traded})).get(symbol)
    silent = traded == "halted" and "halted" not in SPECS[exchange.name].words
    assert (told is Status.TRADING) == silent


class TestFailures:
    """Every dialect's own way to refuse means the same thing here."""

    def failure(self, exchange: Exchange, said: Any) -> Any:
        headers = {name.lower(): value for name, value in said.headers}
        return exchange.failure(Reply(said.status, said.body.content, date_ms=NOW_MS, headers=headers))

    @pytest.mark.parametrize(
        ("word", "meant"), [("symbol", UnknownSymbol), ("timeframe", UnknownTimeframe), ("window", Refused)]
    )
    def test_refusals(self, exchange: Exchange, word: Any, meant: type[Exception]) -> None:
        found = self.failure(exchange, spoken(exchange.name).refused(word))
        if word == "timeframe" and word not in SPECS[exchange.name].words:
            meant = Refused
        assert isinstance(found, meant), found
        assert str(found).isprintable()

    def test_a_page_that_is_too_large(self, exchange: Exchange) -> None:
        found = self.failure(exchange, spoken(exchange.name).refused("limit"))
        sized = "limit" in SPECS[exchange.name].words
        assert isinstance(found, LimitRefused if sized else Refused), found

    def test_what_is_too_old_is_a_bound(self, exchange: Exchange) -> None:
        found = self.failure(exchange, spoken(exchange.name).refused("old"))
        assert isinstance(found, OutOfReach) == ("old" in SPECS[exchange.name].words), found

    def test_throttling(self, exchange: Exchange) -> None:
        found = self.failure(exchange, spoken(exchange.name).throttled(42.0, NOW_MS))
        assert isinstance(found, Throttled), found
        told = "wait" in SPECS[exchange.name].words
        assert not told or found.retry_after_s == pytest.approx(42, abs=1)

    def test_trouble_passes(self, exchange: Exchange) -> None:
        dialect = spoken(exchange.name)
        assert isinstance(self.failure(exchange, dialect.troubled(503, 0, "x")), Unreachable)
        assert isinstance(self.failure(exchange, dialect.maintenance()), Unreachable)

    @pytest.mark.parametrize("status", [200, 500, 502, 503, 520, 522])
    def test_a_web_page_is_trouble_and_never_data(self, exchange: Exchange, status: int) -> None:
        assert isinstance(exchange.failure(Reply(status, HTML, "text/html")), Unreachable)

    def test_a_good_page_is_no_failure(self, exchange: Exchange) -> None:
        assert exchange.failure(Reply(200, SPECS[exchange.name].sample.body)) is None

    def test_no_error_is_read_as_candles(self, exchange: Exchange) -> None:
        dialect = spoken(exchange.name)
        words: tuple[Any, ...] = ("symbol", "timeframe", "limit", "window", "old", "path")
        for said in (dialect.throttled(1, NOW_MS), dialect.maintenance(), *map(dialect.refused, words)):
            with pytest.raises(BadReply):
                exchange.read_candles(said.body.content)


@pytest.mark.parametrize(
    ("name", "status", "body", "meant"),
    [
        ("gate", 503, b'{"label":"TOO_BUSY","message":"x"}', Unreachable),
        ("gate", 500, b'{"label":"NEVER_HEARD_OF","message":"x"}', Unreachable),
        ("gate", 400, b'{"label":"TOO_FAST","message":"x"}', Throttled),
        ("gate", 400, b'{"label":"NEVER_HEARD_OF","message":"x"}', Refused),
        ("okx", 200, b'{"code":"50005","msg":"API is offline or unavailable","data":[]}', Unreachable),
        ("okx", 200, b'{"code":"51015","msg":"x","data":[]}', UnknownSymbol),
        ("kucoin", 400, b'{"code":"400100","msg":"Unsupported trading pair."}', UnknownSymbol),
        ("kucoin", 200, b'{"code":"429","msg":"x"}', Throttled),
        ("bybit", 200, b'{"retCode":10009,"retMsg":"IP has been banned"}', Throttled),
        ("bybit", 403, b"<html>blocked</html>", Throttled),
        ("kraken", 200, b'{"error":["EQuery:Invalid asset pair"]}', UnknownSymbol),
        ("kraken", 200, b'{"error":["EGeneral:Temporary lockout"]}', Throttled),
        ("kraken", 200, b'{"error":["EService:Busy"]}', Unreachable),
        ("coinbase", 400, b'{"message":"We are under maintenance"}', Unreachable),
        ("binance", 451, b'{"code":0,"msg":"Service unavailable from a restricted location"}', Refused),
        ("binance", 403, b"<html>", Throttled),
        ("hyperliquid", 500, b"null", UnknownSymbol),
        ("hyperliquid", 500, b"upstream error", Unreachable),
        ("bitstamp", 404, b"<html>not found</html>", UnknownSymbol),
        ("gemini", 503, b'{"result":"error","reason":"Maintenance","message":"x"}', Unreachable),
    ],
)
def test_words_of_single_exchanges(name: str, status: int, body: bytes, meant: type[Exception]) -> None:
    found = EXCHANGES[name].failure(Reply(status, body))
    assert isinstance(found, meant), found
    assert type(found) is meant or meant is Refused


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.replace(b"1", b"NaN", 1),
        lambda body: body[: len(body) // 2],
        lambda body: body + b"]",
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: b"",
        lambda body: b"[" * 50_000,
        lambda body: b'{"data":null,"result":null}',
        lambda body: b"[[1]]",
        lambda body: b"[null]",
        lambda body: b'[{"t":1}]',
    ],
)
def test_what_cannot_be_read_is_refused_in_plain_words(exchange: Exchange, spoil: Any) -> None:
    with pytest.raises(BadReply) as refused:
        exchange.read_candles(spoil(SPECS[exchange.name].sample.body))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_a_number_of_absurd_size_is_refused(exchange: Exchange) -> None:
    """Whatever reads it otherwise may choke on it: no float holds it, and a database would take a gigabyte for it."""
    sample = SPECS[exchange.name].sample
    with pytest.raises(BadReply):
        exchange.read_candles(sample.body.replace(sample.candles[0][4].encode(), b"9e400", 1))


def test_an_empty_page_is_one_without_rows(exchange: Exchange) -> None:
    rows = exchange.read_candles(spoken(exchange.name).page(_ask(exchange), ()))
    assert rows.open_ms == []


def _ask(exchange: Exchange) -> Any:
    request = exchange.candles_request(SPECS[exchange.name].symbol, "1m", 0, 60_000, False, 1)
    return spoken(exchange.name).asked(call_of(request), NOW_MS)


class TestWords:
    """What single exchanges say of themselves."""

    def test_okx_and_gate_say_which_candle_is_open(self) -> None:
        assert EXCHANGES["okx"].read_candles(SPECS["okx"].sample.body).unfinished == (0,)
        rows = EXCHANGES["gate"].read_candles(
            b'[["60","9","3","4","1","2","5","false"],["0","9","3","4","1","2","5","true"]]'
        )
        assert rows.unfinished == (0,)

    def test_a_row_of_gate_without_a_base_volume_is_not_guessed(self) -> None:
        with pytest.raises(BadReply):
            EXCHANGES["gate"].read_candles(b'[["1539852480","971519.677","1","1","1","1","true"]]')

    def test_noise_of_a_float_is_taken_away_and_nothing_else(self) -> None:
        page = b"[[1522557420,6965,6965.01,6965.01,6965.01,0.35165789999999997]]"
        assert EXCHANGES["coinbase"].read_candles(page).lines == [
            b"1522557420000,6965.01,6965.01,6965,6965.01,0.3516579"
        ]
        page = b"[[1522557420,0.0000000000012345,2.50,1.1,1,123456789012.123]]"
        line = EXCHANGES["coinbase"].read_candles(page).lines[0]
        assert line == b"1522557420000,1.1,2.50,0.0000000000012345,1,123456789012.123"

    def test_the_first_trade_at_kraken_names_the_first_candle(self) -> None:
        first = EXCHANGES["kraken"].first
        assert isinstance(first, Oldest)
        body = b'{"error":[],"result":{"XXBTZUSD":[["122.0","0.1",1381095255.8123,"s","l","",1]],"last":"1"}}'
        assert first.open_ms(body) == 1_381_095_255_812
        assert first.open_ms(b'{"error":[],"result":{"XXBTZUSD":[],"last":"0"}}') is None

    def test_a_ban_of_binance_ends_when_its_text_says(self) -> None:
        body = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1700000123000. Please use"}'
        found = EXCHANGES["binance"].failure(Reply(418, body, date_ms=NOW_MS))
        assert isinstance(found, Throttled)
        assert found.retry_after_s == 123

    def test_binance_rests_where_the_minute_is_nearly_used_up(self) -> None:
        def rest_s(used: str) -> float:
            return EXCHANGES["binance"].rest_s(
                Reply(200, b"[]", date_ms=NOW_MS, headers={"x-mbx-used-weight-1m": used})
            )

        assert rest_s("4001") == 60 - NOW_MS // 1000 % 60
        assert rest_s("4000") == rest_s("nonsense") == rest_s("") == 0

    def test_a_large_ask_of_hyperliquid_weighs_more(self) -> None:
        request = EXCHANGES["hyperliquid"].candles_request
        assert request("BTC", "1m", 0, 60_000 * 59, False, 1).weight == 1
        assert request("BTC", "1m", 0, 60_000 * 60, False, 1).weight == 2
        assert request("BTC", "1m", 60_000 * 5_000, 60_000 * 9_500, False, 1).weight == 5
        assert request("BTC", "1h", 0, 3_600_000 * 1_259, False, 1).weight == 2
        assert b'"startTime":0,' in (request("BTC", "1m", -60_000, 60_000, False, 1).body or b"")

    def test_days_of_okx_are_asked_for_by_their_utc_names(self) -> None:
        for name in ("6h", "12h", "1d"):
            assert EXCHANGES["okx"].timeframes[name].endswith("utc")
        assert not EXCHANGES["okx"].timeframes["4h"].endswith("utc")

    def test_bybit_is_asked_for_spot(self) -> None:
        asks = EXCHANGES["bybit"].candles_request
        assert [dict(asks("BTCUSDT", "1m", 0, 60_000, False, most).query)["limit"] for most in (200, 999, 1000)] == [
            "201", "1000", "1000",
        ]  # fmt: skip
        for request in (EXCHANGES["bybit"].candles_request("BTCUSDT", "1m", 0, 60_000, False, 1),
                        *EXCHANGES["bybit"].symbols_requests()):  # fmt: skip
            assert ("category", "spot") in request.query

    def test_gate_is_never_asked_with_a_limit(self) -> None:
        assert "limit" not in dict(EXCHANGES["gate"].candles_request("BTC_USDT", "1m", 0, 60_000, False, 1).query)


def test_how_an_interval_without_trades_looks(exchange: Exchange) -> None:
    """As documented or recorded, and so does the rehearsal exchange."""
    look = SPECS[exchange.name].no_trade
    assert exchange.no_trade == look
    assert spoken(exchange.name).flat == (look != "absent")


def test_json_numbers_keep_their_text() -> None:
    page = json.dumps([[60_000, 1.10, 2, 1, 1.5, 0]]).encode().replace(b"1.1,", b"1.10,")
    assert EXCHANGES["gemini"].read_candles(page).lines == [b"60000,1.10,2,1,1.5,0"]
