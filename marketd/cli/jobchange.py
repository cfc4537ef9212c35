"""``marketd jobs enable``, ``disable`` and ``remove``: rows of the job table, changed all together or not at all."""

import sys
from collections.abc import Sequence

import click

from marketd import assembly, words
from marketd.cli.app import App, command, pass_app
from marketd.cli.jobrules import Verb, checked, held, holders, reached, refuse
from marketd.cli.jobwords import SOON
from marketd.cli.options import JOB_ID
from marketd.cli.output import say, talk
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.config import Config
from marketd.errors import UsageError
from marketd.jobs import Derive
from marketd.model import Slot
from marketd.store.jobrows import JobChange, JobRows, KnownJob

ids_argument = click.argument("ids", nargs=-1, required=True, type=JOB_ID, metavar="ID...")


@command("enable")
@ids_argument
@pass_app
def enable(app: App, ids: Sequence[int]) -> int:
    """Let disabled jobs work again.

    Jobs of the job file are enabled there. A job whose work another enabled one does is refused.

    \b
    Examples:
      marketd jobs enable 12
      marketd jobs enable 12 13 14

    Exit codes: 0 done, 1 refused and nothing changed, 77 made by SQL and not for this database role to change.
    """
    return _change(app, ids, Verb.ENABLE)


@command("disable")
@ids_argument
@pass_app
def disable(app: App, ids: Sequence[int]) -> int:
    """Stop the work of jobs, and keep them.

    A run under way stops at its next page border. Jobs of the job file are disabled there; for any job there is
    `marketd jobs pause`. To disable an order by hand that still waits withdraws it.

    \b
    Examples:
      marketd jobs disable 12
      marketd jobs disable 12 13 14

    Exit codes: 0 done, 1 refused and nothing changed, 77 made by SQL and not for this database role to change.
    """
    return _change(app, ids, Verb.DISABLE)


@command("remove")
@ids_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def remove(app: App, ids: Sequence[int], yes: bool) -> int:
    """Take jobs away for good.

    Asks first, in a terminal. Their runs stay as history, and what they have stored stays stored. A removed job is
    shown by `marketd jobs list --all` only, and never works again.

    \b
    Examples:
      marketd jobs remove 12
      marketd jobs remove 12 13 --yes

    Exit codes: 0 done, 1 refused and nothing changed, 2 nobody can be asked and --yes is not given, 77 made by SQL
    and not for this database role to change.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: to remove jobs, give --yes")
    return _change(app, ids, Verb.REMOVE, ask=not yes)


def _change(app: App, ids: Sequence[int], verb: Verb, *, ask: bool = False) -> int:
    config = configured(app)
    log_warnings(config)
    jobs = on_loop(_changed(config, ids, verb, ask=ask))
    for job in jobs:
        say(f"{verb}d job {job.id}: {job}")
    if not jobs:
        talk("nothing was removed")
        return 1
    talk(SOON)
    return 0


async def _changed(config: Config, ids: Sequence[int], verb: Verb, *, ask: bool) -> Sequence[KnownJob]:
    """The rows that were changed; none where the user does not want it after all."""
    async with assembly.database(config, application=f"marketd jobs {verb}", size=1) as opened:
        rows = JobRows(opened)
        if ask and not _wanted(checked(ids, await rows.known(ids), verb)):
            return ()
        async with rows.changing() as change:
            jobs = checked(ids, await change.known(ids), verb)
            await _carry_out(change, jobs, verb, config.derive)
        return jobs


def _wanted(jobs: Sequence[KnownJob]) -> bool:
    for job in jobs:
        talk(f"job {job.id}: {job}")
    return click.confirm(f"Remove {words.plural(len(jobs), 'job')} for good?", err=True)


async def _carry_out(change: JobChange, jobs: Sequence[KnownJob], verb: Verb, derive: Derive) -> None:
    ids = [job.id for job in jobs]
    if verb is Verb.REMOVE:
        reached(jobs, await change.remove(ids), verb)
        return
    if verb is Verb.ENABLE:
        _refuse_doubles([job for job in jobs if not job.enabled], holders(await change.enabled(), derive))
    reached(jobs, await change.enable(ids, verb is Verb.ENABLE), verb)


def _refuse_doubles(jobs: Sequence[KnownJob], working: dict[Slot, KnownJob]) -> None:
    """No row that would wait behind another one, be it enabled already or at the same time."""
    reasons = []
    for job in jobs:
        other = working.setdefault(job.slot, job)
        if other is not job:
            reasons.append(held(f"{job} (job {job.id})", other))
    refuse(reasons)
