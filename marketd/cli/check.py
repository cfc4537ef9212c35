"""``marketd check``: what is wrong with configuration, job file and job rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from marketd.cli import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, exposed, log_warnings, on_loop, reading
from marketd.config import Config, describe
from marketd.cron import Crons
from marketd.embedded import running_dsn
from marketd.errors import ConfigError, DatabaseUnavailable, SchemaError
from marketd.jobs import Feasibility, duplicates, feasibility, job_from_row, work_of
from marketd.jobtable import read_specs
from marketd.model import Job, JobRow
from marketd.store.runs import Runs


@dataclass(slots=True)
class Verdict:
    """What was found: ``mistakes`` refuse, ``notes`` are only worth knowing."""

    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    budgets: tuple[Feasibility, ...] = ()


@command("check")
@click.option("--print", "print_it", is_flag=True, help="Every setting, its value and its origin; secrets masked.")
@json_option
@pass_app
def check(app: App, print_it: bool, as_json: bool) -> int:
    """Say what is wrong with configuration, job file and, where the database is in reach, job rows.

    Names every mistake at once, and says whether the budget of each exchange can carry its jobs. Changes nothing and
    asks no exchange.

    \b
    Examples:
      marketd check
      marketd --config /etc/marketd/marketd.toml check --print

    Exit codes: 0 nothing is wrong, 78 something is.
    """
    config = configured(app)
    log_warnings(config)
    verdict = Verdict()
    verdict.notes.extend(exposed(config))
    specs = _job_file(config, verdict, app.clock.now_ms())
    on_loop(_job_rows(config, verdict))
    _weigh(config, verdict, specs)
    if as_json:
        show_json(_shape(config, verdict, print_it=print_it))
    else:
        _show(config, verdict, print_it=print_it)
    if verdict.mistakes:
        raise ConfigError("\n".join([f"{words.plural(len(verdict.mistakes), 'mistake')}:", *verdict.mistakes]))
    return 0


def _job_file(config: Config, verdict: Verdict, now_ms: int) -> Sequence[JobRow]:
    if config.jobs_file is None:
        verdict.notes.append("no jobs_file is named: only rows of the table are worked")
        return ()
    try:
        specs = read_specs(config.jobs_file, config, now_ms)
    except ConfigError as error:
        verdict.mistakes.append(str(error))
        return ()
    if specs is None:
        verdict.notes.append(f"{config.jobs_file} does not exist: its rows stay as they are")
        return ()
    return specs


async def _job_rows(config: Config, verdict: Verdict) -> None:
    """Rows that others made; those of the file are judged by the file."""
    rows = await _rows(config, verdict)
    crons = Crons()
    for row in rows:
        try:
            job = job_from_row(row, crons, config.derive)
        except ConfigError as error:
            verdict.mistakes.append(str(error))
            continue
        verdict.jobs.append(job)
    for job, works in duplicates(verdict.jobs):
        verdict.notes.append(f"job {job.id} does the same as job {works.id}, which works in its place")


async def _rows(config: Config, verdict: Verdict) -> Sequence[Mapping[str, Any]]:
    folder = config.database.data_dir
    if config.database.uses_embedded and (folder is None or running_dsn(folder) is None):
        verdict.notes.append("the private database does not run now: job rows were not looked at")
        return ()
    try:
        async with reading(config, "marketd check") as opened:
            return await Runs(opened).enabled_jobs()
    except DatabaseUnavailable as error:
        verdict.notes.append(f"job rows were not looked at: {error}")
    except SchemaError as error:
        verdict.notes.append(str(error))
    return ()


def _weigh(config: Config, verdict: Verdict, specs: Sequence[JobRow]) -> None:
    """What the jobs of the file and the rows of others ask of each budget."""
    others = [job for job in verdict.jobs if job.origin != "file"]
    most = max((job.id for job in others), default=0)
    verdict.jobs = [*others, *(spec.job(number) for number, spec in enumerate(specs, start=most + 1))]
    work = work_of(verdict.jobs, config.timeframes, config.derive)
    verdict.budgets = feasibility(verdict.jobs, work, config.budgets, config.derive)
    for asked in verdict.budgets:
        if not asked.feasible:
            verdict.notes.append(f"more is asked than allowed: {asked}; use longer schedules or fewer series")


def _show(config: Config, verdict: Verdict, *, print_it: bool) -> None:
    if print_it:
        rows = describe(config)
        widths = [max(len(row[place]) for row in rows) for place in (0, 1)]
        for row in rows:
            say(f"{row.key:<{widths[0]}}  {row.value:<{widths[1]}}  {row.origin}")
    say(f"configuration: {config.file or 'no file, environment and defaults only'}")
    say(f"jobs: {len(verdict.jobs)} from {config.jobs_file or 'no file'} and the table")
    for asked in verdict.budgets:
        say(f"budget: {asked}")
    for note in verdict.notes:
        talk(f"note: {note}")
    if not verdict.mistakes:
        say("nothing is wrong")


def _shape(config: Config, verdict: Verdict, *, print_it: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "file": None if config.file is None else str(config.file),
        "mistakes": verdict.mistakes, "notes": verdict.notes, "jobs": len(verdict.jobs),
        "budgets": [
            {"exchange": each.exchange, "series": each.series, "needed_per_minute": each.needed_per_minute,
             "allowed_per_minute": each.budget_per_minute, "feasible": each.feasible}
            for each in verdict.budgets
        ],
    }  # fmt: skip
    if print_it:
        shape["settings"] = [row._asdict() for row in describe(config)]
    return shape
