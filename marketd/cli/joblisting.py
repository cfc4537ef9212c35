"""``marketd jobs list``: every job, its state, and what is wrong with those that cannot be worked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from marketd import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.jobwords import paused
from marketd.cli.options import JOB_TYPE, checked_filter, exchange_option
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import show_table
from marketd.config import Config
from marketd.cron import Crons
from marketd.figures import RunFigures
from marketd.jobfields import typed
from marketd.jobs import ORDER
from marketd.jobset import job_set
from marketd.pauses import next_run_ms, pause_end_ms
from marketd.store.codec import millis
from marketd.store.jobrows import JobRows, Pause
from marketd.store.reports import Reports
from marketd.text import clean
from marketd.web import shapes

_COLUMNS = ("id", "series", "type", "schedule", "state", "origin", "next run", "last run", "problem")
_LONGEST_PROBLEM = 120  # --json has the whole of it
_AS_STORED = ("id", "exchange", "symbol", "timeframe", "job_type", "schedule", "enabled")
_POLICIES = ("catch_up", "timeout_s", "jitter_s", "freshness_s", "status", "last_error")


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A row and what follows from it: ``refused`` says why it is not worked, ``until_ms`` when its pause ends."""

    row: Mapping[str, Any]
    refused: str | None
    paused: bool
    until_ms: int | None
    next_ms: int | None
    last_run: RunFigures | None

    @property
    def state(self) -> str:
        if self.row["removed_at"] is not None:
            return "removed"
        if self.row["origin"] == ORDER:
            return self._state_of_order()
        if not self.row["enabled"]:
            return "disabled"
        if self.refused is not None:
            return "refused"
        if self.paused:
            return paused(self.until_ms)
        return "idle" if self.row["status"] == "idle" else "enabled"

    def _state_of_order(self) -> str:
        if not self.row["enabled"]:
            return "ended"
        return "waiting" if self.row["last_run"] is None else "running"


@command("list")
@exchange_option(None)
@click.option("--symbol", metavar="SYMBOL", help="Only jobs that name this symbol.")
@click.option("--type", "job_type", type=JOB_TYPE, metavar="TYPE", help="Only continuous, gap_repair or backfill.")
@click.option("--all", "everything", is_flag=True, help="Removed jobs and orders that have ended, too.")
@json_option
@pass_app
def list_jobs(
    app: App, exchange: str | None, symbol: str | None, job_type: str | None, everything: bool, as_json: bool
) -> int:
    """Every job and its state.

    What it works on, whether it works, when it is next, and how its last run ended.

    \b
    States:
      enabled   works
      disabled  kept, but not worked
      paused    not fired for a while, itself or its exchange
      refused   enabled, but unusable, or a second one for the same; the last column says which
      waiting   an order by hand that no process has begun
      running   an order by hand under way

    \b
    Examples:
      marketd jobs list
      marketd jobs list --symbol BTCUSD --type continuous
      marketd jobs list --all --json | jq '.jobs[] | select(.refused)'
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, None)
    which = (exchange, symbol, None if job_type is None else typed(job_type).value)
    log_warnings(config)
    now_ms = app.clock.now_ms()
    listed, pauses = on_loop(_listed(config, which, everything, now_ms))
    if as_json:
        show_json(
            {"jobs": [_shape(each) for each in listed], "pauses": [_pause_shape(each, now_ms) for each in pauses]}
        )
        return 0
    for each in pauses:
        _, until_ms = pause_end_ms(each.until_ms, now_ms)
        talk(f"{clean(each.exchange)} is {paused(until_ms)}: `marketd jobs resume --exchange {clean(each.exchange)}`")
    if listed:
        show_table(_COLUMNS, [_row(each) for each in listed], right=("id",), optional=_COLUMNS[6:])
    else:
        say("no job: `marketd jobs add` or an entry of the job file makes one")
    return 0


async def _listed(
    config: Config, which: tuple[str | None, str | None, str | None], everything: bool, now_ms: int
) -> tuple[list[ListedJob], tuple[Pause, ...]]:
    async with reading(config, "marketd jobs list") as opened:
        table = JobRows(opened)
        rows = await table.listed(*which, everything=everything)
        runs = await Reports(opened).runs_named(row["last_run"] for row in rows)
        pauses = await table.pauses(which[0])
    return judged(config, rows, runs, now_ms), pauses


def judged(
    config: Config, rows: Sequence[Mapping[str, Any]], runs: Mapping[int | None, RunFigures], now_ms: int
) -> list[ListedJob]:
    """The rows with what the daemon would say of them; of a slot, either all rows are among them or none."""
    working = [row for row in rows if row["enabled"] and row["origin"] != ORDER]
    jobs = job_set(working, config.timeframes, config.derive, config.budgets, config.engine.settle_s)
    crons, listed = Crons(), []
    for row in rows:
        job = jobs.jobs.get(row["id"])
        asleep, until_ms = pause_end_ms(None if job is None else job.paused_until_ms, now_ms)
        next_ms = None if job is None else next_run_ms(job, crons, now_ms)
        listed.append(ListedJob(row, jobs.refused.get(row["id"]), asleep, until_ms, next_ms, runs.get(row["last_run"])))
    return listed


def _row(each: ListedJob) -> tuple[str, ...]:
    row, run = each.row, each.last_run
    series = f"{row['exchange']} {row['symbol'] or 'all'} {row['timeframe'] or 'all'}"
    maker = row["owner"] or ("" if row["caused_by"] is None else f"for job {row['caused_by']}")
    last = "-" if run is None else f"{run.status.value} {words.moment(run.completed_ms or run.started_ms)}"
    return (
        str(row["id"]), clean(series, 60), row["job_type"], clean(row["schedule"] or "-", 40), each.state,
        clean(f"{row['origin']} {maker}", 40), words.moment(each.next_ms), last,
        clean(each.refused or row["last_error"] or "", _LONGEST_PROBLEM),
    )  # fmt: skip


def _shape(each: ListedJob) -> shapes.Shape:
    row = each.row
    return {
        **{key: row[key] for key in _AS_STORED},
        "state": each.state,
        "refused": each.refused,
        "origin": row["origin"],
        "owner": row["owner"],
        "caused_by": row["caused_by"],
        "start_time": _iso(row["start_time"]),
        "end_time": _iso(row["end_time"]),
        **{key: row[key] for key in _POLICIES},
        "paused": each.paused,
        "paused_until": shapes.iso(each.until_ms),
        "removed_at": _iso(row["removed_at"]),
        "next_run": shapes.iso(each.next_ms),
        "last_run": None if each.last_run is None else shapes.run(each.last_run),
    }


def _pause_shape(pause: Pause, now_ms: int) -> shapes.Shape:
    _, until_ms = pause_end_ms(pause.until_ms, now_ms)
    return {
        "exchange": pause.exchange, "paused_until": shapes.iso(until_ms), "noted_at": shapes.iso(pause.noted_ms),
    }  # fmt: skip


def _iso(value: Any) -> str | None:
    return shapes.iso(millis(value))
