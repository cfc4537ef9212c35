"""``marketd jobs add``: rows of the job table from the command line.

Owns what the options mean. The values are read like an entry of the job file, so that both accept and refuse the same;
every mistake is named at once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from marketd import assembly, words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.jobrules import held, holders, refuse
from marketd.cli.jobwords import SOON
from marketd.cli.options import JOB_TYPE, TIMEFRAME, exchange_option
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop
from marketd.config import Config
from marketd.cron import Crons
from marketd.errors import UsageError
from marketd.jobfields import shown
from marketd.jobfile import Entry
from marketd.jobs import Derive
from marketd.jobset import JobSet, job_set
from marketd.model import Job, JobRow, JobType, Series
from marketd.pauses import next_run_ms
from marketd.store.jobrows import JobRows
from marketd.store.runs import Runs
from marketd.web import shapes

_OPTIONS: Final = {
    "exchange": "--exchange", "symbols": "--symbol", "timeframes": "--timeframe", "job_type": "--type",
    "schedule": "--schedule", "start": "--start", "end": "--end", "catch_up": "--catch-up", "timeout_s": "--timeout",
    "jitter_s": "--jitter", "freshness_s": "--freshness",
}  # fmt: skip
_MOST_NAMES: Final = 12


class Seconds(click.ParamType[object]):
    """A number, or what was written instead of one, which is refused with the other mistakes."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return float(value)
        except ValueError:
            return value


