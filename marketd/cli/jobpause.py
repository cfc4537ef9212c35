"""``marketd jobs pause`` and ``resume``: no firings for a while, whoever made the job.

Owns the reading of ``--until``. A pause stands in columns that no job file touches, so it outlives reloads.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import click

from marketd import assembly
from marketd.cli.app import App, command, pass_app
from marketd.cli.jobrules import Verb, checked
from marketd.cli.jobwords import SOON, paused
from marketd.cli.options import JOB_ID, exchange_option, now_ms_of
from marketd.cli.output import say, talk
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.clock import at
from marketd.config import Config
from marketd.errors import UsageError
from marketd.jobfields import facts_of, shown
from marketd.jobfile import moment
from marketd.pauses import ENDLESS_MS
from marketd.store.jobrows import JobRows, KnownJob, Pause

_UNIT_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_DURATION: Final = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)

ids_argument = click.argument("ids", nargs=-1, type=JOB_ID, metavar="[ID...]")


class Until(click.ParamType[int]):
    """A time in the future as ``_ms``: a date (midnight UTC), a date-time with offset, or how long from now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return until_ms(value, now_ms_of(ctx))
        except (UsageError, OverflowError) as error:
            self.fail(str(error), param, ctx)


def until_ms(written: str, now_ms: int) -> int:
    """What ``--until`` means; UsageError where it is no time, not in the future, or after 2200."""
    found = _DURATION.fullmatch(written)
    try:
        ms = moment(written) if found is None else now_ms + int(found[1]) * _UNIT_MS[found[2]]
    except UsageError as error:
        raise UsageError(f"{error}, or how long: 90m, 2h, 3d, 1w") from error
    if ms <= now_ms:
        raise UsageError(f"{shown(written)} is not in the future; it is {at(now_ms):%Y-%m-%dT%H:%M:%SZ} now")
    if ms >= ENDLESS_MS:
        raise UsageError(f"{shown(written)} is after {at(ENDLESS_MS):%Y-%m-%d}; leave --until out to pause without end")
    return ms


@command("pause")
@ids_argument
@exchange_option(None)
@click.option(
    "--until", "until", type=Until(), help="A date, a date-time, or 90m, 2h, 3d, 1w. Left out: until resumed."
)
@pass_app
def pause(app: App, ids: Sequence[int], exchange: str | None, until: int | None) -> int:
    """Fire jobs no more for a while.

    Some jobs of whatever origin, or all of an exchange. A pause outlives reloads and restarts. A run under way
    stops at its next page border; firings that fall into the pause are left out.

    \b
    Examples:
      marketd jobs pause 12 --until 2h
      marketd jobs pause 12 13
      marketd jobs pause --exchange bitfinex --until 2030-01-01T06:00:00Z

    Exit codes: 0 done, 1 a job is not there and nothing was changed, 2 wrong usage, 77 the database role may not.
    """
    _one_of(ids, exchange)
    config = configured(app)
    log_warnings(config)
    jobs = on_loop(_paused(config, ids, exchange, until))
    how = f"{paused(until)}{' until resumed' if until is None else ''}"
    for job in jobs:
        say(f"job {job.id} is {how}: {job}")
    if exchange is not None:
        say(f"{exchange} is {how}: none of its jobs is fired")
    talk(SOON)
    return 0


@command("resume")
@ids_argument
@exchange_option(None)
@pass_app
def resume(app: App, ids: Sequence[int], exchange: str | None) -> int:
    """End a pause of jobs or of an exchange.

    A job works again once neither it nor its exchange is paused.

    \b
    Examples:
      marketd jobs resume 12 13
      marketd jobs resume --exchange bitfinex

    Exit codes: 0 done, 1 a job is not there and nothing was changed, 2 wrong usage, 77 the database role may not.
    """
    _one_of(ids, exchange)
    config = configured(app)
    log_warnings(config)
    jobs, pauses = on_loop(_resumed(config, ids, exchange))
    for job in jobs:
        say(f"job {job.id} is not paused: {job}")
    if exchange is not None:
        say(f"{exchange} is not paused")
    for each in pauses:
        if any(job.exchange == each.exchange for job in jobs):
            talk(f"but {each.exchange} is paused: `marketd jobs resume --exchange {each.exchange}`")
    talk(SOON)
    return 0


def _one_of(ids: Sequence[int], exchange: str | None) -> None:
    if bool(ids) == (exchange is not None):
        raise UsageError("give either ids of jobs or --exchange")
    if exchange is not None:
        facts_of(exchange)


async def _paused(config: Config, ids: Sequence[int], exchange: str | None, until: int | None) -> Sequence[KnownJob]:
    async with assembly.database(config, application="marketd jobs pause", size=1) as opened:
        rows = JobRows(opened)
        if exchange is not None:
            await rows.pause_exchange(exchange, until)
            return ()
        async with rows.changing() as change:
            jobs = checked(ids, await change.known(ids), Verb.PAUSE)
            await change.pause([job.id for job in jobs], until)
        return jobs


async def _resumed(
    config: Config, ids: Sequence[int], exchange: str | None
) -> tuple[Sequence[KnownJob], Sequence[Pause]]:
    """The jobs that were resumed, and the exchanges that are still paused."""
    async with assembly.database(config, application="marketd jobs resume", size=1) as opened:
        rows = JobRows(opened)
        if exchange is not None:
            await rows.resume_exchange(exchange)
            return (), ()
        async with rows.changing() as change:
            jobs = checked(ids, await change.known(ids), Verb.RESUME)
            await change.resume([job.id for job in jobs])
        return jobs, await rows.pauses()
