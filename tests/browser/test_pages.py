"""What a person reads on each page, in every situation."""

import pytest
from playwright.async_api import Browser

from marketd.model import Cause
from marketd.ranges import Ranges
from tests.browser.conftest import Eyes
from tests.browser.scenes import SCENES, known, symbols
from tests.integration.ledger_rows import FIRST, Rows
from tests.sites import AWAY, Site, served

_WALK = """
UPDATE candles SET open = price(n), close = price(n + 1), high = greatest(price(n), price(n + 1)) + 0.4,
                   low = least(price(n), price(n + 1)) - 0.3, volume = 1 + n % 7
FROM (SELECT open_time AS at, (extract(epoch FROM open_time) / 60)::integer % 1000 AS n FROM candles) AS each
WHERE open_time = at
""".replace("price(n + 1)", "round((100 + 6 * sin((n + 1) / 17.0) + 2 * sin((n + 1) / 3.0))::numeric, 2)").replace(
    "price(n)", "round((100 + 6 * sin(n / 17.0) + 2 * sin(n / 3.0))::numeric, 2)"
)


@pytest.mark.parametrize("name", SCENES)
async def test_the_page(name: str, eyes: Eyes, site: Site, rows: Rows) -> None:
    scene = SCENES[name]
    await scene.lay(rows, site.told)
    text = await eyes.look(f"http://{site.address}/?span=day")
    for each in scene.reads:
        assert each in text
    bad = " ".join(await eyes.page.locator(".bad").all_inner_texts())
    for each in scene.marked:
        assert each in bad


async def test_a_series_and_its_gap(eyes: Eyes, site: Site, rows: Rows) -> None:
    """From the map to the gap and on to the series, by keyboard; its candles are drawn over the line."""
    (series,) = symbols(1)
    await known(rows, series, gaps=[(Cause.LATE, Ranges.of((FIRST + 1500, FIRST + 1700)))])
    for number in range(200):
        await rows.candle(FIRST + number, series)
    await rows.connection.execute(_WALK)
    site.told.goals = {series: 180.0}
    await eyes.look(f"http://{site.address}/?span=day")
    await eyes.page.locator("svg.map a").first.focus()
    await eyes.page.keyboard.press("Enter")
    await eyes.page.wait_for_url("**/gap?id=*")
    assert "the exchange has not sent it yet" in await eyes.page.inner_text("main")
    await eyes.is_accessible()
    await eyes.page.get_by_role("link", name="bitfinex BTCUSD 1m").click()
    await eyes.page.wait_for_selector("#plot canvas")
    text = await eyes.look(eyes.page.url)
    assert "200 of 200" in text
    assert await eyes.page.locator("#plot canvas").count() == 1


async def test_a_page_is_whole_without_script(browser: Browser, site: Site, rows: Rows) -> None:
    (series,) = symbols(1)
    await known(rows, series)
    for number in range(60):
        await rows.candle(FIRST + number, series)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"http://{site.address}/series?symbol={series.symbol}&timeframe=1m")
    assert await page.locator("#plot polyline").count() == 1
    await page.goto(f"http://{site.address}/")
    assert await page.locator("svg.map rect").count() > 0
    await context.close()


async def test_the_page_renews_itself_and_keeps_what_is_open(eyes: Eyes, site: Site, rows: Rows) -> None:
    await SCENES["well"].lay(rows, site.told)
    await eyes.page.clock.install()
    await eyes.look(f"http://{site.address}/?span=day")
    await eyes.page.locator("summary").first.click()
    await rows.gap("lost", Ranges.of((FIRST + 1500, FIRST + 1510)), series=symbols(1)[0])
    await eyes.page.clock.run_for(11_000)
    await eyes.page.get_by_text("Yes: 1 open gap").wait_for()
    assert await eyes.page.locator("details").first.get_attribute("open") is not None


async def test_a_dead_database(eyes: Eyes) -> None:
    async with served(AWAY) as site:
        text = await eyes.look(f"http://{site.address}/")
    assert "the database is out of reach" in text
    assert "What is stored is safe" in text
