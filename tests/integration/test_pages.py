"""The pages for people, and the reads behind them, over a real database."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from marketd.figures import SeriesMap
from marketd.model import Cause, Series
from marketd.ranges import NOTHING, Ranges
from marketd.store import reports as store
from marketd.store.reports import Reports
from marketd.store.session import Database
from tests.integration.ledger_rows import BLOCK, BTC, DAY, FIRST, START, Rows, minutes
from tests.sites import Site
from tests.told import NOW_MS

HALF = 43_200_000
ETH, HOURS = BTC._replace(symbol="ETHUSD"), BTC._replace(timeframe="1h")


@pytest.fixture
async def reports(database: str) -> AsyncIterator[Reports]:
    async with Database(database, size=1) as opened:
        yield Reports(opened)


async def mapped(
    reports: Reports, *series: Series, start_ms: int = NOW_MS - 4 * HALF, least_s: float = 600
) -> list[SeriesMap]:
    figures = await reports.figures_of(series or (BTC,))
    return list(await reports.maps(figures, start_ms, NOW_MS, least_s=least_s))


class TestMaps:
    async def test_answers_silences_and_gaps_of_the_range(self, reports: Reports, rows: Rows) -> None:
        quiet = minutes((100, 130), (200, 205))
        await rows.block(BLOCK, minutes((0, 600), (660, 1440)), confirmed=quiet)
        await rows.block(BLOCK + 1, Ranges.of((FIRST + 1440, FIRST + 2880)))
        late = await rows.gap("late", minutes((600, 660)))
        await rows.gap("lost", minutes((700, 710)), repaired="stored")
        (found,) = await mapped(reports)
        assert (found.series, found.start, found.end) == (BTC, FIRST, FIRST + 2880)
        assert found.answered == Ranges.of((FIRST, FIRST + 600), (FIRST + 660, FIRST + 2880))
        assert found.quiet == minutes((100, 130)), "what is shorter is not told"
        assert [(gap.id, gap.cause, gap.missing) for gap in found.gaps] == [(late, Cause.LATE, minutes((600, 660)))]

    async def test_only_what_lies_in_the_range(self, reports: Reports, rows: Rows) -> None:
        await rows.block(BLOCK, minutes((0, 600)))
        await rows.gap("late", minutes((600, 660)))
        (found,) = await mapped(reports, start_ms=NOW_MS - HALF)
        assert (found.answered & Ranges.of((found.start, found.end)), found.gaps) == (NOTHING, ())

    async def test_series_by_series_in_the_order_asked_for(self, reports: Reports, rows: Rows) -> None:
        await rows.block(BLOCK, Ranges.of(DAY))
        hours = Ranges.of((FIRST // 60, FIRST // 60 + 5))
        await rows.block(FIRST // 60 // 1440, hours, series=HOURS)
        found = await mapped(reports, HOURS, ETH, BTC)
        assert [(each.series, each.answered) for each in found] == [
            (HOURS, hours),
            (ETH, NOTHING),
            (BTC, Ranges.of(DAY)),
        ]
        assert await reports.maps([], 0, NOW_MS, least_s=1) == ()

    async def test_far_from_afar_only_series_with_holes_are_read(
        self, reports: Reports, rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the others their figures say all, but for silences, which nobody would see."""
        monkeypatch.setattr(store, "_FEW_BLOCKS", 0)
        await rows.block(BLOCK, Ranges.of(DAY), confirmed=minutes((100, 200)))
        await rows.block(BLOCK, minutes((0, 600), (660, 1440)), series=ETH)
        gap = await rows.gap("failed", minutes((600, 660)), series=ETH)
        whole, holed = await mapped(reports, BTC, ETH)
        assert (whole.answered, whole.quiet, whole.gaps) == (Ranges.of(DAY), NOTHING, ())
        assert (holed.answered, [one.id for one in holed.gaps]) == (minutes((0, 600), (660, 1440)), [gap])
        await rows.connection.execute("DELETE FROM candle_coverage WHERE symbol = 'ETHUSD'")
        assert (await mapped(reports, BTC))[0].answered == Ranges.of(DAY)


