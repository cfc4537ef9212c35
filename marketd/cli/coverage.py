"""``marketd coverage``: the states of all intervals over time, a line a series."""

from collections.abc import Sequence

import click
from rich.text import Text

from marketd import words
from marketd.cli import blocks
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.known import every_series
from marketd.cli.options import checked_filter, filter_options, range_options
from marketd.cli.output import say, show_json
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import console
from marketd.config import Config
from marketd.coverage import Beside, stretches
from marketd.errors import UsageError
from marketd.figures import Bucket, SeriesFigures, SeriesMap
from marketd.store.reports import Reports
from marketd.web import shapes


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

    One line a series, one sign a stretch of time; a stretch with anything owed shows its cause. Without --start and
    --end the line goes from the beginning of the wanted history to the newest answer.

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
    return on_loop(_coverage(app, config, (exchange, symbol, timeframe), (start_ms, end_ms), width, as_json=as_json))


async def _coverage(
    app: App, config: Config, which: tuple[str | None, str | None, str | None], given: tuple[int | None, int | None],
    width: int, *, as_json: bool,
) -> int:  # fmt: skip
    async with reading(config, "marketd coverage") as opened:
        reports = Reports(opened)
        figures = await every_series(reports, *which)
        if as_json:
            show_json([_shape(each, await _buckets(reports, each, given, width)) for each in figures])
            return 0
        maps = [(each, await _map(reports, each, span, width)) for each in figures if (span := _span(each, given))]
    show_maps(maps, figures, app.clock.now_ms(), given, width)
    return 0


def _span(figures: SeriesFigures, given: tuple[int | None, int | None]) -> tuple[int, int] | None:
    """What the line of a series reaches over; None where nothing is known of it."""
    start_ms = given[0] if given[0] is not None else figures.wanted_from_ms or figures.answered_from_ms
    end_ms = given[1] if given[1] is not None else figures.answered_until_ms
    return None if start_ms is None or end_ms is None or start_ms >= end_ms else (start_ms, end_ms)


async def _buckets(
    reports: Reports, figures: SeriesFigures, given: tuple[int | None, int | None], width: int
) -> Sequence[Bucket]:
    span = _span(figures, given)
    return () if span is None else await reports.coverage_buckets(figures.series, *span, width)


async def _map(reports: Reports, figures: SeriesFigures, span: tuple[int, int], width: int) -> SeriesMap:
    (found,) = await reports.maps([figures], *span, least_s=(span[1] - span[0]) / 1000 / width)
    return found


def _shape(figures: SeriesFigures, buckets: Sequence[Bucket]) -> dict[str, object]:
    exchange, symbol, timeframe = figures.series
    return {
        "exchange": exchange, "symbol": symbol, "timeframe": timeframe,
        "buckets": [shapes.bucket(each) for each in buckets],
    }  # fmt: skip


def show_maps(
    maps: Sequence[tuple[SeriesFigures, SeriesMap]], figures: Sequence[SeriesFigures], now_ms: int,
    given: tuple[int | None, int | None], width: int,
) -> None:  # fmt: skip
    if not figures:
        say("no series yet")
        return
    drawn = {each.series: known for each, known in maps}
    screen, longest = console(), max(len(str(each.series)) for each in figures)
    for each in figures:
        text, span, known = Text(f"{each.series!s:<{longest}}  "), _span(each, given), drawn.get(each.series)
        if span is None or known is None:
            screen.print(text.append("nothing answered yet"))
            continue
        text.append(blocks.line(stretches(known, each, Beside(now_ms)), *span, width))
        screen.print(text.append(f"  {words.moment(span[0])} … {words.moment(span[1])}"))
    screen.print(blocks.legend())
