"""``marketd top``: what the daemon does right now, in a terminal."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import click
from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from marketd import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.output import show_json
from marketd.cli.start import configured, on_loop
from marketd.cli.tables import console
from marketd.errors import Unreachable
from marketd.web import shapes

_WORST: Final = 12
_LATEST_RUNS: Final = 6
_SERIES: Final = 1000
_CLAIMS: Final = ("continuous", "order", "gap_repair", "backfill", "recheck")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the port says of the whole, and of the jobs."""

    whole: Mapping[str, Any]
    jobs: Sequence[Mapping[str, Any]]


@command("top")
@click.option("--url", metavar="URL", help="Where the daemon listens; else [http] listen. May hold name and password.")
@click.option("--every", type=click.FloatRange(0.5, 3600), default=2.0, help="Seconds between two looks (default: 2).")
@json_option
@pass_app
def top(app: App, url: str | None, every: float, as_json: bool) -> int:
    """Watch the daemon: freshness, budgets, backfills and runs, until Ctrl-C.

    It asks the daemon's own port. Where standard output is no terminal, and with --json, it looks once and ends.

    \b
    Examples:
      marketd top
      marketd top --url https://reader:secret@candles.example.org:8000
      marketd top --json | jq .backfills
    """
    address = url or f"http://{configured(app).http.listen}"
    return on_loop(_watch(address, every, as_json=as_json))


async def _watch(address: str, every_s: float, *, as_json: bool) -> int:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        seen = await look(http, address)
        if as_json:
            show_json(dict(seen.whole))
            return 0
        screen = console()
        if not sys.stdout.isatty():
            screen.print(drawn(seen))
            return 0
        with Live(drawn(seen), console=screen, screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(every_s)
                try:
                    live.update(drawn(await look(http, address)), refresh=True)
                except Unreachable as error:
                    live.update(Text(f"{error}; it is asked again", style="bold red"), refresh=True)


async def look(http: aiohttp.ClientSession, address: str) -> Seen:
    """What the port at ``address`` says now. Unreachable where nothing answers."""
    return Seen(
        await _read(http, f"{address}/ingestion/status?limit={_SERIES}"),
        (await _read(http, f"{address}/jobs?limit={_SERIES}"))["jobs"],
    )


async def _read(http: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    try:
        async with http.get(url) as reply:
            if reply.status != 200:
                raise Unreachable(f"the daemon answered HTTP {reply.status}")
            found: Mapping[str, Any] = await reply.json()
            return found
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable("no daemon answers there: is `marketd run` up, and is [http] listen its address?") from error


def drawn(seen: Seen) -> RenderableType:
    """One look as it is shown."""
    whole = seen.whole
    parts: list[RenderableType] = [_summary(whole), Text()]
    parts += [_exchanges(whole["exchanges"], seen.jobs), Text()]
    if whole["backfills"]:
        parts += [_backfills(whole["backfills"]), Text()]
    parts.append(_series(whole["series"]))
    if done := [(each["last_run"], each) for each in seen.jobs if each["last_run"] is not None]:
        parts += [Text(), _runs(done)]
    return Group(*parts)


def _bar(whole: float, done: float) -> ProgressBar:
    return ProgressBar(whole, done, width=24, complete_style="blue", finished_style="blue")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _summary(whole: Mapping[str, Any]) -> Text:
    if not whole["db_ok"]:
        return Text("the database is out of reach", style="bold red")
    series = whole["series"]
    late = sum(_is_late(each) for each in series)
    gaps = sum(each["open_gaps"] for each in series)
    day = whole["runs_24h"]
    text = Text(f"{words.plural(len(series), 'series')}: ").append(
        f"{late} late" if late else "all fresh", style="bold red" if late else "green"
    )
    text.append(", ").append(f"{gaps} open gaps" if gaps else "no holes", style="bold red" if gaps else "green")
    return text.append(f"   runs in 24 h: {day['total']}, {day['failed']} failed, {day['running']} under way")


def _exchanges(found: Sequence[Mapping[str, Any]], jobs: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("exchange", "last minute", "", "used for", "state", "under way")
    for each in found:
        allowed, used = each["budget_per_minute"], each["used_last_minute"]
        spent = ", ".join(
            f"{name.replace('_', ' ')} {each['used'][name]}" for name in _CLAIMS if each["used"].get(name)
        )
        state = each["state"] if each["until"] is None else f"{each['state']} until {each['until'][11:16]}"
        table.add_row(
            each["name"], _bar(max(allowed, 1), min(used, allowed)), f"{used} of {allowed:g}", spent,
            Text(state, style="green" if each["state"] == "ok" else "bold red"),
            _under_way([_what(job) for job in jobs if job["running"] and job["exchange"] == each["name"]]),
        )  # fmt: skip
    return table


def _under_way(running: Sequence[str]) -> str:
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"{running[0]}{more}" if running else "-"


def _what(job: Mapping[str, Any]) -> str:
    return f"{job['job_type'].replace('_', ' ')} {job['symbol'] or '*'} {job['timeframe'] or '*'}"


def _backfills(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("backfill", "", "", "requests left", "rate", "left")
    for each in found:
        table.add_row(
            f"{each['exchange']} {each['symbol']} {each['timeframe']}", _bar(1, each["share"]),
            f"{each['share']:.0%}", words.count(each["requests_left"]), f"{words.count(round(each['rate']))} candles/s",
            words.duration(each["seconds_left"]),
        )  # fmt: skip
    return table


def _series(found: Sequence[Mapping[str, Any]]) -> Table:
    """Those that need attention first."""
    table = _table("series", "behind", "allowed", "complete", "open gaps")
    order = sorted(found, key=lambda each: (not _is_late(each), -each["open_gaps"], -(each["lag_seconds"] or 0)))
    for each in order[:_WORST]:
        late, gaps = _is_late(each), each["open_gaps"]
        table.add_row(
            f"{each['exchange']} {each['symbol']} {each['timeframe']}",
            Text(words.duration(each["lag_seconds"]), style="bold red" if late else ""),
            words.duration(each["freshness_objective_seconds"]), words.percent(each["completeness_ratio"]),
            Text(str(gaps), style="bold red" if gaps else ""),
        )  # fmt: skip
    if len(found) > _WORST:
        table.add_row(Text(f"and {len(found) - _WORST} more", style="dim"))
    return table


def _is_late(each: Mapping[str, Any]) -> bool:
    return shapes.Lag(each["lag_seconds"], each["freshness_objective_seconds"]).late


def _runs(done: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Table:
    """The newest ones, each with its job."""
    table = _table("run", "job", "status", "stored", "error")
    for run, job in sorted(done, key=lambda pair: pair[0]["id"], reverse=True)[:_LATEST_RUNS]:
        table.add_row(
            str(run["id"]), f"{job['exchange']} {_what(job)}",
            Text(run["status"], style={"success": "green", "failed": "bold red"}.get(run["status"], "yellow")),
            words.count(run["candles_inserted"]), (run["error_message"] or "")[:80],
        )  # fmt: skip
    return table
