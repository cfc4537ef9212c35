"""``marketd demo``: everything at once, on this host alone."""

import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from marketd import assembly
from marketd.cli.app import App, command, pass_app
from marketd.cli.start import log_warnings, on_loop
from marketd.cli.story import BEGINS_MS, SYMBOLS, Story
from marketd.clock import ScaledClock
from marketd.config import load
from marketd.embedded import running_dsn
from marketd.errors import Busy, UsageError
from marketd.rehearsal import Faults, RehearsalServer, synthetic

FOLDER: Final = Path(".demo")
_SEED: Final = 7
_FIRST_MS: Final = 1_704_067_200_000  # 2024-01-01: the first candle of the made-up market
_LAST_MS: Final = 1_735_689_600_000

_CONFIGURATION: Final = """\
# Made by `marketd demo`; the next demo begins anew. To look around in what it left:
#   marketd --config .demo/marketd.toml status
[database]
embedded = true
data_dir = "postgres"

[exchanges.bitfinex]
base_url = "{base_url}"
requests_per_minute = 600
"""


@command("demo")
@pass_app
def demo(_: App) -> int:
    """See it work: a private database, a local exchange with a made-up market, damage and repair.

    Takes less than a minute, needs no network, and touches nothing but ./.demo, which it makes anew each time. Ends
    with 0 when every series is complete and `verify` is clean.

    \b
    Example:
      marketd demo
    """
    _make_room(FOLDER)
    return on_loop(_play())


def _make_room(folder: Path) -> None:
    """An empty folder; one that is not the demo's own is left alone."""
    if running_dsn(folder / "postgres") is not None:
        raise Busy(f"another demo runs in {folder.absolute()}: wait until it has ended")
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "marketd.toml").exists():
            raise UsageError(f"{folder.absolute()} is not the demo's own: move it away, or start in another directory")
        shutil.rmtree(folder)
    folder.mkdir()


async def _play() -> int:
    """Clock, exchange and database are opened here; what happens between them is the story's."""
    clock = ScaledClock(BEGINS_MS)
    faults = Faults(clock)
    market = synthetic(_SEED, SYMBOLS, _FIRST_MS, _LAST_MS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RehearsalServer(market, clock, faults))
        path = FOLDER / "marketd.toml"
        path.write_text(_CONFIGURATION.format(base_url=server.base_url), encoding="utf-8")
        config = load(path, {})  # not the environment's database: it may be a real one
        log_warnings(config)
        opened = await stack.enter_async_context(assembly.database(config, application="marketd demo"))
        return await Story(config, opened, clock, faults, server).tell()
