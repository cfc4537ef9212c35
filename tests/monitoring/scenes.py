"""Scenes: what goes wrong at a site, and which alert has to say so.

Owns one record for each way to lose candles that the shipped rules promise to notice, and the scene in which nothing
goes wrong. Refuses to wait for an alert.
"""

import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from marketd.rehearsal.faults import Fault, Hang, Malformed, ServerError
from tests.monitoring.sites import SYMBOLS, Site

MINUTE_MS: Final = 60_000
AN_HOUR_AGO_MS: Final = int(time.time()) // 60 * MINUTE_MS - 60 * MINUTE_MS

ANOTHER: Final = f"""
[[jobs]]
exchange = "bitfinex"
symbols = ["{SYMBOLS[1]}"]
timeframes = ["1m"]
job_type = "backfill"
"""

# Two statements of a turn take a little less than the time after which marketd gives a statement up: the turn takes
# longer than the time after which the alert fires.
SLOW: Final = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(6.4); RETURN NULL; END'",
    "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON market_data_job_runs FOR EACH STATEMENT EXECUTE FUNCTION slow()",
)
# The oldest one: no run asks for it again.
DELETED: Final = (
    "CREATE TABLE deleted AS SELECT * FROM candles ORDER BY open_time LIMIT 1",
    "DELETE FROM candles k USING deleted d WHERE k.symbol = d.symbol AND k.open_time = d.open_time",
)
BACK: Final = ("INSERT INTO candles SELECT * FROM deleted",)
QUICK: Final = ("DROP TRIGGER slow ON market_data_job_runs",)

Act = Callable[[Site], Awaitable[None]]


async def accepted_reload(here: Site) -> None:
    here.reload()


async def killed(here: Site) -> None:
    await here.daemons[0].end()


async def hanging_exchange(here: Site) -> None:
    here.exchange.faults.add(Hang(asks=("candles",)))


async def failing_exchange(here: Site) -> None:
    here.exchange.faults.add(ServerError())


async def nonsense(here: Site) -> None:
    """Of another market nothing can be used: its backfill fails each time."""
    here.exchange.faults.add(Malformed(how="negative", rows=500, symbols=(SYMBOLS[1],)))
    here.write_jobs(["BTCUSD"], ANOTHER)
    here.reload()


async def broken_job_file(here: Site) -> None:
    (here.folder / "jobs.toml").write_text("[[jobs]]\nexchange = ")
    here.reload()


async def mended_job_file(here: Site) -> None:
    here.write_jobs(["BTCUSD"])
    here.reload()


async def small_budget(here: Site) -> None:
    here.write_config(requests_per_minute=2)
    here.reload()


async def enough_budget(here: Site) -> None:
    here.write_config()
    here.reload()


async def no_jobs(here: Site) -> None:
    here.write_jobs(["BTCUSD"], enabled=False)
    here.reload()


async def slow_database(here: Site) -> None:
    await here.execute(*SLOW)


async def quick_database(here: Site) -> None:
    await here.execute(*QUICK)


async def deleted_candle(here: Site) -> None:
    await here.execute(*DELETED)


async def candle_is_back(here: Site) -> None:
    await here.execute(*BACK)


async def database_away(here: Site) -> None:
    await here.lock_out()


async def no_room(here: Site) -> None:
    """Nothing is ever free there."""
    here.disk.symlink_to("/proc")


async def room_again(here: Site) -> None:
    here.disk.unlink()


async def holder_stops(here: Site) -> None:
    here.daemons[0].signal(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Scene:
    """``strike`` hurts a site that is well; ``alert`` has to fire then, and to end after ``mend``.

    Without ``strike`` the trouble is there from the beginning; ``faults`` hold at the exchange from then on. ``also``
    are alerts that the same trouble may set off too, sooner or later. Of ``daemons``, the last ``scraped`` are targets
    of Prometheus.
    """

    alert: str | None
    strike: Act | None = None
    mend: Act | None = None
    also: frozenset[str] = frozenset()
    symbols: tuple[str, ...] = ("BTCUSD",)
    faults: tuple[Fault, ...] = ()
    daemons: int = 1
    scraped: int = 1


LATE: Final = frozenset({"MarketdSeriesLate"})
"""Where no work is done, or is known of too late, every series becomes late in the end."""
HEALTHY: Final = "healthy"
NO_TARGET: Final = "no-target"
"""A scrape job of which Prometheus has the rules and no target."""

SCENES: Final = {
    # One daemon works, the other stands by. Nothing is wrong.
    HEALTHY: Scene(None, accepted_reload, symbols=SYMBOLS[:2], daemons=2, scraped=2),
    "down": Scene("MarketdDown", killed),
    # Requests that hang fail in the end, with their run, and too many of them open the circuit.
    "late": Scene("MarketdSeriesLate", hanging_exchange, also=frozenset({"MarketdJobFailing", "MarketdCircuitOpen"})),
    "failing": Scene("MarketdJobFailing", nonsense),
    # A candle that cannot be is a gap for as long as the exchange sends it.
    "gaps": Scene("MarketdGapsPersist", faults=(Malformed(how="implausible", candle_ms=AN_HOUR_AGO_MS),)),
    "violated": Scene("MarketdInvariantViolated", deleted_candle, candle_is_back),
    "circuit": Scene("MarketdCircuitOpen", failing_exchange, symbols=SYMBOLS, also=LATE | {"MarketdJobFailing"}),
    "reload": Scene("MarketdReloadFailed", broken_job_file, mended_job_file),
    "infeasible": Scene("MarketdScheduleInfeasible", small_budget, enough_budget, symbols=SYMBOLS, also=LATE),
    "idle": Scene("MarketdNothingScheduled", no_jobs, mended_job_file, also=LATE),
    "stuck": Scene("MarketdSchedulerStuck", slow_database, quick_database, also=LATE),
    "short": Scene("MarketdDiskShort", no_room, room_again),
    "away": Scene("MarketdDatabaseAway", database_away, also=LATE | {"MarketdLeaseNotHeld"}),
    # The daemon that works on the exchange is not among the targets.
    "lease": Scene("MarketdLeaseNotHeld", mend=holder_stops, daemons=2, also=LATE),
}  # fmt: skip
