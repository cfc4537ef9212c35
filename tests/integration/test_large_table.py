"""Five million candles: every statement that marketd has is planned there, and none reads them from end to end.

Analysed, as a table of that age is; ``make bench-large`` does the same at fifty million.
"""

from collections.abc import AsyncGenerator, Iterator

import pytest

from bench import stock
from bench.plans import COUNT, plans_of
from tests.conftest import BackgroundLoop, migrated_database

pytestmark = pytest.mark.once

DAYS = 362


@pytest.fixture(scope="module")
def large(server: str, background: BackgroundLoop) -> Iterator[str]:
    async def filled() -> AsyncGenerator[str, None]:
        async with migrated_database(server) as dsn:
            assert await stock.fill(dsn, DAYS, lambda _: None) > 4_900_000
            yield dsn

    making = filled()
    yield background.run(anext(making))
    background.run(making.aclose())


@pytest.mark.timeout(300)
async def test_no_statement_reads_the_candles_from_end_to_end(large: str) -> None:
    plans = await plans_of(large, COUNT)
    assert plans.reading_all == ("count",)
    assert plans.planned > 100
