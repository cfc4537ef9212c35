"""``marketd check``: what is wrong with configuration, job file and job rows; of one exchange, what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from marketd import words
from marketd.cli.answered import Answered
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.contact import contact
from marketd.cli.options import EXCHANGE
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, exposed, log_warnings, on_loop, reading
from marketd.config import Config, describe
from marketd.cron import Crons
from marketd.embedded import running_dsn
from marketd.errors import ConfigError, DatabaseUnavailable, SchemaError
from marketd.exchanges.facts import Exchange
from marketd.jobfields import facts_of
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
@click.option(
    "--exchange", type=EXCHANGE, metavar="NAME",
    help="Ask this exchange instead: is it in reach, what time is it there, what may the key do?",
)  # fmt: skip
@json_option
@pass_app
def check(app: App, print_it: bool, exchange: str | None, as_json: bool) -> int:
    """Say what is wrong with configuration, job file and, where the database is in reach, job rows.

    Names every mistake at once, and says whether the budget of each exchange can carry its jobs. Changes nothing, and
    asks no exchange unless one is named: that one is asked instead, and whether its credentials are valid and cannot
    write, where NAME_API_KEY and NAME_API_SECRET are set.

    \b
    Examples:
      marketd check
      marketd --config /etc/marketd/marketd.toml check --print
      marketd check --exchange bitfinex

    Exit codes: 0 nothing is wrong, 1 an exchange whose answer cannot be read, 69 one that is out of reach, 78 something
    is wrong, with the credentials too.
    """
    config = configured(app, need_database=exchange is None)
    log_warnings(config)
    if exchange is not None:
        return _ask(app, config, facts_of(exchange), print_it=print_it, as_json=as_json)
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


def _ask(app: App, config: Config, facts: Exchange, *, print_it: bool, as_json: bool) -> int:
    """Ask the exchange and show what it says; a failure of the credentials is raised when all is shown."""
    heard = on_loop(contact(config, facts, app.clock))
    shown = Answered(facts, config, heard)
    if as_json:
        show_json({**shown.shape(), **(_settings(config) if print_it else {})})
    else:
        if print_it:
            _show_settings(config)
        shown.show()
    if heard.standing.failure is not None:
        raise heard.standing.failure
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
        _show_settings(config)
    say(f"configuration: {config.file or 'no file, environment and defaults only'}")
    say(f"jobs: {len(verdict.jobs)} from {config.jobs_file or 'no file'} and the table")
    for asked in verdict.budgets:
        say(f"budget: {asked}")
    for note in verdict.notes:
        talk(f"note: {note}")
    if not verdict.mistakes:
        say("nothing is wrong")


def _shape(config: Config, verdict: Verdict, *, print_it: bool) -> dict[str, Any]:
    return {
        "file": None if config.file is None else str(config.file),
        "mistakes": verdict.mistakes, "notes": verdict.notes, "jobs": len(verdict.jobs),
        "budgets": [
            {"exchange": each.exchange, "series": each.series, "needed_per_minute": each.needed_per_minute,
             "allowed_per_minute": each.budget_per_minute, "feasible": each.feasible}
            for each in verdict.budgets
        ],
        **(_settings(config) if print_it else {}),
    }  # fmt: skip


def _show_settings(config: Config) -> None:
    rows = describe(config)
    widths = [max(len(row[place]) for row in rows) for place in (0, 1)]
    for row in rows:
        say(f"{row.key:<{widths[0]}}  {row.value:<{widths[1]}}  {row.origin}")


def _settings(config: Config) -> dict[str, Any]:
    return {"settings": [row._asdict() for row in describe(config)]}
