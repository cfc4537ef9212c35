"""``marketd reload``: ask the daemon of this host to read everything anew, and hear what came of it."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from marketd import bulletin
from marketd.bulletin import ACCEPTED, WAITING, News, Verdict
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import complain, say, show_json, talk
from marketd.errors import MarketdError, PrivilegeError

_LOOK_EVERY_S: Final = 0.05


class NoVerdict(MarketdError):
    """The daemon has ended, or has not answered in time."""


class NoDaemon(MarketdError):
    exit_code = 69


@command("reload")
@click.option("--wait", is_flag=True, help="Wait for the verdict; end with 1 where the reload is refused.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1, max=3600), default=60.0, show_default=True,
    help="With --wait: the longest to wait, in seconds.",
)  # fmt: skip
@json_option
@pass_app
def reload(app: App, wait: bool, timeout_s: float, as_json: bool) -> int:
    """Make the running daemon read configuration and job file anew.

    Sends it SIGHUP, as `systemctl reload marketd` does. A mistake anywhere refuses the reload whole, and the daemon
    goes on with what it had. The daemon is found by what it posts in its run directory: $MARKETD_RUN_DIR, else
    $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/marketd, else /run/marketd.

    \b
    Examples:
      marketd reload --wait
      marketd reload --wait --timeout 10 --json

    Exit codes: 0 accepted (without --wait: asked), 1 refused or no verdict in time, 69 no daemon runs here, 77 it
    belongs to another user, 78 its run directory is not safe.
    """
    folder, before = _daemon(app.environ)
    # Begun before the signal is sent is not ours; every one that begins later reads what is there now.
    try:
        os.kill(before.pid, signal.SIGHUP)
    except PermissionError as error:
        raise PrivilegeError(
            f"process {before.pid} belongs to another user; run this as root or as that user"
        ) from error
    if not wait:
        talk(f"asked process {before.pid} to reload; --wait tells what comes of it")
        return 0
    return _show(_verdict(folder, before, timeout_s), as_json=as_json)


def _daemon(environ: Mapping[str, str]) -> tuple[Path, News]:
    found = next(bulletin.living(environ), None)
    if found is None:
        searched = " ".join(str(folder) for folder in bulletin.folders(environ))
        raise NoDaemon(
            f"no daemon of marketd runs here (looked in {searched}); MARKETD_RUN_DIR names another directory"
        )
    return found


def _verdict(folder: Path, before: News, timeout_s: float) -> Verdict:
    """The verdict on a reload that began after ``before`` was read."""
    end_s = time.monotonic() + timeout_s
    reason = "it has not begun"
    while time.monotonic() < end_s:
        time.sleep(_LOOK_EVERY_S)
        news = bulletin.read(folder)
        if news is None or news.pid != before.pid:
            raise NoVerdict("the daemon has ended before its verdict; its log says why")
        last = news.last
        if last is not None and last.number > before.begun:
            if last.outcome != WAITING:
                return last
            reason = last.reason or reason
    raise NoVerdict(f"no verdict within {timeout_s:g} s: {reason}")


def _show(verdict: Verdict, *, as_json: bool) -> int:
    if as_json:
        show_json(verdict.shape())
    elif verdict.outcome == ACCEPTED:
        say(f"reloaded: {verdict.said}")
        for kind, sentences in verdict.changes.items():
            for sentence in sentences:
                say(f"  {kind.replace('_', ' ')}: {sentence}")
    if verdict.outcome == ACCEPTED:
        return 0
    complain(f"reload refused, nothing has changed: {verdict.reason}")
    return 1
