"""Candles get a table for each year, beside everybody else's work; whole years go by retention."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from bench.partition import partitioned
from marketd import words
from marketd.clock import ScaledClock
from marketd.errors import Busy, PrivilegeError
from marketd.model import RunStatus, Series
from marketd.rehearsal.market import synthetic
from marketd.store import partitions
from marketd.store.partitions import Compared, Partitions
from marketd.store.retirement import Dropped, Retirement
from marketd.store.session import Database
from tests.command import Desk, execute
from tests.conftest import BackgroundLoop
from tests.harness import Bench, bench
from tests.roles import login, login_url

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DAY_MS = 86_400_000
START = 1_703_894_400_000  # 2023-12-30: two years
SYMBOLS = ("BTCUSD", "ETHUSD")
BTC, ETH = (Series("bitfinex", symbol, "1m") for symbol in SYMBOLS)
HOURS = BTC._replace(timeframe="1h")
KINDS = "SELECT relkind::text FROM pg_class WHERE oid = 'candles'::regclass"
WITH_ROWS = """
SELECT c.tableoid::regclass::text AS name, count(*) AS rows FROM candles c GROUP BY 1 ORDER BY 1
"""
ROWS = """
INSERT INTO candles SELECT t, t + interval '1 minute', 'bitfinex', $1::text, $2::text, 1, 2, 1, 2, n
FROM generate_series(1, $4::integer) AS n
CROSS JOIN LATERAL (SELECT $3::timestamptz + n * interval '1 minute' AS t) AS at
"""
MISTAKE = "UPDATE candles_next SET volume = (volume::text || '0')::numeric WHERE open_time = '2024-02-21 00:01+00'"
PORTION = 500
KEPT_DAYS = (datetime.now(UTC) - datetime(2024, 2, 25, tzinfo=UTC)).days
SETTINGS = f'\n[retention]\ncandles = {{"1m" = {KEPT_DAYS}}}\n'


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "_PORTION", PORTION)


@pytest.fixture
async def connection(database: str) -> Any:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def rows(connection: Connection) -> list[tuple[Any, ...]]:
    found = await connection.fetch("SELECT c::text FROM candles c ORDER BY exchange, symbol, timeframe, open_time")
    return [tuple(row) for row in found]


async def filled(b: Bench) -> None:
    for series in (BTC, ETH, HOURS):
        assert (await b.backfill(series)).status is RunStatus.SUCCESS


async def test_rows_go_over_while_everybody_works(
    database: str, connection: Connection, portions: None, capsys: pytest.CaptureFixture[str]
) -> None:
    market, clock = synthetic(5, SYMBOLS, START, START + 20 * DAY_MS, 0.2), ScaledClock(START + 4 * DAY_MS)
    await connection.execute(
        "CREATE VIEW closes WITH (security_barrier = true) AS SELECT symbol, open_time, close FROM candles"
        " WHERE timeframe = '1m'; CREATE VIEW newest AS SELECT symbol, max(open_time) AS at FROM closes GROUP BY symbol"
    )
    await connection.execute(
        "DO $$ BEGIN CREATE ROLE looker; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT SELECT, UPDATE (volume) ON candles TO looker WITH GRANT OPTION"
    )
    async with bench(database, market, clock) as b:
        await filled(b)
        work = Partitions(b.database, asyncio.sleep)
        assert await work.obstacles() == []
        await work.begin()
        assert [await work.copy() for _ in range(3)] == [PORTION] * 3
        clock.jump(DAY_MS / 1000)
        await filled(b)  # behind the place that is reached, and before it
        for series in (BTC, ETH):
            assert (await b.continuous(series)).status is RunStatus.SUCCESS
        for edge in ("min", "max"):
            await connection.execute(
                f"DELETE FROM candles WHERE timeframe = '1m' AND open_time = (SELECT {edge}(open_time) FROM candles)"
            )
        await connection.execute("UPDATE candles SET volume = 7.50 WHERE extract(minute FROM open_time) = 17")
        await connection.execute(
            "UPDATE candles SET open_time = open_time - interval '9 days', close_time = close_time - interval '9 days' "
            "WHERE timeframe = '1h' AND extract(hour FROM open_time) = 3"
        )
        assert await work.reached() == 3 * PORTION
        while await work.copy():
            pass
        before = await rows(connection)
        assert await work.compare(print) == Compared(len(before), ())
        await work.finish()
        assert await connection.fetchval(KINDS) == "p"
        assert await rows(connection) == before
        assert await b.violations() != {}, "the oracle reads the new tables"
        clock.jump(3600)
        assert (await b.continuous(BTC)).status is RunStatus.SUCCESS, "statements that were prepared before"
    tables = {row["name"]: row["rows"] for row in await connection.fetch(WITH_ROWS)}
    assert set(tables) == {"candles_1m_2023", "candles_1m_2024", "candles_rest"}
    newest = await connection.fetchval("SELECT at FROM newest WHERE symbol = 'BTCUSD'")
    assert newest == await connection.fetchval("SELECT max(open_time) FROM candles WHERE symbol = 'BTCUSD'")
    options = await connection.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'closes'")
    assert options == ["security_barrier=true"]
    for right in (
        "table_privilege('looker', 'candles', 'SELECT",
        "column_privilege('looker', 'candles', 'volume', 'UPDATE",
    ):
        assert await connection.fetchval(f"SELECT has_{right} WITH GRANT OPTION')")
    assert await connection.fetchval("SELECT has_table_privilege('marketd_run', 'candles', 'DELETE')") is False
    assert "closed candles" in (await connection.fetchval("SELECT obj_description('candles'::regclass)")).lower()
    await connection.execute("DROP VIEW newest, closes; DROP OWNED BY looker; DROP ROLE looker")


async def test_what_is_emptied_meanwhile_is_empty_afterwards(database: str, connection: Connection) -> None:
    await connection.execute(ROWS, "BTCUSD", "1m", datetime(2024, 1, 1, tzinfo=UTC), 100)
    async with Database(database) as opened:
        work = Partitions(opened, asyncio.sleep)
        await work.begin()
        assert await work.copy() == 100
        await connection.execute("TRUNCATE candles")
        await connection.execute(ROWS, "BTCUSD", "1m", datetime(2025, 1, 1, tzinfo=UTC), 10)
        assert await work.copy() == 10
        assert await work.compare(print) == Compared(10, ())
        await work.finish()
    assert await connection.fetchval("SELECT count(*) FROM candles_1m_2025") == 10


@pytest.mark.parametrize("role", ["marketd_run", None])
async def test_the_daemon_works_on_many_tables_as_on_one(
    database: str, connection: Connection, role: str | None
) -> None:
    market, clock = synthetic(5, SYMBOLS, START, START + 20 * DAY_MS, 0.2), ScaledClock(START + 4 * DAY_MS)
    await partitioned(database)
    if role is not None:
        database = await login(connection, database, role)
    async with bench(database, market, clock, derived={"5m": "1m"}) as b:
        await filled(b)
        clock.jump(DAY_MS / 1000)
        for series in (BTC, ETH):
            assert (await b.continuous(series)).status is RunStatus.SUCCESS
        assert (await b.backfill(BTC._replace(timeframe="5m"))).status is RunStatus.SUCCESS
        assert (await b.backfill(BTC, refetch=True)).status is RunStatus.SUCCESS
        assert await b.violations() == {}
        there = await rows(connection)
        await connection.execute("DELETE FROM candles WHERE timeframe = '1m' AND extract(minute FROM open_time) = 7")
        assert await b.violations() != {}
        for series in (BTC, ETH):
            assert (await b.repair(series, by_hand=True)).status is RunStatus.SUCCESS
        assert await b.violations() == {}
    assert await rows(connection) == there


OBSTACLES = {
    "CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM candles": "materialized view summed",
    "CREATE TRIGGER told AFTER INSERT ON candles FOR EACH STATEMENT EXECUTE FUNCTION marketd_keep_figures()": (
        "trigger told"
    ),
    "CREATE TABLE notes (exchange text, symbol text, timeframe text, open_time timestamptz, CONSTRAINT of_candle "
    "FOREIGN KEY (exchange, symbol, timeframe, open_time) REFERENCES candles)": "foreign key of_candle of notes",
    "CREATE PUBLICATION out FOR TABLE candles": "publication out",
    "CREATE POLICY mine ON candles USING (true)": "row security policy mine",
    "CREATE TABLE own () INHERITS (candles)": "table own",
    "CREATE FUNCTION newest() RETURNS timestamptz BEGIN ATOMIC SELECT max(open_time) FROM candles; END": (
        "function newest()"
    ),
    "ALTER TABLE candles ADD COLUMN id bigserial": "sequence candles_id_seq of one of its columns",
    "ALTER TABLE candles ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY": (
        "sequence candles_id_seq of one of its columns"
    ),
    "CREATE TABLE kept (whole candles)": "column whole of table kept",
}


@pytest.mark.parametrize("made", OBSTACLES)
async def test_what_cannot_go_over_is_named_before(database: str, connection: Connection, made: str) -> None:
    await connection.execute(made)
    async with Database(database) as opened:
        assert await Partitions(opened, asyncio.sleep).obstacles() == [OBSTACLES[made]]


async def test_who_holds_the_table_is_waited_for_and_told_of(
    database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_TRIES", 2)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with Database(database) as opened:
        work = Partitions(opened, sleep)
        async with connection.transaction():
            await connection.execute("LOCK TABLE candles IN ROW EXCLUSIVE MODE")
            with pytest.raises(Busy, match="another session has held the table candles for a minute"):
                await work.begin()
        assert waits == [2.0]
        await work.begin()


async def test_only_the_owner_may(database: str, connection: Connection) -> None:
    for role in ("marketd_run", "marketd_retain"):
        async with Database(await login(connection, database, role)) as opened:
            with pytest.raises(PrivilegeError):
                await Partitions(opened, asyncio.sleep).begin()


async def test_a_year_that_comes_after_its_candles_takes_them_over(database: str, connection: Connection) -> None:
    this_year = datetime.now(UTC).year
    async with Database(database) as opened:
        work = Partitions(opened, asyncio.sleep)
        assert await work.next_years() == 0, "one table has no years"
        await work.begin()
        await work.finish()
        assert await work.next_years() == 0
        await connection.execute(f"DROP TABLE candles_1m_{this_year}, candles_5m_{this_year + 1}")
        await connection.execute(ROWS, "BTCUSD", "1m", datetime(this_year, 1, 1, tzinfo=UTC), 100)
        await connection.execute(ROWS, "BTCUSD", "1m", datetime(2001, 1, 1, tzinfo=UTC), 5)
        there = await rows(connection)
        async with Database(await login(connection, database, "marketd_retain")) as keeper:
            assert await Partitions(keeper, asyncio.sleep).next_years() == 2
    assert {row["name"]: row["rows"] for row in await connection.fetch(WITH_ROWS)} == {
        f"candles_1m_{this_year}": 100, "candles_1m_rest": 5,
    }  # fmt: skip
    assert await rows(connection) == there


class TestYearsThatAreRetired:
    @pytest.fixture
    async def work(self, database: str, connection: Connection) -> Any:
        """BTCUSD and ETHUSD have candles of 2020 to 2022; a role that may take away works on them."""
        await partitioned(database)
        for symbol in SYMBOLS:
            for year in (2020, 2021, 2022):
                await connection.execute(ROWS, symbol, "1m", datetime(year, 7, 1, tzinfo=UTC), 10)
            await connection.execute("INSERT INTO market_series VALUES ('bitfinex', $1, '1m')", symbol)
        async with Database(await login(connection, database, "marketd_retain")) as keeper:
            yield Retirement(keeper)

    async def retired(self, connection: Connection, symbol: str, until: datetime) -> None:
        await connection.execute("UPDATE market_series SET retired_until = $2 WHERE symbol = $1", symbol, until)

    async def test_go_as_a_whole_where_nobody_wants_a_candle_of_them(
        self, work: Retirement, connection: Connection
    ) -> None:
        horizon = datetime(2022, 6, 1, tzinfo=UTC)
        await self.retired(connection, "BTCUSD", horizon)
        assert await work.drop_years("1m", horizon) == [], "ETHUSD is wanted"
        await self.retired(connection, "ETHUSD", datetime(2021, 12, 31, tzinfo=UTC))
        assert await work.drop_years("1m", horizon) == [Dropped("candles_1m_2020", 20)]
        await self.retired(connection, "ETHUSD", datetime(2022, 1, 1, tzinfo=UTC))
        assert await work.drop_years("5m", horizon) == []
        assert await work.drop_years("1h", horizon) == []
        assert await work.drop_years("1m", horizon) == [Dropped("candles_1m_2021", 20)]
        assert await work.drop_years("1m", horizon) == []
        assert await connection.fetchval("SELECT to_regclass('candles_1m_2021')") is None
        assert await connection.fetchval("SELECT count(*) FROM candles") == 20

    async def test_stay_where_somebody_else_has_written_to_them(self, work: Retirement, connection: Connection) -> None:
        horizon = datetime(2022, 6, 1, tzinfo=UTC)
        for symbol in SYMBOLS:
            await self.retired(connection, symbol, horizon)
        await connection.execute(ROWS, "OWN", "1m", datetime(2021, 7, 1, tzinfo=UTC), 3)
        assert await work.drop_years("1m", horizon) == [Dropped("candles_1m_2020", 20)]
        assert await connection.fetchval("SELECT count(*) FROM candles WHERE symbol = 'OWN'") == 3

    async def test_stay_for_another_night_where_somebody_holds_them(
        self, work: Retirement, connection: Connection
    ) -> None:
        horizon = datetime(2022, 6, 1, tzinfo=UTC)
        for symbol in SYMBOLS:
            await self.retired(connection, symbol, horizon)
        async with connection.transaction():
            await connection.execute("LOCK TABLE candles_1m_2021 IN ACCESS SHARE MODE")
            assert await work.drop_years("1m", horizon) == []
        assert len(await work.drop_years("1m", horizon)) == 2


class TestTheCommand:
    def filled(self, desk: Desk) -> None:
        assert desk("backfill", "--symbol", "BTCUSD", "--timeframe", "1m", "--start", "2024-02-20").code == 0

    def test_says_what_it_would_do_does_it_and_has_nothing_left_to_do(
        self, desk: Desk, database: str, background: BackgroundLoop, portions: None
    ) -> None:
        self.filled(desk)
        (there,) = execute(background, database, "SELECT count(*) FROM candles")[0]
        would = desk("partition", "--dry-run")
        assert would.out.startswith(f"{words.count(there)} candles (")
        assert would.out.endswith(" would be copied\n")
        assert execute(background, database, KINDS)[0][0] == "r"
        done = desk("partition")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("candles is partitioned: 91 tables, ")
        assert done.out.endswith(f"; {words.count(there)} candles, compared to the last digit\n")
        assert desk("partition").out == "candles is partitioned: 91 tables\n"
        assert desk("partition", "--abandon").out == "nothing is begun\n"
        assert desk("verify").out.startswith("clean: ")
        shown = desk("prune", "--json").json
        assert 0 < shown["candles"] < there
        assert desk("verify").out.startswith("clean: ")

    def test_goes_on_where_it_was_interrupted_or_gives_it_up(
        self, desk: Desk, database: str, background: BackgroundLoop, portions: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.filled(desk)
        for finished in (False, True):
            with monkeypatch.context() as patched:
                patched.setattr(Partitions, "compare", interrupted)
                assert desk("partition").code == 75
            state = desk("partition", "--dry-run", "--json").json
            assert (state["begun"], state["partitioned"], state["dry_run"]) == (True, False, True)
            assert " would be copied, of which " in desk("partition", "--dry-run").out
            if finished:
                assert desk("partition").out.startswith("candles is partitioned: ")
            else:
                assert "would be given up" in desk("partition", "--abandon", "--dry-run").out
                assert desk("partition", "--abandon").out == "the copy is given up: candles is what it was\n"
                assert desk("verify").out.startswith("clean: ")
        assert desk("verify").out.startswith("clean: ")

    def test_changes_nothing_where_the_copy_differs(
        self, desk: Desk, database: str, background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.filled(desk)
        with monkeypatch.context() as patched:
            patched.setattr(Partitions, "compare", interrupted)
            desk("partition")
        execute(background, database, MISTAKE)
        refused = desk("partition")
        assert (refused.code, refused.out) == (1, "")
        assert "the copy of bitfinex BTCUSD 1m differs: nothing was changed" in refused.err
        assert execute(background, database, KINDS)[0][0] == "r"

    def test_refuses_what_it_cannot_take_over_and_where_there_is_no_room(
        self, desk: Desk, database: str, background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        execute(background, database, "CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM candles")
        refused = desk("partition")
        assert (refused.code, refused.out) == (1, "")
        assert "candles has what cannot go over to another table: materialized view summed. Take it away" in refused.err
        execute(background, database, "DROP MATERIALIZED VIEW summed")
        monkeypatch.setenv("MARKETD_DATABASE__DISK", str(tmp_path))
        monkeypatch.setenv("MARKETD_DATABASE__LEAST_FREE_MB", "100000000")
        assert "and [database] least_free_mb is 100000000" in desk("partition").err

    def test_needs_the_owner(
        self, desk: Desk, database: str, background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", background.run(login_url(database, "marketd_retain")))
        assert desk("partition").code == 77


async def interrupted(*_: object) -> None:
    raise Busy("interrupted")
