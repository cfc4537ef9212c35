"""The options that choose series and times, and what they accept.

Owns the reading of ``--exchange``, ``--symbol``, ``--timeframe``, ``--start`` and ``--end``. Refuses times in the
future or without a time zone, an end before its start, unknown names and repetitions, each with the value and what
would be accepted, before anything starts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from marketd.cli.app import App
from marketd.clock import at
from marketd.config import Config
from marketd.errors import UsageError
from marketd.exchanges import NAMES
from marketd.jobfields import facts_of, offered, spelled
from marketd.jobfile import moment
from marketd.model import JobType, Series
from marketd.timeframe import TIMEFRAMES


def now_ms_of(ctx: click.Context | None) -> int:
    """The time of this invocation's clock."""
    app = None if ctx is None else ctx.find_object(App)
    return (app or App()).clock.now_ms()


class Instant(click.ParamType[int]):
    """A date (midnight UTC) or a date-time with offset, not in the future; ``_ms`` since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            instant = moment(value)
        except (UsageError, OverflowError) as error:
            self.fail(str(error), param, ctx)
        now_ms = now_ms_of(ctx)
        if instant > now_ms:
            latest = f"{at(now_ms):%Y-%m-%dT%H:%M:%SZ}"
            self.fail(f"{value} is in the future; the latest accepted is now, {latest}", param, ctx)
        return instant


INSTANT: Final = Instant()
JOB_ID: Final = click.IntRange(1, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series, and from when to when (``end`` exclusive, None: until now)."""

    exchange: str
    series: tuple[Series, ...]
    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def words(self) -> list[str]:
        """The options that choose the same again."""
        words = ["--exchange", self.exchange]
        for symbol in dict.fromkeys(series.symbol for series in self.series):
            words += ["--symbol", symbol]
        for timeframe in dict.fromkeys(series.timeframe for series in self.series):
            words += ["--timeframe", timeframe]
        for name, ms in (("--start", self.start_ms), ("--end", self.end_ms)):
            words += [] if ms is None else [name, _written(ms)]
        return words


def _written(ms: int) -> str:
    text = at(ms).isoformat()
    return text.removesuffix("T00:00:00+00:00") if text.endswith("T00:00:00+00:00") else text.replace("+00:00", "Z")


class Words(click.ParamType[str]):
    """A text whose usual values a shell can complete; which are allowed is decided where it is used."""

    name = "text"

    def __init__(self, values: Iterable[str]) -> None:
        self._values = tuple(values)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(value) for value in self._values if value.startswith(incomplete)]


EXCHANGE = Words(NAMES)
TIMEFRAME = Words(TIMEFRAMES)
JOB_TYPE = Words(JobType)


def exchange_option(default: str | None = "bitfinex") -> Callable[[Any], Any]:
    said = "The exchange" if default is None else f"The exchange (default: {default})"
    return click.option("--exchange", type=EXCHANGE, default=default, help=f"{said}.")


def series_options(*, symbol_required: bool) -> Callable[[Any], Any]:
    """``--exchange``, ``--symbol`` and ``--timeframe``, the latter two as often as wanted."""
    which = "" if symbol_required else " Left out: every series that is known."

    def dress(function: Any) -> Any:
        function = click.option(
            "--timeframe", "timeframes", type=TIMEFRAME, multiple=True, metavar="TF",
            help="Such as 1m, 1h, 1d; may be repeated. Left out: all of `timeframes` in the configuration.",
        )(function)  # fmt: skip
        function = click.option(
            "--symbol", "symbols", multiple=True, required=symbol_required, metavar="SYMBOL",
            help=f"Such as BTCUSD; may be repeated.{which}",
        )(function)  # fmt: skip
        return exchange_option()(function)

    return dress


def filter_options(function: Any) -> Any:
    """``--exchange``, ``--symbol`` and ``--timeframe`` of a reader: each narrows what is shown."""
    function = click.option("--timeframe", type=TIMEFRAME, metavar="TF", help="Only this timeframe.")(function)
    function = click.option("--symbol", metavar="SYMBOL", help="Only this symbol.")(function)
    return exchange_option(None)(function)


def range_options(function: Any) -> Any:
    function = click.option(
        "--end", "end_ms", type=INSTANT, help="Until when (exclusive). Left out: the last closed candle."
    )(function)
    return click.option(
        "--start", "start_ms", type=INSTANT,
        help="From when: 2024-01-01 (midnight UTC) or 2024-01-01T00:00:00Z. Left out: the first candle there is.",
    )(function)  # fmt: skip


wait_option = click.option(
    "--no-wait", is_flag=True, help="End with 75 instead of waiting while another process works on the exchange."
)


def selected(
    config: Config, exchange: str, symbols: Sequence[str], timeframes: Sequence[str],
    start_ms: int | None = None, end_ms: int | None = None,
) -> Selection:  # fmt: skip
    """What the options choose; native series first, so that derived ones find their parents complete."""
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise UsageError(f"--end {_written(end_ms)} is not later than --start {_written(start_ms)}")
    facts = facts_of(exchange)
    derive = config.derive[facts.name]
    names = _once("--symbol", [spelled(facts, symbol) for symbol in symbols])
    frames = _once("--timeframe", [offered(facts, name, derive) for name in timeframes or config.timeframes])
    series = [Series(facts.name, symbol, frame) for symbol in names for frame in frames]
    return Selection(facts.name, tuple(sorted(series, key=lambda each: each.timeframe in derive)), start_ms, end_ms)


def checked_filter(config: Config, exchange: str | None, symbol: str | None, timeframe: str | None) -> None:
    """UsageError where a filter of a reader names what cannot be."""
    if exchange is not None:
        facts = facts_of(exchange)
        if symbol is not None:
            spelled(facts, symbol)
    if timeframe is not None:
        for name in [exchange] if exchange is not None else list(config.exchanges):
            offered(facts_of(name), timeframe, config.derive[name])


def _once(option: str, values: Sequence[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"{option} {value} is given {values.count(value)} times; give it once")
    return list(values)
