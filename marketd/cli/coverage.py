"""``marketd coverage``: the states of all intervals over time, a line a series."""

import sys
from collections.abc import Sequence

import click

from marketd.cli import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.known import every_series
from marketd.cli.options import checked_filter, filter_options, range_options
from marketd.cli.output import say, show_json
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.config import Config
from marketd.errors import UsageError
from marketd.figures import Bucket, SeriesFigures
from marketd.model import Series
from marketd.store.reports import Reports
from marketd.web import shapes

_SIGNS = {"stored": "█", "empty": "░", "part": "▒", "gap": "!", "unknown": "·"}
_PLAIN = {"stored": "#", "empty": "-", "part": "+", "gap": "!", "unknown": "."}


@command("coverage")
@filter_options
@range_options
@click.option("--width", type=click.IntRange(1, 500), default=60, help="Signs a line (default: 60).")
@json_option
@pass_app
def coverage(
    app: App, exchange: str | None, symbol: str | None, timeframe: str | None, start_ms: int | None,
    end_ms: int | None, width: int, as_json: bool,
) -> int:  # fmt: skip
    """What is stored, empty, owed and unknown, over time.

    One line a series, one sign a stretch of time; a stretch with anything owed shows it. Without --start and --end the
    line goes from the beginning of the wanted history to the newest answer.

    \b
    Examples:
      marketd coverage
      marketd coverage --symbol BTCUSD --timeframe 1m --start 2024-01-01 --end 2024-02-01 --width 31
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, timeframe)
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise UsageError("--end is not later than --start")
    log_warnings(config)
    maps = on_loop(_maps(config, (exchange, symbol, timeframe), (start_ms, end_ms), width))
    if as_json:
        show_json([
            {"exchange": series.exchange, "symbol": series.symbol, "timeframe": series.timeframe,
             "buckets": [shapes.bucket(each) for each in buckets]}
            for series, buckets in maps
        ])  # fmt: skip
        return 0
    show_maps(maps)
    return 0


async def _maps(
    config: Config, which: tuple[str | None, str | None, str | None], span: tuple[int | None, int | None], width: int
) -> list[tuple[Series, Sequence[Bucket]]]:
    async with reading(config, "marketd coverage") as opened:
        reports = Reports(opened)
        return [
            (figures.series, await _buckets(reports, figures, span, width))
            for figures in await every_series(reports, *which)
        ]


async def _buckets(
    reports: Reports, figures: SeriesFigures, span: tuple[int | None, int | None], width: int
) -> Sequence[Bucket]:
    start_ms = span[0] if span[0] is not None else figures.wanted_from_ms or figures.answered_from_ms
    end_ms = span[1] if span[1] is not None else figures.answered_until_ms
    if start_ms is None or end_ms is None:
        return ()
    return await reports.coverage_buckets(figures.series, start_ms, end_ms, width)


def show_maps(maps: Sequence[tuple[Series, Sequence[Bucket]]]) -> None:
    if not maps:
        say("no series yet")
        return
    signs = _SIGNS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN
    names = [str(series) for series, _ in maps]
    for name, (_, buckets) in zip(names, maps, strict=True):
        line = "".join(signs[_state(bucket)] for bucket in buckets) or "nothing answered yet"
        reach = f"  {words.moment(buckets[0].start_ms)} … {words.moment(buckets[-1].end_ms)}" if buckets else ""
        say(f"{name:<{max(map(len, names))}}  {line}{reach}")
    say("  ".join((
        f"{signs['stored']} stored", f"{signs['empty']} nothing traded", f"{signs['gap']} owed",
        f"{signs['part']} partly unknown", f"{signs['unknown']} unknown",
    )))  # fmt: skip


def _state(bucket: Bucket) -> str:
    if bucket.gap:
        return "gap"
    if bucket.unknown:
        return "part" if bucket.stored or bucket.empty else "unknown"
    return "stored" if bucket.stored else "empty"
