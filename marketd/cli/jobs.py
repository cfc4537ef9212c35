"""``marketd jobs``: the job table from the command line.

Owns the list of its commands, each in a module of its own, and the history of a job. Refuses to start the engine.
"""

import click

from marketd.cli.app import App, command, group, json_option, pass_app
from marketd.cli.jobadd import add
from marketd.cli.jobchange import disable, enable, remove
from marketd.cli.joblisting import list_jobs
from marketd.cli.jobpause import pause, resume
from marketd.cli.jobrun import run
from marketd.cli.listings import limit_option, show_runs
from marketd.cli.options import JOB_ID


@group("jobs")
def jobs() -> None:
    """Add, list, pause and remove jobs, and see what they have done.

    A job keeps a series, a symbol or all tracked series of an exchange complete. Jobs come from the job file, from
    here, or from SQL; those of the job file follow the file.

    \b
    Examples:
      marketd jobs add --symbol BTCUSD --type continuous --schedule '*/5 * * * *'
      marketd jobs list
      marketd jobs run 12
      marketd jobs pause --exchange bitfinex --until 2h
    """


@command("history")
@click.argument("job_id", required=False, type=JOB_ID, metavar="[ID]")
@limit_option
@json_option
@pass_app
def history(app: App, job_id: int | None, limit: int, as_json: bool) -> int:
    """What jobs have done, newest first.

    Each run: when it was due, how late it began, how long it took and what came of it. Without ID: the runs of all
    jobs, as `marketd runs` shows them.

    \b
    Examples:
      marketd jobs history 12
      marketd jobs history 12 --limit 5 --json

    Exit codes: 0 done, 1 there is no such job.
    """
    return show_runs(app, "marketd jobs history", job_id, limit, as_json=as_json)


for each in (add, list_jobs, run, enable, disable, remove, pause, resume, history):
    jobs.add_command(each)
