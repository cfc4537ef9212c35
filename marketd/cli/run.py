"""``marketd run``: the daemon, as a process."""

from functools import partial

from marketd import logs
from marketd.cli.app import App, command, pass_app
from marketd.cli.start import configured, log_service, on_loop, secrets_of, share_time
from marketd.config import Config
from marketd.daemon import Daemon


@command("run")
@pass_app
def run(app: App) -> int:
    """Keep the candles complete: the daemon.

    Works on the jobs of the job file and of the table, answers on [http] listen, and runs until SIGTERM or SIGINT;
    then it lets runs end at a page border, and exits with 0. While database or exchange are out of reach it stays up
    and waits. It logs to standard error.

    \b
    Examples:
      marketd run
      marketd --config /etc/marketd/marketd.toml run

    Exit codes: 0 stopped by a signal, 75 its port or its private database is taken, 77 missing privilege,
    78 configuration or schema refused.
    """
    log_service(configured(app))
    share_time()
    on_loop(Daemon(partial(_loaded, app), app.clock, environ=app.environ).run())
    return 0


def _loaded(app: App) -> Config:
    """The configuration of this moment; what is secret in it is kept out of the log before anybody works with it."""
    config = configured(app)
    logs.hide(secrets_of(config))
    return config
