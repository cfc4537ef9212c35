"""The rehearsal exchange over a real socket: parameters, refusals, faults, control and statistics."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from marketd.clock import ScaledClock
from marketd.errors import UsageError
from marketd.exchanges import bitfinex
from marketd.rehearsal import RehearsalServer, serve, synthetic
from marketd.rehearsal.faults import (
    Delisted,
    Fault,
    Hang,
    Huge,
    Ignores,
    Late,
    LimitRefused,
    Lost,
    Maintenance,
    Malformed,
    Nothing,
    PageLimit,
    RateLimit,
    Redirect,
    Reset,
    Revised,
    ServerError,
    TimeframeRefused,
    Truncated,
    UnknownSymbol,
)

pytestmark = pytest.mark.once

MINUTE = 60_000
DAY = 86_400_000
T0 = 1_577_836_800_000  # 2020-01-01
NOW = T0 + 20 * DAY + 30_000
HIST = "/candles/trade:1m:tBTCUSD/hist"


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def rows(self) -> Any:
        return json.loads(self.body)

    @property
    def opens(self) -> list[int]:
        return [row[0] for row in self.rows]


class Drill:
    """A server with a clock that stands still until it is moved, and a client."""

    def __init__(self, server: RehearsalServer, clock: ScaledClock, client: aiohttp.ClientSession) -> None:
        self.server = server
        self.clock = clock
        self._client = client

    async def get(self, path: str, /, **query: int) -> Said:
        return await self.get_below(self.server.base_url, path, **query)

    async def get_below(self, base: str, path: str, /, **query: int) -> Said:
        texts = {key: str(value) for key, value in query.items()}
        async with self._client.get(base + path, params=texts, allow_redirects=False) as reply:
            return Said(reply.status, await reply.read(), dict(reply.headers))

    async def post(self, path: str, body: object = None) -> Said:
        async with self._client.post(self.server.root_url + path, json=body) as reply:
            return Said(reply.status, await reply.read(), dict(reply.headers))

    async def struck(self, *faults: Fault, **query: int) -> Said:
        return await self.struck_at(HIST, *faults, **query)

    async def struck_at(self, path: str, /, *faults: Fault, **query: int) -> Said:
        self.server.faults.clear()
        self.server.faults.add(*faults)
        return await self.get(path, **query)


@pytest_asyncio.fixture
async def drill() -> AsyncIterator[Drill]:
    clock = ScaledClock(NOW, speed=0)
    market = synthetic(7, ["BTCUSD", "DOGE:USD"], T0, T0 + 4000 * DAY, 0.2)
    async with RehearsalServer(market, clock) as server, aiohttp.ClientSession() as client:
        yield Drill(server, clock, client)


async def test_a_page_has_the_default_limit_and_comes_newest_first(drill: Drill) -> None:
    said = await drill.get(HIST)
    assert said.status == 200
    assert said.headers["Content-Type"].startswith("application/json")
    assert len(said.rows) == 100
    assert said.opens == sorted(said.opens, reverse=True)
    assert b" " not in said.body


async def test_bounds_are_included_and_sort_chooses_the_cut_side(drill: Drill) -> None:
    oldest = await drill.get(HIST, start=T0, end=T0 + DAY, limit=10_000, sort=1)
    first, last = oldest.opens[3], oldest.opens[40]
    assert (await drill.get(HIST, start=first, end=last, limit=10_000, sort=1)).opens == oldest.opens[3:41]
    assert (await drill.get(HIST, start=first, end=last, limit=5, sort=1)).opens == oldest.opens[3:8]
    assert (await drill.get(HIST, start=first, end=last, limit=5)).opens == oldest.opens[40:35:-1]
    assert (await drill.get(HIST, end=last, limit=1)).opens == [last]
    assert (await drill.get(HIST, limit=1, sort=1)).opens == oldest.opens[:1]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"limit": 10_001}, "limit"),
        ({"limit": 0}, "limit"),
        ({"start": T0 + 5, "end": T0 + 5}, "time_interval"),
        ({"start": T0 + 5, "end": T0}, "time_interval"),
        ({"end": NOW + 1}, "time_interval"),
        ({"sort": 2}, "sort"),
    ],
)
async def test_wrong_parameters_are_refused_with_500_and_10020(drill: Drill, query: dict[str, int], word: str) -> None:
    said = await drill.get(HIST, **query)
    assert (said.status, said.rows) == (500, ["error", 10020, f"{word}: invalid"])


async def test_unknown_symbols_timeframes_and_paths(drill: Drill) -> None:
    for path in ("/candles/trade:1m:tNOPE/hist", "/candles/trade:1m:BTCUSD/hist"):
        assert (await drill.get(path)).rows == ["error", 10020, "symbol: invalid"]
    assert (await drill.get("/candles/trade:1d:tBTCUSD/hist")).rows == ["error", 10020, "timeframe: invalid"]
    said = await drill.struck_at("/candles/trade:1m:tNOPE/hist", UnknownSymbol())
    assert (said.status, said.body) == (200, b"[]")
    lost = await drill.get("/nothing/here")
    assert (lost.status, b"Cannot GET" in lost.body) == (404, True)


async def test_colons_may_be_escaped_and_v2_may_be_left_out(drill: Drill) -> None:
    plain = await drill.get("/candles/trade:1m:tDOGE:USD/hist")
    assert len(plain.rows) == 100
    assert (await drill.get("/candles/trade%3A1m%3AtDOGE%3AUSD/hist")).body == plain.body
    assert (await drill.get_below(drill.server.root_url, "/candles/trade:1m:tDOGE:USD/hist")).body == plain.body


async def test_lists_and_status_look_like_the_real_ones(drill: Drill) -> None:
    assert (await drill.get("/conf/pub:list:pair:exchange")).body == b'[["BTCUSD","DOGE:USD"]]'
    assert (await drill.get("/platform/status")).body == b"[1]"


async def test_the_date_is_that_of_the_exchanges_own_clock(drill: Drill) -> None:
    for path in (HIST, "/conf/pub:list:pair:exchange", "/nothing", "/candles/trade:1m:tNOPE/hist"):
        date = parsedate_to_datetime((await drill.get(path)).headers["Date"])
        assert date == datetime.fromtimestamp(NOW // 1000, UTC)


async def test_what_has_not_opened_is_not_shown_and_the_clock_moves_on(drill: Drill) -> None:
    before = (await drill.get(HIST, limit=1)).opens[0]
    drill.clock.jump(3600)
    after = await drill.get(HIST, limit=100)
    assert before < after.opens[0] <= NOW + 3_600_000
    assert any(open_ms > NOW for open_ms in after.opens)


async def test_lost_history_is_restored_on_the_exchanges_clock(drill: Drill) -> None:
    query = {"start": T0, "end": T0 + 30 * MINUTE, "sort": 1}
    whole = await drill.get(HIST, **query)
    lost = Lost(symbols=("BTCUSD",), start_ms=T0, end_ms=T0 + 10 * MINUTE, restored_at_ms=NOW + 60_000)
    holed = await drill.struck(lost, **query)
    assert holed.opens == [open_ms for open_ms in whole.opens if open_ms >= T0 + 10 * MINUTE]
    drill.clock.jump(60)
    assert (await drill.get(HIST, **query)).body == whole.body


async def test_revised_history(drill: Drill) -> None:
    query = {"start": T0, "end": T0 + 30 * MINUTE, "sort": 1}
    whole = await drill.get(HIST, **query)
    revised = await drill.struck(Revised(start_ms=T0, end_ms=T0 + DAY, from_ms=NOW + 1000), **query)
    assert revised.body == whole.body
    drill.clock.jump(1)
    assert (await drill.get(HIST, **query)).body != whole.body


async def test_late_candles_appear_only_after_their_delay(drill: Drill) -> None:
    said = await drill.struck(Late(delay_s=600), limit=100)
    assert len(said.rows) == 100
    assert said.opens[0] + MINUTE + 600_000 <= NOW
    some = await drill.struck(Late(delay_s=3600, share=0.5), limit=100)
    assert 0 < len([open_ms for open_ms in some.opens if open_ms > NOW - 3_600_000]) < 45


async def test_limits_lowered_in_silence_and_aloud(drill: Drill) -> None:
    query = {"start": T0, "limit": 5000, "sort": 1}
    assert len((await drill.struck(PageLimit(rows=1000), **query)).rows) == 1000
    refused = await drill.struck(LimitRefused(above=1000), **query)
    assert refused.rows == ["error", 10020, "limit: invalid"]
    assert (await drill.struck(LimitRefused(above=5000), **query)).status == 200


async def test_ignored_parameters_refused_timeframes_and_nothing_at_all(drill: Drill) -> None:
    query = {"start": T0, "end": T0 + DAY, "sort": 1, "limit": 10}
    ignored = await drill.struck(Ignores(parameters=("start", "end", "sort")), **query)
    assert ignored.body == (await drill.struck(limit=10)).body
    path = "/candles/trade:4h:tBTCUSD/hist"
    refused = await drill.struck_at(path, TimeframeRefused(timeframes=("4h",)))
    assert refused.rows == ["error", 10020, "timeframe: invalid"]
    assert (await drill.get(HIST)).status == 200
    assert (await drill.struck(Nothing())).body == b"[]"


async def test_the_rate_limit_blocks_until_its_time_is_over(drill: Drill) -> None:
    drill.server.faults.add(RateLimit(per_minute=3, block_s=60, retry_after="seconds"))
    assert [(await drill.get(HIST)).status for _ in range(4)] == [200, 200, 200, 429]
    assert (await drill.get("/platform/status")).status == 200
    drill.clock.jump(50)
    blocked = await drill.get(HIST)
    assert (blocked.status, blocked.rows) == (429, ["error", 11010, "ratelimit: error"])
    assert blocked.headers["Retry-After"] == "10"
    drill.clock.jump(10)
    assert (await drill.get(HIST)).status == 200


async def test_retry_after_may_be_a_date_or_nonsense(drill: Drill) -> None:
    for text, expected in (("date", "Tue, 21 Jan 2020 00:01:00 GMT"), ("-5", "-5")):
        drill.server.faults.clear()
        drill.server.faults.add(RateLimit(per_minute=1, block_s=30, retry_after=text))
        await drill.get(HIST)
        assert (await drill.get(HIST)).headers["Retry-After"] == expected


async def test_errors_of_the_edge_and_of_the_exchange(drill: Drill) -> None:
    burst = ServerError(status=503, count=2)
    assert (await drill.struck(burst)).status == 503
    assert [(await drill.get(HIST)).status for _ in range(2)] == [503, 200]
    said = await drill.struck(ServerError(status=500, body="array"))
    assert said.rows == ["error", 11000, "not ready"]
    assert (await drill.struck(Redirect(to="http://127.0.0.1:9/x"))).headers["Location"] == "http://127.0.0.1:9/x"
    assert (await drill.struck(Maintenance())).rows == ["error", 20060, "maintenance"]
    assert (await drill.get("/platform/status")).body == b"[0]"


@pytest.mark.parametrize("fault", [Reset(), Truncated(framing="length"), Truncated(framing="chunked")])
async def test_broken_connections(drill: Drill, fault: Fault) -> None:
    with pytest.raises(aiohttp.ClientError):
        await drill.struck(fault)
    assert drill.server.stats.statuses[0] >= 1


async def test_a_body_cut_without_length_arrives_as_a_normal_answer(drill: Drill) -> None:
    whole = await drill.get(HIST)
    cut = await drill.struck(Truncated(framing="none"))
    assert cut.status == 200
    assert whole.body.startswith(cut.body)
    assert 0 < len(cut.body) < len(whole.body)


@pytest.mark.parametrize("where", ["headers", "body"])
async def test_a_hanging_answer_does_not_delay_the_end(where: Any) -> None:
    clock = ScaledClock(NOW, speed=0)
    market = synthetic(7, ["BTCUSD"], T0, T0 + 4000 * DAY)
    loop = asyncio.get_running_loop()
    async with RehearsalServer(market, clock) as server, aiohttp.ClientSession() as client:
        server.faults.add(Hang(where=where))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), client.get(server.base_url + HIST) as reply:
                await reply.read()
        began = loop.time()
    assert loop.time() - began < 3
    assert server.stats.requests == 1


async def test_malformed_pages(drill: Drill) -> None:
    assert b"NaN" in (await drill.struck(Malformed(how="nan"))).body
    html = await drill.struck(Malformed(how="html"))
    assert (html.status, html.headers["Content-Type"].startswith("text/html")) == (200, True)
    bad = (await drill.struck()).opens[10]
    elsewhere = await drill.struck(Malformed(how="cut", candle_ms=bad), end=bad - 1)
    assert len(elsewhere.rows) == 100
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads((await drill.get(HIST, start=bad, sort=1)).body)


async def test_a_huge_body_is_streamed(drill: Drill) -> None:
    assert len((await drill.struck(Huge(megabytes=3))).body) > 2_900_000


async def test_delisted_symbols_leave_the_list(drill: Drill) -> None:
    said = await drill.struck_at("/conf/pub:list:pair:exchange", Delisted(symbols=("BTCUSD",)))
    assert said.body == b'[["DOGE:USD"]]'
    assert (await drill.get(HIST)).status == 500
    assert (await drill.struck(Delisted(symbols=("BTCUSD",), candles=True))).status == 200


async def test_statistics_say_what_was_asked(drill: Drill) -> None:
    await drill.get(HIST, limit=5)
    await drill.get(HIST, limit=1, sort=1)
    await drill.get("/candles/trade:1D:tBTCUSD/hist", limit=7)
    await drill.get("/conf/pub:list:pair:exchange")
    await drill.get("/candles/trade:1m:tNOPE/hist")
    stats = (await drill.get_below(drill.server.root_url, "/rehearsal/stats", last=1)).rows
    assert stats["kinds"] == {
        "candles": 3, "first": 1, "symbols": 1, "status": 0, "account": 0, "archive": 0, "other": 0,
    }  # fmt: skip
    assert stats["statuses"] == {"200": 4, "500": 1}
    assert stats["series"] == {"BTCUSD 1D": 1, "BTCUSD 1m": 2, "NOPE 1m": 1}
    assert (stats["rows"], stats["requests"], stats["busiest_minute"]) == (13, 5, 5)
    assert [entry["symbol"] for entry in stats["last"]] == ["NOPE"]
    assert drill.server.stats.asks[0].query == (("limit", "5"),)
    await drill.post("/rehearsal/reset")
    assert drill.server.stats.requests == 0


async def test_faults_are_set_and_taken_back_at_run_time(drill: Drill) -> None:
    order = {"faults": [{"kind": "server_error", "status": 520}, {"kind": "latency", "delay_s": 0}]}
    said = await drill.post("/rehearsal/faults", order)
    assert [fault["kind"] for fault in said.rows["faults"]] == ["server_error", "latency"]
    assert (await drill.get(HIST)).status == 520
    said = await drill.post("/rehearsal/faults", {"remove": ["server_error"]})
    assert [fault["kind"] for fault in said.rows["faults"]] == ["latency"]
    assert (await drill.post("/rehearsal/faults", {"replace": True})).rows["faults"] == []
    assert (await drill.get(HIST)).status == 200


@pytest.mark.parametrize(
    "order",
    [
        [],
        {"fault": []},
        {"faults": [{"kind": "quake"}]},
        {"remove": ["quake"]},
        {"remove": [[]]},
        {"replace": 1},
        {"faults": 5},
    ],
)
async def test_a_wrong_order_changes_nothing(drill: Drill, order: object) -> None:
    drill.server.faults.add(Nothing())
    said = await drill.post("/rehearsal/faults", order)
    assert said.status == 400
    assert said.rows["mistakes"]
    assert len(drill.server.faults.standing(Nothing)) == 1


async def test_only_loopback_is_served() -> None:
    market = synthetic(7, ["BTCUSD"], T0, T0 + DAY)
    with pytest.raises(UsageError, match="loopback"):
        RehearsalServer(market, ScaledClock(NOW), host="0.0.0.0")


async def test_symbols_can_be_restricted_to_those_of_the_market() -> None:
    market, clock = synthetic(7, ["BTCUSD", "ETHUSD"], T0, T0 + DAY), ScaledClock(NOW)
    with pytest.raises(UsageError, match="the market has no LTCUSD"):
        RehearsalServer(market, clock, symbols=["LTCUSD"])
    async with RehearsalServer(market, clock, symbols=["ETHUSD"]) as server, aiohttp.ClientSession() as client:
        async with client.get(server.base_url + "/conf/pub:list:pair:exchange") as reply:
            assert await reply.read() == b'[["ETHUSD"]]'
        async with client.get(server.base_url + HIST) as reply:
            assert reply.status == 500


async def test_the_adapter_reads_what_is_served(drill: Drill) -> None:
    request = bitfinex.candles_request("BTCUSD", "1h", T0, T0 + DAY, False, 10_000)
    said = await drill.get(request.path, **{key: int(value) for key, value in request.query})
    rows = bitfinex.read_candles(said.body)
    assert rows.open_ms == [T0 + hour * 60 * MINUTE for hour in range(24)]
    first = bitfinex.first_candle_request("DOGE:USD", "1m")
    said = await drill.get(first.path, **{key: int(value) for key, value in first.query})
    assert len(bitfinex.read_candles(said.body).lines) == 1
    said = await drill.get(bitfinex.symbols_requests()[0].path)
    assert set(bitfinex.read_symbols(said.body)) == {"BTCUSD", "DOGE:USD"}


async def test_serve_runs_until_it_is_cancelled_and_names_a_port_in_use() -> None:
    market, clock = synthetic(7, ["BTCUSD"], T0, T0 + DAY), ScaledClock(NOW)
    ready: asyncio.Future[RehearsalServer] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(market, clock, on_ready=ready.set_result))
        server = await ready
        port = int(server.root_url.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match="cannot listen"):
            await serve(market, clock, port=port)
        task.cancel()
    assert task.cancelled()