@command("add")
@exchange_option()
@click.option("--symbol", "symbols", multiple=True, metavar="SYMBOL", help="Such as BTCUSD; may be repeated.")
@click.option("--all-symbols", is_flag=True, help="Instead of --symbol: all series that other jobs track.")
@click.option(
    "--timeframe", "timeframes", type=TIMEFRAME, multiple=True, metavar="TF",
    help="Such as 1m, 1h, 1d; may be repeated. Left out: all of `timeframes` in the configuration.",
)  # fmt: skip
@click.option(
    "--type", "job_type", type=JOB_TYPE, required=True, metavar="TYPE", help="continuous, gap_repair or backfill."
)
@click.option("--schedule", metavar="CRON", help="Five cron fields, UTC, such as '*/5 * * * *'.")
@click.option("--start", metavar="TIME", help="History from here: 2024-01-01 or 2024-01-01T00:00:00Z.")
@click.option("--end", metavar="TIME", help="Until when (exclusive).")
@click.option("--catch-up", metavar="[one|none]", help="After a stop, fire once for what was missed, or not at all.")
@click.option("--timeout", "timeout_s", type=Seconds(), help="The longest a run may take.")
@click.option("--jitter", "jitter_s", type=Seconds(), help="A firing starts up to this much later, at most 3600.")
@click.option("--freshness", "freshness_s", type=Seconds(), help="How late a series may be before it counts as late.")
@click.option("--disabled", is_flag=True, help="Write it, and start it later with `marketd jobs enable`.")
@json_option
@pass_app
def add(
    app: App, /, symbols: Sequence[str], timeframes: Sequence[str], all_symbols: bool, disabled: bool, as_json: bool,
    **given: Any,
) -> int:  # fmt: skip
    """Add jobs, one for each symbol and timeframe.

    A job that does what another enabled one does already is refused. `marketd jobs list` shows what there is.

    \b
    Examples:
      marketd jobs add --symbol BTCUSD --timeframe 1m --type continuous --schedule '*/5 * * * *'
      marketd jobs add --symbol BTCUSD --type backfill --start 2024-01-01
      marketd jobs add --all-symbols --type gap_repair --schedule '0 2 * * *'

    Exit codes: 0 done, 1 another job does it already and nothing was added, 2 wrong usage, 77 the database role may
    not.
    """
    config = configured(app)
    raw = {key: value for key, value in given.items() if value is not None}
    wanted = Wanted({**raw, "enabled": not disabled}, tuple(symbols), tuple(timeframes), all_symbols)
    rows = wanted.rows(app.clock.now_ms(), config.derive)
    log_warnings(config)
    ids, jobs = on_loop(_added(config, rows))
    added = [_Added(number, row, jobs, app.clock.now_ms()) for number, row in zip(ids, rows, strict=True)]
    if as_json:
        show_json({"jobs": [each.shape() for each in added]})
        return 0
    for each in added:
        for line in each.lines():
            say(line)
    for note in _notes(rows, jobs):
        talk(f"note: {note}")
    talk(SOON)
    return 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say; ``raw`` with the keys of the job file."""

    raw: Mapping[str, object]
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    all_symbols: bool = False

    def rows(self, now_ms: int, derive: Derive) -> list[JobRow]:
        """One row for each symbol and timeframe; UsageError with every mistake."""
        lists = {"symbols": list(self.symbols), "timeframes": list(self.timeframes)}
        entry = Entry({**self.raw, **{key: names for key, names in lists.items() if names}}, Crons(), "cli")
        rows = entry.rows(now_ms, derive)
        mistakes = [f"{_OPTIONS.get(mistake.key, mistake.key)}: {mistake.said}" for mistake in entry.mistakes]
        mistakes += [*self._repeated(), *self._contradictions()]
        if mistakes:
            mistakes = list(dict.fromkeys(mistakes))
            more = [f"{len(mistakes)} mistakes:"] if len(mistakes) > 1 else []
            raise UsageError("\n  ".join([*more, *mistakes]))
        return rows

    def _repeated(self) -> list[str]:
        return [
            f"{option} {shown(name)} is given {times} times; give it once"
            for option, names in (("--symbol", self.symbols), ("--timeframe", self.timeframes))
            for name, times in Counter(names).items()
            if times > 1
        ]

    def _contradictions(self) -> list[str]:
        mistakes = []
        if self.symbols and self.all_symbols:
            mistakes.append("--all-symbols: --symbol is given too; give one of them")
        if not self.symbols and not self.all_symbols:
            mistakes.append("--symbol is missing; give it, or --all-symbols to mean every series that other jobs track")
        if self.raw.get("job_type") == JobType.CONTINUOUS and "schedule" not in self.raw:
            mistakes.append(
                "--schedule is missing: without one a continuous job is never fired; the usual one is "
                "--schedule '*/5 * * * *'"
            )
        return mistakes


async def _added(config: Config, rows: Sequence[JobRow]) -> tuple[list[int], JobSet]:
    """The ids of the new rows, and the job set that they are now part of."""
    async with assembly.database(config, application="marketd jobs add", size=1) as opened:
        async with JobRows(opened).changing() as change:
            working = holders(await change.enabled(), config.derive)
            refuse([held(row, working[row.slot]) for row in rows if row.slot in working])
            ids = [await change.add(row) for row in rows]
        there = await Runs(opened).enabled_jobs()
    return ids, job_set(there, config.timeframes, config.derive, config.budgets, config.engine.settle_s)


def _notes(rows: Sequence[JobRow], jobs: JobSet) -> list[str]:
    notes = []
    if any(row.job_type is JobType.GAP_REPAIR and row.schedule is None for row in rows):
        notes.append("without --schedule, such as '0 2 * * *', a repair asks for what falls due and audits nothing")
    for asked in jobs.feasibility:
        if not asked.feasible:
            notes.append(f"more is asked than allowed: {asked}; use longer schedules or fewer series")
    return notes


@dataclass(frozen=True, slots=True)
class _Added:
    """A row that was added; ``jobs`` are all that are enabled now."""

    id: int
    row: JobRow
    jobs: JobSet
    now_ms: int

    @property
    def job(self) -> Job | None:
        """As the daemon will see it; None while it is disabled."""
        return self.jobs.jobs.get(self.id)

    @property
    def series(self) -> tuple[Series, ...]:
        return self.jobs.work.get(self.id, ())

    @property
    def next_ms(self) -> int | None:
        return None if self.job is None else next_run_ms(self.job, Crons(), self.now_ms)

    def lines(self) -> list[str]:
        return [f"job {self.id}: {self.row}", f"  works on: {self._work()}", f"  next firing: {self._next()}"]

    def _work(self) -> str:
        if self.job is None:
            return "nothing while it is disabled"
        names = [f"{series.symbol} {series.timeframe}" for series in self.series]
        more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
        return ", ".join([*names[:_MOST_NAMES], *more]) or (
            "nothing now: no other job names a symbol, or each series has a job of its own for this"
        )

    def _next(self) -> str:
        if self.job is None:
            return f"never; `marketd jobs enable {self.id}` starts it"
        if self.next_ms is not None:
            return f"{words.moment(self.next_ms)} UTC"
        if self.job.schedule is not None:
            return "none while it is paused"
        owed = self.row.job_type is JobType.GAP_REPAIR
        return "whenever something is owed" if owed else "at once, until its history is complete"

    def shape(self) -> shapes.Shape:
        return {
            "id": self.id, "exchange": self.row.exchange, "symbol": self.row.symbol, "timeframe": self.row.timeframe,
            "job_type": self.row.job_type.value, "schedule": self.row.schedule, "enabled": self.row.enabled,
            "series": [series._asdict() for series in self.series], "next_run": shapes.iso(self.next_ms),
        }  # fmt: skip
