"""``marketd plan``: what a backfill would cost, before it is given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from marketd import assembly, derive, planner, words
from marketd.blocks import union
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.options import Selection, range_options, selected, series_options, wait_option
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import show_table
from marketd.clock import at
from marketd.config import Config
from marketd.exchanges import exchange as exchange_called
from marketd.exchanges.facts import Exchange, Oldest, Paging
from marketd.fetcher import Asking
from marketd.model import Claim, Series
from marketd.planner import BYTES_A_CANDLE, Estimate
from marketd.ports import Events, Facts, Progress
from marketd.ranges import NOTHING, Ranges
from marketd.store.series import SeriesReader
from marketd.transport import Transport

_DAY_MS = 86_400_000
_FINER_STEPS = 2  # an hour within the day, and what is meant within the hour
_COLUMNS = ("series", "unknown", "requests at most", "candles at most", "disk at most", "time", "note")


@dataclass(frozen=True, slots=True)
class Planned:
    """One series of a plan; ``estimate`` is None where nothing can be said."""

    series: Series
    estimate: Estimate | None
    note: str = ""

    def shape(self) -> dict[str, Any]:
        known = self.estimate
        return {
            "exchange": self.series.exchange, "symbol": self.series.symbol, "timeframe": self.series.timeframe,
            "unknown_intervals": None if known is None else known.intervals,
            "requests_at_most": None if known is None else known.requests,
            "candles_at_most": None if known is None else known.intervals,
            "disk_bytes_at_most": None if known is None else known.disk_bytes,
            "seconds": None if known is None else round(known.seconds, 1), "note": self.note or None,
        }  # fmt: skip


@command("plan")
@series_options(symbol_required=True)
@range_options
@click.option("--ask", is_flag=True, help="Look up first candles that are not known yet: one request a series.")
@wait_option
@json_option
@pass_app
def plan(
    app: App, exchange: str, symbols: Sequence[str], timeframes: Sequence[str], start_ms: int | None,
    end_ms: int | None, ask: bool, no_wait: bool, as_json: bool,
) -> int:  # fmt: skip
    """What a backfill with the same options would cost, before it is given.

    All figures are upper bounds: in many intervals nothing is traded, and those cost neither a row nor a request. The
    time is what the budget of the exchange makes of the requests. Sends nothing to the exchange unless --ask.

    \b
    Examples:
      marketd plan --symbol BTCUSD --timeframe 1m --start 2024-01-01
      marketd plan --symbol BTCUSD --ask --json
    """
    config = configured(app)
    chosen = selected(config, exchange, symbols, timeframes, start_ms, end_ms)
    log_warnings(config)
    planned = on_loop(_asked(app, config, chosen, wait=not no_wait) if ask else _planned(app, config, chosen))
    if as_json:
        show_json({"series": [each.shape() for each in planned], "total": _total_shape(config, chosen, planned)})
        return 0
    show_table(_COLUMNS, [_row(each) for each in planned], right=_COLUMNS[1:6], optional=("note",))
    say(_total(config, chosen, planned))
    return 0


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a plan is made from."""

    config: Config
    reader: SeriesReader
    chosen: Selection
    now_ms: int

    async def all(self) -> list[Planned]:
        """A line for each series that is asked for, and one for each that is built."""
        links = {series: await self._links(series) for series in self.chosen.series}
        roots = dict.fromkeys(series._replace(timeframe=chain[-1]) for series, chain in links.items())
        built = [series for series, chain in links.items() if len(chain) > 1]
        return [
            *[await self.native(root, wanted=root in self.chosen.series) for root in roots],
            *[await self.derived(series, links[series][1]) for series in built],
        ]

    async def _links(self, series: Series) -> Sequence[str]:
        """The timeframe and what it is built from, down to what the exchange sends."""
        configured_links = dict(self.config.derive[series.exchange])
        facts = await self.reader.facts(series)
        if facts is not None and facts.derived_from is not None:
            configured_links[series.timeframe] = facts.derived_from
        return [series.timeframe, *derive.parents_of(series.timeframe, configured_links)]

    async def native(self, series: Series, *, wanted: bool) -> Planned:
        facts = await self.reader.facts(series) or Facts()
        note = "" if wanted else "others are built from it"
        if facts.first is None and self.chosen.start_ms is None:
            return Planned(series, None, "first candle unknown: give --start, or --ask looks it up")
        if facts.first is None:
            note = "first candle unknown: from --start"
        unknown = await self._unknown(series, facts)
        remaining = unknown & self._served(series)
        notes = [note, *self._notes(series, remaining, unknown - remaining)]
        return Planned(series, self._estimate(series, facts, remaining), "; ".join(filter(None, notes)))

    def _notes(self, series: Series, remaining: Ranges, unserved: Ranges) -> Iterator[str]:
        """What the figures do not tell."""
        exchange = exchange_called(series.exchange)
        if remaining and exchange.paging is Paging.RECENT and exchange.reach is None:
            yield "how far back it is served shows with the first page"
        if remaining and self.config.archive_url_of(series.exchange) is not None:
            yield "whole months may come from the archive, without requests"
        if unserved:
            before = at(series.frame.open_ms(unserved.end)).strftime("%Y-%m-%d %H:%M")
            yield f"{words.plural(unserved.size, 'interval')} before {before} are not served"

    def _served(self, series: Series) -> Ranges:
        return planner.served(_closed_end(series, self.now_ms), exchange_called(series.exchange).reach)

    def _estimate(self, series: Series, facts: Facts, remaining: Ranges) -> Estimate:
        exchange, page = exchange_called(series.exchange), self.config.page_limits_of(series.exchange)[0]
        frame = series.frame
        asked = exchange.candles_request(
            series.symbol, series.timeframe, frame.open_ms(0), frame.open_ms(page - planner.ANCHORS), False, page
        )
        lookups = 0 if exchange.counted else 1  # where pages are filled, one more says that there are no more
        if facts.first is None:
            lookups += _lookups(exchange, page, self.now_ms)
        return planner.estimate(
            series, remaining, page=page - planner.ANCHORS, lookups=lookups, weight=asked.weight,
            per_minute=self.config.requests_per_minute_of(series.exchange),
        )  # fmt: skip

    async def _unknown(self, series: Series, facts: Facts) -> Ranges:
        wanted = _wanted(series, facts, self.chosen, self.now_ms)
        if not wanted:
            return wanted
        span = (wanted.start, wanted.end)
        gaps = union(gap.missing for gap in await self.reader.open_gaps(series, span))
        return planner.backfill(wanted=wanted, answered=await self.reader.answered(series, span), gaps=gaps)

    async def derived(self, series: Series, parent: str) -> Planned:
        """Costs no request; its candles are as many as its parent's history allows."""
        note = f"built from {parent}"
        facts = await self.reader.facts(series) or Facts()
        known = await self.reader.facts(series._replace(timeframe=parent)) or Facts()
        first = known.first
        if first is not None:
            first = series.frame.number(series._replace(timeframe=parent).frame.open_ms(first))
        wanted = _wanted(series, Facts(first=first, retired=facts.retired), self.chosen, self.now_ms)
        if not wanted:
            unsaid = first is None and self.chosen.start_ms is None
            return Planned(series, None if unsaid else Estimate(series, 0, 0, 0, 0), note)
        span = (wanted.start, wanted.end)
        left = (wanted - (await self.reader.answered(series, span) if facts.answered_end else NOTHING)).size
        return Planned(series, Estimate(series, left, 0, 0, left * BYTES_A_CANDLE), note)


