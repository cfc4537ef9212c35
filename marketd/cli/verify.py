"""``marketd verify``: every promise, held against the tables."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from marketd.cli import words
from marketd.cli.app import App, command, json_option, pass_app
from marketd.cli.options import checked_filter, filter_options
from marketd.cli.output import say, show_json, talk
from marketd.cli.start import configured, log_warnings, on_loop, reading
from marketd.cli.tables import show_table
from marketd.clock import ms_of
from marketd.config import Config
from marketd.figures import Totals
from marketd.store.oracle import PATIENCE_S, Finding, Oracle, Which, snapshot
from marketd.store.session import Database

_COLUMNS = ("series", "from", "until", "problem")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, over how much, in how many seconds."""

    findings: tuple[Finding, ...]
    totals: Totals
    statements: int
    seconds: float

    @property
    def violations(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.violation)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.violation)


@command("verify")
@filter_options
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, help="Rows shown of each finding (default: 20).")
@json_option
@pass_app
def verify(app: App, exchange: str | None, symbol: str | None, timeframe: str | None, limit: int, as_json: bool) -> int:
    """Hold every promise against the tables.

    Runs the statements of sql/verify in one snapshot, beside the daemon if it runs. They read every candle. A violation
    means that the tables do not say what is true, and ends with 1; a warning is only worth knowing, and ends with 0.

    \b
    Examples:
      marketd verify
      marketd verify --symbol BTCUSD --timeframe 1m --limit 100
    """
    config = configured(app)
    checked_filter(config, exchange, symbol, timeframe)
    log_warnings(config)
    verdict = on_loop(_verified(config, Which(exchange, symbol, timeframe), limit))
    if as_json:
        show_json(_shape(verdict))
    else:
        show_verdict(verdict)
    return 1 if verdict.violations else 0


async def _verified(config: Config, which: Which, limit: int) -> Verdict:
    async with reading(config, "marketd verify", statement_s=PATIENCE_S) as opened:
        return await examine(opened, which, limit)


async def examine(opened: Database, which: Which, limit: int = 20) -> Verdict:
    """Ask every statement of the oracle."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    async with snapshot(opened) as oracle:
        statements = Oracle.statements()
        findings = [await oracle.ask(query, which, limit) for query in statements]
        totals = await oracle.totals()
    return Verdict(tuple(each for each in findings if each.total), totals, len(statements), now_s() - began_s)


def show_verdict(verdict: Verdict) -> None:
    for finding in verdict.findings:
        _show(finding)
    over = (
        f"{verdict.statements} statements over {words.plural(verdict.totals.stored, 'stored candle')} and "
        f"{words.plural(verdict.totals.open_gaps, 'open gap')}, {verdict.seconds:.1f} s"
    )
    if verdict.violations:
        say(f"{words.plural(sum(each.total for each in verdict.violations), 'violation')}: {over}")
    elif verdict.warnings:
        say(f"no violation, {words.plural(sum(each.total for each in verdict.warnings), 'warning')}: {over}")
    else:
        say(f"clean: {over}")


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
        "statements": verdict.statements,
        "stored": verdict.totals.stored,
        "open_gaps": verdict.totals.open_gaps,
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
