"""Bitfinex: what is asked, what is read, and what each failure means."""

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.errors import (
    BadReply,
    ExchangeError,
    LimitRefused,
    MarketdError,
    Refused,
    Throttled,
    UnknownSymbol,
    UnknownTimeframe,
    Unreachable,
)
from marketd.exchanges.bitfinex import EXCHANGE as BITFINEX
from marketd.exchanges.facts import Oldest, Reply, Status
from marketd.model import Rows

SAMPLE = b"""[[1364774820000,93.25,93.3,93.3,93.25,93.3],
 [1364774880000,100,100,100,100,93.3],
 [1364774940000,93.3,93.3,93.3,93.3,33.67686227]]"""
HTML = b"<!DOCTYPE html><html><title>522: Connection timed out</title></html>"


def read(body: bytes) -> Rows:
    return BITFINEX.read_candles(body)


def failure(status: int, body: bytes, retry_after_s: float | None = None) -> ExchangeError | None:
    return BITFINEX.failure(Reply(status, body, retry_after_s=retry_after_s))


class TestRequests:
    def test_end_is_inclusive_at_the_exchange_and_exclusive_with_us(self) -> None:
        request = BITFINEX.candles_request("BTCUSD", "1m", 60_000, 180_000, False, 10_000)
        assert request.path == "/candles/trade:1m:tBTCUSD/hist"
        assert request.query == (("start", "60000"), ("end", "179999"), ("limit", "10000"), ("sort", "1"))

    def test_one_interval_never_has_equal_bounds(self) -> None:
        query = dict(BITFINEX.candles_request("BTCUSD", "1m", 60_000, 120_000, True, 120).query)
        assert int(query["start"]) < int(query["end"]) < 120_000

    def test_newest_first_is_said_with_sort_and_start(self) -> None:
        query = dict(BITFINEX.candles_request("BTCUSD", "1h", 0, 3_600_000, True, 1_000).query)
        assert (query["sort"], query["start"]) == ("-1", "0")

    @pytest.mark.parametrize(("ours", "theirs"), [("1m", "1m"), ("1h", "1h"), ("4h", "4h"), ("1d", "1D")])
    def test_timeframes_are_spelled_as_the_exchange_does(self, ours: str, theirs: str) -> None:
        path = BITFINEX.candles_request("DOGE:USD", ours, 0, 86_400_000, True, 1).path
        assert path == f"/candles/trade:{theirs}:tDOGE:USD/hist"

    @pytest.mark.parametrize("wrong", ["1w", "2w", "1M"])
    def test_native_weeks_and_months_are_never_asked_for(self, wrong: str) -> None:
        assert wrong not in BITFINEX.timeframes
        assert BITFINEX.derived[wrong] == "1d"

    def test_the_first_candle_is_the_oldest_one_of_an_ascending_page(self) -> None:
        assert isinstance(BITFINEX.first, Oldest)
        request = BITFINEX.first.request("BTCUSD", "1m")
        assert request.query == (("limit", "1"), ("sort", "1"))

    def test_symbols_come_from_the_configuration(self) -> None:
        assert BITFINEX.symbols_requests()[0].path == "/conf/pub:list:pair:exchange"


