"""``marketd status``: how complete and how fresh each series is."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from marketd import words
from marketd.cli import blocks
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.known import Onlooker, every_series
from marketd.cli.options import checked_filter, filter_options
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import console, show_table
from marketd.clock import Clock
from marketd.config import Config
from marketd.coverage import Beside, stretches
from marketd.figures import LeaseFigures, SeriesReport
from marketd.jobtable import JobTable
from marketd.model import Series
from marketd.store.reports import Reports
from marketd.store.runs import Runs
from marketd.store.session import Database
from marketd.web import shapes

_COLUMNS = (
    "series", "last 7 days", "complete", "stored", "empty", "once", "unknown", "open gaps", "latest candle", "lag",
    "next run", "built from", "last run",
)  # fmt: skip
_WEEK_MS = 7 * 86_400_000
_SIGNS = 28
_NUMBERS = ("complete", "stored", "empty", "once", "unknown", "lag", "next run")
_SPARE = ("next run", "unknown", "stored", "empty", "once", "latest candle", "built from", "last run")


@command("status")
@filter_options
@json_option
@pass_app
def status(app: App, exchange: str | None, symbol: str | None, timeframe: str | None, as_json: bool) -> int:
    """How complete and how fresh each series is.

    complete: the share of the wanted history that is stored or answered empty. empty: intervals in which nothing was
    traded; once: those of them that were answered only once so far. unknown: never asked for, a backfill's work.
    open gaps: how many intervals are owed, by cause. lag: how far the answered range is behind now. next run: when the
    job that keeps it fresh is due. last 7 days: six hours a sign, as `marketd coverage` draws them. A terminal that is
    too narrow for all columns gets those that fit; a pipe gets all.

    \b
    Examples:
      marketd status
      marketd status --symbol BTCUSD
      marketd status --json | jq '.series[] | select(.complete | not)'
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, timeframe)
    log_warnings(config)
    return on_loop(_status(app, config, (exchange, symbol, timeframe), as_json))


async def _status(app: App, config: Config, which: tuple[str | None, str | None, str | None], as_json: bool) -> int:
    async with reading(config, "marketd status") as opened:
        reports = Reports(opened)
        figures, leases = await every_series(reports, *which), await reports.leases()
        onlooker = Onlooker(app.clock, await JobTable(Runs(opened), app.clock).seen(config))
        drawn = {} if as_json else await drawings(reports, figures, app.clock.now_ms())
    if as_json:
        show_json({
            "series": [
                {**shapes.series(each, onlooker), "next_run": shapes.iso(onlooker.next_run_ms(each.series))}
                for each in figures
            ],
            "leases": [_lease_shape(lease) for lease in leases],
        })  # fmt: skip
        return 0
    for lease in leases:
        talk(_who(lease))
    show_series(figures, onlooker, drawn)
    if figures:
        console().print(blocks.legend())
    return 0


async def drawings(reports: Reports, figures: Sequence[SeriesReport], now_ms: int) -> Mapping[Series, Text]:
    """The last week of each series."""
    start_ms = now_ms - _WEEK_MS
    maps = await reports.maps(figures, start_ms, now_ms, least_s=_WEEK_MS / 1000 / _SIGNS)
    return {
        each.series: blocks.line(stretches(known, each, Beside(now_ms)), start_ms, now_ms, _SIGNS)
        for each, known in zip(figures, maps, strict=True)
    }


def show_series(figures: Sequence[SeriesReport], onlooker: Onlooker, drawn: Mapping[Series, Text]) -> None:
    if not figures:
        say("no series yet: `marketd backfill` or a job makes one")
        return
    rows = [_row(each, onlooker, drawn[each.series]) for each in figures]
    show_table(_COLUMNS, rows, right=_NUMBERS, optional=_COLUMNS[-3:], spare=_SPARE)


async def show_status(opened: Database, clock: Clock) -> Sequence[SeriesReport]:
    """The table of everything, for a story; returns its figures."""
    reports = Reports(opened)
    figures = await every_series(reports)
    show_series(figures, Onlooker(clock), await drawings(reports, figures, clock.now_ms()))
    return figures


def _row(each: SeriesReport, onlooker: Onlooker, drawn: Text) -> tuple[str | Text, ...]:
    run, lag = each.last_run, shapes.lag(each, onlooker)
    next_run = words.soon(onlooker.next_run_ms(each.series), onlooker.now_ms())
    return (
        str(each.series), drawn, words.percent(each.completeness), words.count(each.stored), words.count(each.empty),
        words.count(each.empty_once), words.count(each.unknown), blocks.owed(each.missing),
        words.moment(each.latest_ms), Text(words.duration(lag.seconds), "bold red" if lag.late else ""), next_run,
        each.derived_from or "",
        "-" if run is None else f"{run.status.value} {words.moment(run.completed_ms or run.started_ms)}",
    )  # fmt: skip


def _who(lease: LeaseFigures) -> str:
    if not lease.alive:
        return f"{lease.exchange}: nobody works on it now"
    blocked = f", asked to be silent until {words.moment(lease.blocked_until_ms)}" if lease.blocked_until_ms else ""
    return f"{lease.exchange}: {lease.kind} {lease.holder} works on it{blocked}"


def _lease_shape(lease: LeaseFigures) -> shapes.Shape:
    return {
        "exchange": lease.exchange, "holder": lease.holder, "kind": lease.kind, "alive": lease.alive,
        "expires_at": shapes.iso(lease.expires_ms), "blocked_until": shapes.iso(lease.blocked_until_ms),
    }  # fmt: skip