def _lookups(exchange: Exchange, page: int, now_ms: int) -> int:
    """Requests, at most, that find the first candle of a series."""
    if isinstance(exchange.first, Oldest):
        return 1
    days = -(-(now_ms - exchange.first.since_ms) // _DAY_MS)
    return -(-days // page) * (2 if exchange.first.twice else 1) + _FINER_STEPS


def _closed_end(series: Series, now_ms: int) -> int:
    return series.frame.closed_end(now_ms - int(exchange_called(series.exchange).grace_s * 1000))


def _wanted(series: Series, facts: Facts, chosen: Selection, now_ms: int) -> Ranges:
    frame = series.frame
    return planner.wanted(
        start=None if chosen.start_ms is None else frame.ceiling(chosen.start_ms),
        end=None if chosen.end_ms is None else frame.closed_end(chosen.end_ms),
        first=facts.first,
        closed_end=_closed_end(series, now_ms),
        retired=facts.retired,
    )


async def _planned(app: App, config: Config, chosen: Selection) -> list[Planned]:
    async with reading(config, "marketd plan") as opened:
        return await _Desk(config, SeriesReader(opened), chosen, app.clock.now_ms()).all()


async def _asked(app: App, config: Config, chosen: Selection, *, wait: bool) -> list[Planned]:
    """First candles looked up under the lease, as every request is."""
    async with assembly.database(config, application="marketd plan") as opened:
        leases = assembly.leases_of(opened, "command")
        lease = await assembly.patient_lease(chosen.exchange, opened, wait=wait, tell=talk)
        async with (
            Transport(app.clock) as transport,
            assembly.lane(
                chosen.exchange, config, assembly.Books.of(opened), transport, app.clock, Events(), Progress(),
                leases=leases, lease=lease,
            ) as lane,
        ):  # fmt: skip
            for series in chosen.series:
                await lane.runner.prepare(series, Asking(lane.fetcher, Claim.ORDER))
            return await _Desk(config, SeriesReader(opened), chosen, lane.fetcher.now_ms()).all()


def _sums(config: Config, chosen: Selection, planned: Sequence[Planned]) -> Mapping[str, float]:
    known = [each.estimate for each in planned if each.estimate is not None]
    requests, per_minute = sum(each.requests for each in known), config.requests_per_minute_of(chosen.exchange)
    if requests:  # the list of symbols, which tells the exchange's time
        requests += len(exchange_called(chosen.exchange).symbols_requests())
    return {
        "requests_at_most": requests,
        "candles_at_most": sum(each.intervals for each in known),
        "disk_bytes_at_most": sum(each.disk_bytes for each in known),
        "seconds": sum(each.seconds for each in known) + 60 * len(known) / per_minute if requests else 0,
    }


def _total(config: Config, chosen: Selection, planned: Sequence[Planned]) -> str:
    sums = _sums(config, chosen, planned)
    budget = config.requests_per_minute_of(chosen.exchange)
    unsure = "" if all(each.estimate for each in planned) else ", besides what is not known"
    return (
        f"in all at most {words.plural(int(sums['requests_at_most']), 'request')}, "
        f"{words.plural(int(sums['candles_at_most']), 'candle')}, {words.size(sums['disk_bytes_at_most'])}, "
        f"{words.duration(sums['seconds'])} at {budget:g} requests a minute{unsure}"
    )


def _total_shape(config: Config, chosen: Selection, planned: Sequence[Planned]) -> dict[str, Any]:
    sums = _sums(config, chosen, planned)
    return {**sums, "seconds": round(sums["seconds"], 1), "complete": all(each.estimate for each in planned)}


def _row(each: Planned) -> tuple[str, ...]:
    known = each.estimate
    if known is None:
        return (str(each.series), "?", "?", "?", "?", "?", each.note)
    return (
        str(each.series), words.count(known.intervals), words.count(known.requests),
        words.count(known.intervals), words.size(known.disk_bytes), words.duration(known.seconds), each.note,
    )  # fmt: skip