class TestCandles:
    def test_close_comes_before_high_and_low(self) -> None:
        page = read(b"[[60000,2,3,4,1,9]]")
        assert (page.open, page.close, page.high, page.low, page.volume) == ([2.0], [3.0], [4.0], [1.0], [9.0])
        assert page.lines == [b"60000,2,3,4,1,9"]
        assert BITFINEX.columns == ("open_ms", "open", "close", "high", "low", "volume")

    def test_a_recorded_page(self) -> None:
        page = read(SAMPLE)
        assert page.open_ms == [1364774820000, 1364774880000, 1364774940000]
        assert page.close == [93.3, 100.0, 93.3]
        assert page.lines == [
            b"1364774820000,93.25,93.3,93.3,93.25,93.3",
            b"1364774880000,100,100,100,100,93.3",
            b"1364774940000,93.3,93.3,93.3,93.3,33.67686227",
        ]

    @pytest.mark.parametrize("volume", ["7e-7", "8e-08", "1.5E-7", "2.5e+3", "0", "0.0", "1E5"])
    def test_exponents_stay_as_they_were_sent(self, volume: str) -> None:
        page = read(f"[[60000,2,3,4,1,{volume}]]".encode())
        assert page.lines == [f"60000,2,3,4,1,{volume}".encode()]
        assert page.volume == [float(volume)]

    @pytest.mark.parametrize("more", [b"7", b"7,8.5", b"[7,8]", b"[],[]"])
    def test_rows_may_grow_at_the_end(self, more: bytes) -> None:
        body = b"[[60000,2,3,4,1,9," + more + b"],[120000,2,3,4,1,8]]"
        assert read(body).lines == [b"60000,2,3,4,1,9", b"120000,2,3,4,1,8"]

    @pytest.mark.parametrize("more", [b"null", b'"buy"', b"true", b'{"trades":4}', b"null,[1]"])
    def test_rows_may_grow_by_something_that_is_no_number(self, more: bytes) -> None:
        body = b"[[60000,2.50,3,4,1,9e-7," + more + b"],\n[120000,2,3,4,1,8," + more + b"]]"
        assert read(body).lines == [b"60000,2.50,3,4,1,9e-7", b"120000,2,3,4,1,8"]

    @pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\n]\r\n"])
    def test_an_empty_page_has_no_rows(self, body: bytes) -> None:
        assert read(body) == Rows([], [], [], [], [], [], [])

    @pytest.mark.parametrize("count", [1, 249, 250, 251, 1003])
    def test_a_page_of_any_length_is_read_whole(self, count: int) -> None:
        rows = [[60_000 * number, 1.5, 2, 3, 1, number] for number in range(count)]
        read = BITFINEX.read_candles(json.dumps(rows, separators=(",", ":")).encode())
        assert (read.open_ms, read.volume) == ([row[0] for row in rows], [row[5] for row in rows])

    @pytest.mark.parametrize("at", [0, 249, 250, 400])
    @pytest.mark.parametrize("wrong", [b"[1,2],[3]", b"1,2,3,4,5,6],[[7]]", b"60000,1,2,3,1", b"1]],[[1,2,3,4,5,6"])
    def test_a_mistake_anywhere_in_a_long_page_is_found(self, at: int, wrong: bytes) -> None:
        rows = [b"%d,1,2,3,1,5" % (60_000 * number) for number in range(401)]
        rows[at] = wrong
        with pytest.raises(BadReply):
            BITFINEX.read_candles(b"[[" + b"],[".join(rows) + b"]]")

    def test_blanks_between_values_do_not_matter(self) -> None:
        assert read(b" [ [ 60000 ,\t2, 3,4 ,1,9 ]\r\n, [120000,2,3,4,1,8] ] ") == read(
            b"[[60000,2,3,4,1,9],[120000,2,3,4,1,8]]"
        )

    @pytest.mark.parametrize("body", [b"[[60000,2 1,3,4,1,9]]", b"[[60000,2,3,4,1,- 9]]", b"[[6 0000,2,3,4,1,9]]"])
    def test_blanks_inside_of_a_number_are_refused(self, body: bytes) -> None:
        with pytest.raises(BadReply):
            read(body)


