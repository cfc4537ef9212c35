"""``marketd jobs run``: a job's work now, as an order by hand."""

import click

from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.given import ordered
from marketd.cli.options import JOB_ID, wait_option
from marketd.cli.output import talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.config import Config
from marketd.errors import JobRefused
from marketd.jobset import JobSet, job_set
from marketd.model import Claim
from marketd.runner import Order
from marketd.store.runs import Runs


@command("run")
@click.argument("job_id", type=JOB_ID, metavar="ID")
@wait_option
@json_option
@pass_app
def run(app: App, job_id: int, no_wait: bool, as_json: bool) -> int:
    """Do a job's work now, whatever its schedule says.

    An order by hand for each series that the job works on, with the job's own start and end. The daemon that works on
    the exchange carries it out, and this command follows; where none does, the command does it itself. A paused job
    can be run like this; a disabled one cannot. Ctrl-C takes the order back.

    \b
    Examples:
      marketd jobs run 12
      marketd jobs run 12 --json

    Exit codes: 0 done, 1 in part or failed or stopped, or no such job, 69 exchange or database out of reach, 75 another
    command works on the exchange.
    """
    config = configured(app)
    log_warnings(config)
    order = _order(on_loop(_jobs(config)), job_id)
    if not order.series:
        talk(f"job {job_id} works on no series: there is nothing to do")
        return 0
    again = app.command("jobs", "run", str(job_id))
    return on_loop(ordered(app, config, order, again, wait=not no_wait, as_json=as_json))


async def _jobs(config: Config) -> JobSet:
    async with reading(config, "marketd jobs run") as opened:
        rows = await Runs(opened).enabled_jobs()
    return job_set(rows, config.timeframes, config.derive, config.budgets, config.engine.settle_s)


def _order(jobs: JobSet, job_id: int) -> Order:
    if job_id in jobs.refused:
        raise JobRefused(f"job {job_id} is left out: {jobs.refused[job_id]}")
    if job_id not in jobs.jobs:
        raise JobRefused(f"no enabled job {job_id}; `marketd jobs list --all` shows every job")
    job = jobs.jobs[job_id]
    return Order(
        job.job_type, jobs.work[job_id], Claim.ORDER, start_ms=job.start_ms, end_ms=job.end_ms, by_hand=True,
        histories=jobs.histories,
    )  # fmt: skip
