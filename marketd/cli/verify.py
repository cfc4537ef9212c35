"""``marketd verify``: every promise, held against the tables."""

from datetime import datetime
from functools import partial
from typing import Any, Final

import click

from marketd import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.options import checked_filter, filter_options
from marketd.cli.output import Seldom, say, show_json, talk
from marketd.cli.rebuild import rebuilt, show_rebuilt
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import show_table
from marketd.clock import ms_of
from marketd.config import Config
from marketd.errors import PrivilegeError, StoreError
from marketd.store.oracle import PROMISES, Oracle, Piece
from marketd.verification import EVERYTHING, SAMPLE_S, Finding, Sampling, Verdict, Which, hold

_COLUMNS = ("series", "from", "until", "problem")
_PATIENCE_S: Final = 600.0  # for one statement: pieces are small, but for what others may have put between two


@command("verify")
@filter_options
@click.option(
    "--sample",
    "sample_s",
    type=click.FloatRange(0, 86_400),
    is_flag=False,
    flag_value=SAMPLE_S,
    metavar="[SECONDS]",
    help=f"Look at pieces by chance for so long (default: {SAMPLE_S:.0f} s), instead of at everything.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Choose the same pieces as an earlier sample did.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, help="Rows shown of each finding (default: 20).")
@click.option(
    "--rebuild-ledger",
    "rebuild",
    is_flag=True,
    help="Instead, make the ledger anew from the candles that are there. What was empty is unknown then.",
)
@json_option
@pass_app
def verify(
    app: App, exchange: str | None, symbol: str | None, timeframe: str | None, sample_s: float | None,
    seed: int | None, limit: int, rebuild: bool, as_json: bool,
) -> int:  # fmt: skip
    """Hold every promise against the tables.

    Asks the statements of sql/verify, piece after piece, each in a short snapshot of its own, beside the daemon if it
    runs. A violation means that the tables do not say what is true, and ends with 1; a warning is only worth knowing,
    and ends with 0.

    \b
    Examples:
      marketd verify
      marketd verify --symbol BTCUSD --timeframe 1m --limit 100
      marketd verify --sample 60
      marketd verify --rebuild-ledger        # after a restore of candles without their ledger; stop the daemon first
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, timeframe)
    if seed is not None and sample_s is None:
        raise click.UsageError("--seed chooses a sample: give --sample too")
    log_warnings(config)
    which = Which(exchange, symbol, timeframe)
    if rebuild:
        if sample_s is not None:
            raise click.UsageError("--rebuild-ledger leaves nothing out: give it without --sample")
        show_rebuilt(on_loop(rebuilt(config, app.clock, which)), as_json=as_json)
        return 0
    now_ms = app.clock.now_ms()
    sampling = None if sample_s is None else Sampling(now_ms if seed is None else seed, sample_s)
    verdict = on_loop(_verified(config, now_ms, which, sampling, limit))
    if as_json:
        show_json(_shape(verdict))
    else:
        show_verdict(verdict)
    return 1 if verdict.violations else 0


async def _verified(config: Config, now_ms: int, which: Which, sampling: Sampling | None, limit: int) -> Verdict:
    async with reading(config, "marketd verify", statement_s=_PATIENCE_S) as opened:
        oracle = Oracle(opened)
        verdict = await hold(oracle, now_ms, which=which, sampling=sampling, most=limit, seen=partial(_tell, Seldom()))
        if which == EVERYTHING:
            await _record(oracle, verdict)
    return verdict


async def _record(oracle: Oracle, verdict: Verdict) -> None:
    """Keep the verdict for the daemon's metrics; a role that only reads may look all the same."""
    try:
        await oracle.record(verdict.summary)
    except (PrivilegeError, StoreError) as error:
        talk(f"the result is not kept for the metrics: {error}")


def _tell(seldom: Seldom, piece: Piece, done: int, known: int) -> None:
    seldom(f"{piece.series or piece.kind}, {done} of {known} pieces")


def show_verdict(verdict: Verdict) -> None:
    for finding in verdict.findings:
        _show(finding)
    over = f"{len(PROMISES)} statements over {_extent(verdict)}, {verdict.seconds:.1f} s"
    if verdict.violations:
        say(f"{words.plural(sum(each.total for each in verdict.violations), 'violation')}: {over}")
    elif verdict.warnings:
        say(f"no violation, {words.plural(sum(each.total for each in verdict.warnings), 'warning')}: {over}")
    else:
        say(f"clean: {over}")


def _extent(verdict: Verdict) -> str:
    totals = verdict.totals
    everything = f"{words.plural(totals.stored, 'stored candle')} and {words.plural(totals.open_gaps, 'open gap')}"
    if verdict.sampling is None:
        return everything
    share = words.percent(verdict.summary.share)
    return f"{share} ({verdict.pieces} of {verdict.pieces_known} pieces, seed {verdict.sampling.seed}) of {everything}"


def _show(finding: Finding) -> None:
    kind = "VIOLATED" if finding.violation else "warning"
    about = " ".join(finding.query.doc.split())
    say(f"{kind} {finding.query.name}: {about}")
    show_table(_COLUMNS, [_row(row) for row in finding.rows])
    if finding.total > len(finding.rows):
        talk(f"{words.count(finding.total)} rows in all; --limit shows more")


def _row(row: Any) -> tuple[str, ...]:
    names = " ".join(row[key] or "-" for key in ("exchange", "symbol", "timeframe"))
    return (names, _moment(row["start_time"]), _moment(row["end_time"]), row["problem"])


def _moment(value: datetime | None) -> str:
    return words.moment(None if value is None else ms_of(value))


def _shape(verdict: Verdict) -> dict[str, Any]:
    return {
        "clean": not verdict.violations,
        "violations": [_finding(finding) for finding in verdict.violations],
        "warnings": [_finding(finding) for finding in verdict.warnings],
        "statements": len(PROMISES),
        "stored": verdict.totals.stored,
        "open_gaps": verdict.totals.open_gaps,
        "sample": verdict.sampling is not None,
        "seed": None if verdict.sampling is None else verdict.sampling.seed,
        "pieces": verdict.pieces,
        "pieces_known": verdict.pieces_known,
        "seconds": round(verdict.seconds, 3),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.query.name,
        "about": " ".join(finding.query.doc.split()),
        "total": finding.total,
        "rows": [{key: _plain(value) for key, value in row.items()} for row in finding.rows],
    }


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