HOSTILE = {
    "nothing": b"",
    "blanks": b" \n ",
    "a web page": HTML,
    "a byte order mark": b"\xef\xbb\xbf[[60000,2,3,4,1,9]]",
    "utf-16": "[[60000,2,3,4,1,9]]".encode("utf-16"),
    "not utf-8": b"[[\xff\xfe]]",
    "nul": b"[[60000,2,3,4,1,9]]\x00",
    "NaN": b"[[60000,NaN,3,4,1,9]]",
    "Infinity": b"[[60000,2,3,Infinity,1,9]]",
    "minus Infinity": b"[[60000,2,3,4,-Infinity,9]]",
    "1e400": b"[[60000,2,3,1e400,1,9]]",
    "1e-400": b"[[60000,2,3,4,1,1e-400]]",
    "0e-99999": b"[[60000,2,3,4,1,0e-99999]]",
    "0e999999999": b"[[60000,2,3,4,1,0e999999999]]",
    "an open time with 5000 digits": b"[[" + b"9" * 5000 + b",2,3,4,1,9]]",
    "a price with 5000 digits": b"[[60000," + b"9" * 5000 + b",3,4,1,9]]",
    "a price with 400 digits": b"[[60000," + b"9" * 400 + b",3,4,1,9]]",
    "a volume with 400 places": b"[[60000,2,3,4,1,0." + b"0" * 400 + b"1]]",
    "null": b"[[60000,2,3,4,1,null]]",
    "a row that is null": b"[null]",
    "true": b"[[60000,2,3,4,true,9]]",
    "a number as text": b'[[60000,"2",3,4,1,9]]',
    "an object": b'{"open": 1}',
    "an object as a row": b'[{"a": 1}]',
    "an error": b'["error",10020,"symbol: invalid"]',
    "a short row": b"[[60000,2,3,4,1]]",
    "an empty row": b"[[60000,2,3,4,1,9],[]]",
    "only an empty row": b"[[]]",
    "a row without its list": b"[60000,2,3,4,1,9]",
    "a list too deep": b"[[[60000,2,3,4,1,9]]]",
    "a list as a price": b"[[60000,[2],3,4,1,9]]",
    "an open time with a fraction": b"[[60000.5,2,3,4,1,9]]",
    "an open time as an exponent": b"[[6e4,2,3,4,1,9]]",
    "a leading zero": b"[[60000,02,3,4,1,9]]",
    "a plus sign": b"[[60000,+2,3,4,1,9]]",
    "a comma too many": b"[[60000,2,3,4,1,9],]",
    "cut off": SAMPLE[:-9],
    "cut off after a row": b"[[60000,2,3,4,1,9]",
    "two pages": b"[[60000,2,3,4,1,9]][[120000,2,3,4,1,9]]",
    "100 000 brackets": b"[" * 100_000,
    "100 000 pairs of brackets": b"[" * 100_000 + b"]" * 100_000,
    "commas": b"[" + b"," * 10_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_page_is_a_bad_reply(body: bytes) -> None:
    """fault_42, fault_45."""
    with pytest.raises(BadReply) as refused:
        read(body)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "reader", [read, BITFINEX.read_symbols, lambda body: failure(200, body)], ids=["candles", "symbols", "failure"]
)
def test_a_hostile_page_is_refused_at_once(reader: Callable[[bytes], object], body: bytes) -> None:
    """fault_42."""

    def once() -> float:
        began = time.perf_counter()
        with suppress(MarketdError):
            reader(body)
        return time.perf_counter() - began

    assert min(once() for _ in range(3)) < 0.005


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text("[]{},0123456789.eE+- \n", max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_a_bad_reply(body: bytes) -> None:
    try:
        page = read(body)
    except BadReply:
        return
    assert len(page.open_ms) == len(page.lines) == len(json.loads(body))


DIGITS = st.from_regex(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
BLANKS = st.text(" \n\t\r", max_size=2)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 10**13), st.lists(DIGITS, min_size=5, max_size=8)), max_size=8), BLANKS, BLANKS
)
def test_candles_come_back_digit_for_digit(candles: list[tuple[int, list[str]]], before: str, after: str) -> None:
    rows = [[str(ms), *digits] for ms, digits in candles]
    comma = f"{before},{after}"
    body = f"[{after}" + comma.join(f"[{before}{comma.join(row)}{after}]" for row in rows) + f"{before}]"
    page = read(body.encode())
    assert page.lines == [",".join(row[:6]).encode() for row in rows]
    assert page.open_ms == [ms for ms, _ in candles]
    assert page.low == [float(row[4]) for row in rows]


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (500, b'["error",10020,"symbol: invalid"]', UnknownSymbol),
            (500, b'["error",10020,"time_interval: invalid"]', Refused),
            (500, b'["error",10020,"limit: invalid"]', LimitRefused),
            (500, b'["error",10020,"timeframe: invalid"]', UnknownTimeframe),
            (500, b'["error",10020,"something new"]', Refused),
            (429, b'["error",11010,"ratelimit: error"]', Throttled),
            (429, b'{"error":"ERR_RATE_LIMIT"}', Throttled),
            (429, HTML, Throttled),
            (503, b'["error",20060,"maintenance"]', Unreachable),
            (503, b'{"code":503,"error":"temporarily_unavailable","error_description":"down"}', Unreachable),
            (500, b'["error",11000,"not ready"]', Unreachable),
            (500, b'["error",10000,"unknown"]', Unreachable),
            (404, b"<pre>Cannot GET /api/v2/x</pre>", Unreachable),
            (522, HTML, Unreachable),
            (502, b"", Unreachable),
            (403, HTML, Unreachable),
            (200, HTML, Unreachable),
            (200, b"{}", Unreachable),
            (204, b"[]", Unreachable),
        ],
    )
    def test_the_table(self, status: int, body: bytes, kind: type[ExchangeError]) -> None:
        """fault_32, fault_45."""
        assert type(failure(status, body)) is kind

    @pytest.mark.parametrize("status", [200, 500])
    @pytest.mark.parametrize("text", ['["error",{},"{}"]', ' [ "error" , {} , "{}" ] '])
    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            (10020, "symbol: invalid", UnknownSymbol),
            (10020, "limit: invalid", LimitRefused),
            (11010, "ratelimit: error", Throttled),
            (20060, "maintenance", Unreachable),
        ],
    )
    def test_an_error_is_one_whatever_the_status_and_the_blanks(
        self, status: int, text: str, code: int, message: str, kind: type[ExchangeError]
    ) -> None:
        assert type(failure(status, text.format(code, message).encode())) is kind

    @pytest.mark.parametrize("body", [b'["error"]', b'["error",null,null]', b'["error",true]', b'["error",1.5,[]]'])
    def test_an_error_without_a_code_may_pass(self, body: bytes) -> None:
        assert isinstance(failure(200, body), Unreachable)

    def test_the_exchange_names_its_own_wait(self) -> None:
        """fault_31."""
        found = failure(429, b'["error",11010,"ratelimit: error"]', retry_after_s=63)
        assert isinstance(found, Throttled)
        assert found.retry_after_s == 63

    @pytest.mark.parametrize("body", [SAMPLE, b"[]", b'[["BTCUSD"]]'])
    def test_data_is_no_failure(self, body: bytes) -> None:
        assert failure(200, body) is None

    def test_an_error_carries_one_printable_line(self) -> None:
        found = failure(500, b'["error",10020,"odd\\n\\u001b[31m thing"]')
        assert str(found).isprintable()


