"""The boards below the map: what requests were for, what is being filled, the jobs, the last reload.

Owns their words and marks. Pure: figures and a status in, records for the templates out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from marketd import words
from marketd.figures import JobFigures
from marketd.fillings import Filling
from marketd.model import Claim, RunStatus, Series
from marketd.web.status import ExchangeStatus, JobStatus, Status

_BACKFILL_REQUESTS: Final = 3  # less is a live run or a repair
_CLAIMS: Final = {
    Claim.CONTINUOUS: "live", Claim.ORDER: "orders", Claim.GAP_REPAIR: "repair", Claim.BACKFILL: "backfill",
    Claim.RECHECK: "recheck",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Share:
    """Part of a minute's requests: ``width`` is of 100."""

    name: str
    count: int
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Budget:
    name: str
    state: str
    well: bool
    shares: Sequence[Share]
    free: int
    allowed: str
    needs: str


@dataclass(frozen=True, slots=True)
class Backfill:
    series: Series
    share: float
    done: str
    rate: str
    left: str


@dataclass(frozen=True, slots=True)
class JobRow:
    id: int
    what: str
    schedule: str
    last: str
    failed: bool
    noted: bool
    next: str
    state: str


def filling(status: Status) -> Mapping[Series, Filling]:
    """What is being filled now; a live run is no backfill."""
    return {one: each for one, each in status.fillings().items() if each.requests >= _BACKFILL_REQUESTS}


def budgets(status: Status) -> Sequence[Budget]:
    needs = {each.exchange: each for each in status.feasibility()}
    found: list[Budget] = []
    for each in status.exchanges():
        need = needs.get(each.name)
        said = ""
        if need is not None:
            verdict = "which fits" if need.feasible else "which cannot be kept fresh"
            said = f"live jobs need {need.needed_per_minute:.1f} of {need.budget_per_minute:g} a minute, {verdict}"
        shares, left = list[Share](), 0.0
        for claim, name in _CLAIMS.items():
            count = each.used.get(claim, 0)
            width = min(100 - left, count / max(each.budget_per_minute, 1e-9) * 100)
            shares.append(Share(name, count, left, width))
            left += width
        free = max(0, int(each.budget_per_minute - each.used_last_minute))
        found.append(
            Budget(each.name, state(each), each.state == "ok", shares, free, f"{each.budget_per_minute:g}", said)
        )
    return found


def state(each: ExchangeStatus) -> str:
    until = "" if each.until_ms is None else f" until {words.moment(each.until_ms)}"
    return {
        "ok": "answers", "cooling": f"has asked for silence{until}",
        "open": f"is out of reach, and is left alone{until}",
    }[each.state]  # fmt: skip


def backfill(series: Series, filling: Filling) -> Backfill:
    reading = filling.reading
    done = filling.requests - reading.requests_left
    return Backfill(
        series,
        share=reading.share * 100,
        done=f"{words.count(done)} of {words.plural(filling.requests, 'request')}",
        rate=f"{words.count(round(reading.rate))} candles/s",
        left="-" if reading.left_s is None else words.duration(reading.left_s),
    )


def job(each: JobFigures, alive: JobStatus | None, now_ms: int) -> JobRow:
    """``alive`` is what the daemon knows of it, None where it does not."""
    run = each.last_run
    what = f"{each.job_type.value.replace('_', ' ')} {each.exchange} {each.symbol or '*'} {each.timeframe or '*'}"
    running = each.running or (alive is not None and alive.running)
    until = "" if each.paused_until_ms is None else f" until {words.moment(each.paused_until_ms)}"
    state = "runs now" if running else f"paused{until}" if each.paused else each.last_error or each.status or ""
    failed = run is not None and run.status in (RunStatus.FAILED, RunStatus.PARTIAL)
    return JobRow(
        each.id, what, each.schedule or "",
        last="never" if run is None else f"{run.status.value} {words.moment(run.completed_ms or run.started_ms)}",
        failed=failed,
        noted=failed or each.paused or each.last_error is not None,
        next=words.soon(None if alive is None else alive.next_run_ms, now_ms),
        state=state,
    )  # fmt: skip


def reload(status: Status) -> str:
    found = status.reloaded()
    if found is None:
        return "Not reloaded since the start."
    changes = found["changes"]
    said = [one for sentences in (changes.values() if isinstance(changes, Mapping) else ()) for one in sentences]
    what = "; ".join(said[:8]) or str(found["reason"] or "nothing has changed")
    return f"Reload {found['number']}, {str(found['at'])[:16].replace('T', ' ')}: {found['outcome']}: {what}"
