"""``marketd rehearse``: the local exchange, as a process."""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from marketd.cli.app import App, command, pass_app
from marketd.cli.options import INSTANT, exchange_option
from marketd.cli.output import say, talk
from marketd.cli.start import on_loop
from marketd.clock import Clock, ScaledClock
from marketd.errors import UsageError
from marketd.exchanges import exchange as facts_of
from marketd.exchanges.facts import Exchange
from marketd.jobfields import spelled
from marketd.rehearsal import Faults, Market, RehearsalServer, load_scenario, recorded, synthetic
from marketd.rehearsal.dialect import Dialect
from marketd.rehearsal.dialects import spoken

_SINCE_MS: Final = 1_356_998_400_000  # 2013-01-01
_UNTIL_MS: Final = 4_102_444_800_000  # 2100-01-01


@dataclass(frozen=True, slots=True)
class Stage:
    """What is served, and where."""

    dialect: Dialect
    market: Market
    clock: Clock
    faults: Faults
    port: int
    symbols: tuple[str, ...]


@command("rehearse")
@exchange_option()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
    help="Serve recorded candles: DIR/EXCHANGE/SYMBOL-1m-YEAR.csv.gz.",
)  # fmt: skip
@click.option(
    "--synthetic", "seed", type=int, metavar="SEED",
    help="Serve a made-up market; the same seed makes the same candles. Done, with 1, where --data is left out.",
)  # fmt: skip
@click.option(
    "--symbols", metavar="LIST",
    help="Which symbols, with commas (default: all of DIR, or three that the exchange has).",
)  # fmt: skip
@click.option("--since", "since_ms", type=INSTANT, help="Where a made-up market begins (default: 2013-01-01).")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0, the default: a free one.")
@click.option("--now", "now_ms", type=INSTANT, help="The exchange's time at its start (default: the host's).")
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True, max=100_000), default=1.0,
    help="How fast its time runs (default: 1).",
)  # fmt: skip
@click.option(
    "--scenario", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="What goes wrong, and when: docs/rehearsal.md.",
)  # fmt: skip
@pass_app
def rehearse(
    app: App, exchange: str, data: Path | None, seed: int | None, symbols: str | None, since_ms: int | None, port: int,
    now_ms: int | None, speed: float, scenario: Path | None,
) -> int:  # fmt: skip
    """Serve a local exchange that speaks the wire format of --exchange, until Ctrl-C.

    For drills: it can be slow, lose and restore history, refuse, truncate and lie, by a scenario or at run time. Use a
    database of its own for it: what it serves is not the real market.

    \b
    Examples:
      marketd rehearse --port 8099
      marketd rehearse --synthetic 7 --symbols BTCUSD,DOGE:USD --scenario config/rehearsal-storm.toml
      marketd rehearse --exchange kraken --symbols XBTUSD
      marketd rehearse --data recorded --now 2014-01-01 --speed 60

    Exit codes: 0 stopped by a signal, 2 wrong usage, a port that is taken included, 78 a scenario with mistakes.
    """
    if data is not None and seed is not None:
        raise UsageError("--data and --synthetic exclude each other: a market is recorded or made up")
    clock = ScaledClock(app.clock.now_ms() if now_ms is None else now_ms, speed)
    facts, dialect = facts_of(exchange), spoken(exchange)
    named = _named(facts, symbols)
    if data is not None:
        market = recorded(data, exchange)
    else:
        start_ms = _SINCE_MS if since_ms is None else since_ms
        market = synthetic(1 if seed is None else seed, named or dialect.symbols, start_ms, _UNTIL_MS)
    faults = Faults(clock, () if scenario is None else load_scenario(scenario))
    on_loop(_serve(Stage(dialect, market.filled() if dialect.flat else market, clock, faults, port, named)))
    return 0


def _named(facts: Exchange, symbols: str | None) -> tuple[str, ...]:
    if symbols is None:
        return ()
    names = tuple(spelled(facts, name.strip()) for name in symbols.split(","))
    if len(set(names)) < len(names):
        raise UsageError(f"--symbols {symbols} names a symbol twice")
    return names


async def _serve(stage: Stage) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with RehearsalServer(
        stage.market, stage.clock, stage.faults, stage.port, symbols=stage.symbols or None, dialect=stage.dialect
    ) as server:
        symbols = " ".join(stage.symbols or stage.market.symbols)
        talk(f"the rehearsal exchange listens on {server.base_url} as {stage.dialect.name} with {symbols}")
        talk(f"Ctrl-C ends it; statistics: curl {server.root_url}/rehearsal/stats")
        say(f"MARKETD_EXCHANGES__{stage.dialect.name.upper()}__BASE_URL={server.base_url}")
        await stopped.wait()