class TestSeriesPage:
    async def test_says_what_is_known_of_a_series(self, site: Site, rows: Rows) -> None:
        await rows.know(first=START)
        await rows.block(BLOCK, minutes((0, 600), (660, 1440)))
        for at in range(30):
            await rows.candle(FIRST + at)
        gap = await rows.gap("late", minutes((600, 660)))
        await rows.run(await rows.job("continuous"), ago=timedelta(minutes=3), status="failed")
        await rows.connection.execute(
            "INSERT INTO candle_revisions (exchange, symbol, timeframe, open_time, kind, old_open, old_high, old_low,"
            " old_close, old_volume, new_open, new_high, new_low, new_close, new_volume, new_answered_at)"
            " VALUES ('bitfinex', 'BTCUSD', '1m', $1, 'revised', 1, 1, 1, 1, 2.50, 1, 1, 1, 1, 3, now())", START,
        )  # fmt: skip
        text = await site.text("/series?symbol=BTCUSD&timeframe=1m")
        for part in (
            f'href="/gap?id={gap}"',
            "60 of 60",
            "because",
            "volume 2.5 to 3",
            "<polyline",
            "2024-01-01 00:00",
        ):
            assert part in text

    async def test_refuses_what_does_not_exist(self, site: Site) -> None:
        assert "nothing is known of bitfinex NONE 1m" in await refused(site, "/series?symbol=NONE&timeframe=1m", 404)
        assert "symbol: " in await refused(site, "/series", 422)
        assert "span: " in await refused(site, "/series?symbol=BTCUSD&timeframe=1m&span=century", 422)

    async def test_candles_are_told_to_the_last_digit(self, site: Site, rows: Rows) -> None:
        await rows.candle(FIRST)
        await rows.candle(FIRST + 1)
        await rows.connection.execute(
            "UPDATE candles SET high = 123456789.000000000000000001, volume = 1e-8 WHERE open_time = $1", START
        )
        found = await site.get("/candles?symbol=BTCUSD&timeframe=1m")
        assert found["open_time"] == [FIRST * 60_000, (FIRST + 1) * 60_000]
        assert (found["high"][0], found["volume"][0]) == ("123456789.000000000000000001", "0.00000001")
        before = await site.get(f"/candles?symbol=BTCUSD&timeframe=1m&before={(FIRST + 1) * 60_000}")
        assert before["open_time"] == [FIRST * 60_000]
        assert (await site.get("/candles?symbol=BTCUSD&timeframe=1m&limit=1"))["open_time"] == [(FIRST + 1) * 60_000]


class TestGapPage:
    async def test_says_why_and_what_next(self, site: Site, rows: Rows) -> None:
        gap = await rows.gap("failed", minutes((600, 660)))
        await rows.connection.execute(
            "UPDATE candle_gaps SET attempts = 7, last_error = '<i>', next_attempt_at = $1", START
        )
        text = await site.text(f"/gap?id={gap}")
        for part in (
            "Open gap",
            "60 candles, 60 still missing",
            "&lt;i&gt;",
            "2024-01-01 00:00 UTC",
            "marketd repair-gaps",
        ):
            assert part in text
        closed = await rows.gap("late", minutes((700, 710)), repaired="stored")
        assert "Closed gap" in await site.text(f"/gap?id={closed}")

    async def test_refuses_what_does_not_exist(self, site: Site) -> None:
        assert "no gap 999" in await refused(site, "/gap?id=999", 404)
        assert "id: " in await refused(site, "/gap", 422)
        assert "<b>" not in await refused(site, "/gap?id=<b>9</b>", 422)


@pytest.mark.parametrize("path", ["/", "/series?symbol=BTCUSD&timeframe=1m", "/gap?id=1"])
async def test_a_dead_database_is_said_in_words(away: Site, path: str) -> None:
    text = await away.text(path)
    assert "the database is out of reach" in text
    assert "secret" not in text


@pytest.mark.parametrize("query", ["span=x", "page=0", "page=x", "text=%3Cb%3E", "exchange=%22"])
async def test_a_page_refuses_what_it_does_not_understand(site: Site, query: str) -> None:
    assert f"{query.partition('=')[0]}: " in await refused(site, f"/?{query}", 422)


async def refused(site: Site, path: str, status: int) -> str:
    """The page that says so, to people."""
    async with site.http.get(f"http://{site.address}{path}") as response:
        assert (response.status, response.content_type) == (status, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text = await response.text()
    assert "There is no such page" in text
    return text