class TestSymbols:
    @pytest.mark.parametrize("symbol", ["BTCUSD", "DOGE:USD", "BTCF0:USTF0", "1INCH:USD"])
    def test_pairs(self, symbol: str) -> None:
        assert BITFINEX.check_symbol(symbol) is None

    @pytest.mark.parametrize(
        "symbol", ["tBTCUSD", "btcusd", "BTC/USD", "BTC", "", "BTCUSD\n", "DOGEUSD", ":USD", "DOGE:USD:X", "BTCUSÐ"]
    )
    def test_other_spellings_are_refused_with_an_example(self, symbol: str) -> None:
        reason = BITFINEX.check_symbol(symbol)
        assert reason is not None
        assert "BTCUSD" in reason
        assert reason.isprintable()

    def test_the_list_leaves_paper_markets_out(self) -> None:
        body = b'[["BTCUSD","DOGE:USD","TESTBTC:TESTUSD",7,null,"odd name"]]'
        assert BITFINEX.read_symbols(body) == {"BTCUSD": Status.TRADING, "DOGE:USD": Status.TRADING}

    @pytest.mark.parametrize("body", [b"", b"[]", b"[[],[]]", b'["BTCUSD"]', b"{}", HTML, b"[[", b"[" * 100_000])
    def test_another_shape_is_a_bad_reply(self, body: bytes) -> None:
        with pytest.raises(BadReply):
            BITFINEX.read_symbols(body)
