"""``marketd gaps`` and ``marketd runs``: what is owed, and what was done."""

import click
from rich.text import Text

from marketd import words
from marketd.cli import blocks
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.options import JOB_ID, checked_filter, filter_options
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import show_table
from marketd.config import Config
from marketd.errors import JobRefused
from marketd.figures import GapFigures, GapPage, RunFigures
from marketd.model import Cause
from marketd.store.reports import Reports
from marketd.web import shapes

_GAPS = (
    "id", "series", "cause", "from", "until", "missing", "detected", "tries", "next try", "said",
)  # fmt: skip
_RUNS = (
    "id", "job", "type", "series", "status", "due", "late", "took", "requests", "inserted", "updated", "empty", "said",
)  # fmt: skip

limit_option = click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, help="How many at most, 1 to 1000 (default: 100)."
)


@command("gaps")
@filter_options
@click.option("--cause", type=click.Choice([cause.value for cause in Cause]), help="Only gaps of this cause.")
@click.option("--closed", is_flag=True, help="Those that were closed, too.")
@limit_option
@json_option
@pass_app
def gaps(
    app: App, exchange: str | None, symbol: str | None, timeframe: str | None, cause: str | None, closed: bool,
    limit: int, as_json: bool,
) -> int:  # fmt: skip
    """What is owed, and since when.

    \b
    Causes:
      not_asked  inside the wanted history, but skipped
      failed     asked, and not usably answered
      late       a recent candle that does not come
      lost       a stored candle has disappeared
      suspect    answered empty, but not believed before a second answer a day later

    \b
    Examples:
      marketd gaps
      marketd gaps --symbol BTCUSD --cause lost --json
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, timeframe)
    log_warnings(config)
    wanted = None if cause is None else Cause(cause)
    page = on_loop(_gaps(config, (exchange, symbol, timeframe), wanted, closed, limit))
    if as_json:
        show_json({"gaps": [_gap_shape(gap) for gap in page.gaps], "open": page.total})
        return 0
    if page.gaps:
        show_table(_GAPS, [_gap_row(gap) for gap in page.gaps], right=("id", "missing", "tries"), optional=("said",))
    else:
        say("no open gap")
    if page.total > len(page.gaps):
        talk(f"{words.plural(page.total, 'open gap')} in all; --limit shows more")
    return 0


async def _gaps(
    config: Config, which: tuple[str | None, str | None, str | None], cause: Cause | None, closed: bool, limit: int
) -> GapPage:
    async with reading(config, "marketd gaps") as opened:
        return await Reports(opened).gaps(*which, cause, closed=closed, limit=limit)


def _gap_row(gap: GapFigures) -> tuple[str | Text, ...]:
    ended = "" if gap.resolution is None else f"closed {words.moment(gap.repaired_ms)}: {gap.resolution.value}"
    return (
        str(gap.id), str(gap.series), Text(gap.cause.value, blocks.cause_style(gap.cause)),
        words.moment(gap.start_ms), words.moment(gap.end_ms), words.count(gap.missing), words.moment(gap.detected_ms),
        str(gap.attempts), words.moment(gap.next_attempt_ms),
        ended or gap.last_error or "",
    )  # fmt: skip


def _gap_shape(gap: GapFigures) -> shapes.Shape:
    resolution = None if gap.resolution is None else gap.resolution.value
    return {**shapes.gap(gap), "repaired_at": shapes.iso(gap.repaired_ms), "resolution": resolution}


@command("runs")
@click.option("--job", "job_id", type=JOB_ID, help="Only runs of this job.")
@limit_option
@json_option
@pass_app
def runs(app: App, job_id: int | None, limit: int, as_json: bool) -> int:
    """What was done, newest first.

    Every execution of a job is a run, and so is every order by hand.

    \b
    Examples:
      marketd runs --limit 20
      marketd runs --job 3 --json
    """
    return show_runs(app, "marketd runs", job_id, limit, as_json=as_json)


def show_runs(app: App, application: str, job_id: int | None, limit: int, *, as_json: bool) -> int:
    """The newest runs, of one job or of all; JobRefused where there is no such job."""
    config = configured(app)
    log_warnings(config)
    found = on_loop(_runs(config, application, job_id, limit))
    if as_json:
        show_json({"runs": [_run_shape(run) for run in found]})
    elif found:
        show_table(_RUNS, [_run_row(run) for run in found], right=("id", "job", *_RUNS[6:12]), optional=("said",))
    else:
        say("no run yet")
    return 0


async def _runs(config: Config, application: str, job_id: int | None, limit: int) -> tuple[RunFigures, ...]:
    async with reading(config, application) as opened:
        reports = Reports(opened)
        found = await reports.runs(job_id, limit=limit)
        if not found and job_id is not None and not await reports.job_exists(job_id):
            raise JobRefused(f"there is no job {job_id}; `marketd jobs list --all` shows all")
        return found


def _run_row(run: RunFigures) -> tuple[str, ...]:
    series = f"{run.exchange} {run.symbol or 'all'} {run.timeframe or 'all'}"
    return (
        str(run.id), str(run.job_id), run.job_type.value, series, run.status.value, words.moment(run.scheduled_ms),
        words.duration(run.late_s), words.duration(run.took_s), words.count(run.requests), words.count(run.inserted),
        words.count(run.updated), words.count(run.empties), run.error or "",
    )  # fmt: skip


def _run_shape(run: RunFigures) -> shapes.Shape:
    return {
        **shapes.run(run), "exchange": run.exchange, "symbol": run.symbol, "timeframe": run.timeframe,
        "late_seconds": run.late_s, "took_seconds": run.took_s,
    }  # fmt: skip
