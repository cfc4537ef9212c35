"""What the status page at ``/`` says.

Owns the order of the series (who needs attention comes first), and how figures become words and marks. Pure: figures
in, records for the templates out. Refuses to ask anybody, and to write HTML but for the drawings (see ``chart``).
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from marketd import coverage, words
from marketd.coverage import Beside, Stretch
from marketd.figures import Answered, JobFigures, Missing, SeriesFigures, SeriesMap
from marketd.fillings import Filling
from marketd.model import JobType, RunStatus, Series
from marketd.web import axis, boards, chart, health, shapes
from marketd.web.status import JobStatus, Status

DAY_MS: Final = 86_400_000
SPANS: Final[Mapping[str, int]] = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS, "year": 365 * DAY_MS}
ALL: Final = "all"
DEFAULT_SPAN: Final = "week"
PAGE: Final = 500
JOBS: Final = 200
COLUMNS: Final = 600
"""A silence that is shorter than this part of the map is not told."""

_RECENT_MS: Final = 120_000


@dataclass(frozen=True, slots=True)
class Given:
    """What the reader has chosen."""

    span: str = DEFAULT_SPAN
    exchange: str | None = None
    text: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says: of all series that are chosen, and in full of those on this page.

    ``window`` is the stretch of time of the ``maps``, in ms.
    """

    ranked: Sequence[Series]
    late: Mapping[Series, float]
    owed: Mapping[Series, Missing]
    open_gaps: int
    figures: Sequence[SeriesFigures]
    window: tuple[int, int]
    maps: Sequence[SeriesMap]
    jobs: Sequence[JobFigures]


@dataclass(frozen=True, slots=True)
class Card:
    """An answer to one of the three questions; ``mark`` is ``good``, ``bad`` or ``busy``."""

    question: str
    mark: str
    said: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    series: Series
    drawing: str
    complete: str
    mark: str
    lag: str
    late: bool
    holes: str
    next_run: str


@dataclass(frozen=True, slots=True)
class Overview:
    given: Given
    cards: Sequence[Card]
    end_ms: int
    ticks: Sequence[tuple[float, str]]
    rows: Sequence[Row]
    pages: int
    outages: Sequence[str]
    exchanges: Sequence[str]
    budgets: Sequence[boards.Budget]
    backfills: Sequence[boards.Backfill]
    jobs: Sequence[boards.JobRow]
    reload: str


def ranked(
    answered: Collection[Answered], owed: Mapping[Series, Missing], status: Status, given: Given
) -> tuple[Sequence[Series], Mapping[Series, float]]:
    """Who needs attention first: late ones by how much, then those with holes, then the others by name.

    Besides, by how many seconds each late one is behind; infinite where nothing was ever answered.
    """
    known = {entry.series for entry in answered} | set(status.tracked())
    chosen = [one for one in known if _is_chosen(one, given)]
    behind = health.late(status, answered)
    late = {one: behind[one] for one in chosen if one in behind and one.symbol not in status.resting(one.exchange)}
    order = sorted(chosen, key=lambda one: (-late.get(one, 0), -owed[one].total if one in owed else 0, one))
    return order, late


def _is_chosen(series: Series, given: Given) -> bool:
    return given.exchange in (None, series.exchange) and given.text.upper() in series.symbol.upper()


def window(given: Given, figures: Iterable[SeriesFigures], now_ms: int) -> tuple[int, int]:
    """The stretch of time that the map shows."""
    if given.span in SPANS:
        return now_ms - SPANS[given.span], now_ms
    begins = [ms for each in figures for ms in (each.wanted_from_ms, each.answered_from_ms, each.first_ms) if ms]
    return min(begins, default=now_ms - DAY_MS), now_ms


def overview(found: Found, status: Status, given: Given) -> Overview:
    start_ms, end_ms = found.window
    fillings = boards.filling(status)
    drawn = [
        coverage.stretches(known, figures, _beside(figures.series, status, fillings))
        for known, figures in zip(found.maps, found.figures, strict=True)
    ]
    outages = _outages(found.figures, drawn, (end_ms - start_ms) // COLUMNS)
    alive = status.jobs()
    rows = [
        _row(
            figures, chart.row(stretches, start_ms, end_ms, outages.get(figures.series.exchange, ())), status,
            alive, seen=bool(known.gaps),
        )
        for figures, known, stretches in zip(found.figures, found.maps, drawn, strict=True)
    ]  # fmt: skip
    return Overview(
        given=given,
        cards=(_fresh(found, status), _whole(found), _filled(found, status, fillings)),
        end_ms=end_ms,
        ticks=axis.marks(start_ms, end_ms),
        rows=rows,
        pages=max(1, -(-len(found.ranked) // PAGE)),
        outages=[_lacks(name, *span, status.now_ms()) for name, spans in outages.items() for span in spans],
        exchanges=sorted({each.name for each in status.exchanges()}),
        budgets=boards.budgets(status),
        backfills=[boards.backfill(one, each) for one, each in sorted(fillings.items())],
        jobs=[boards.job(each, alive.get(each.id), status.now_ms()) for each in found.jobs],
        reload=boards.reload(status),
    )  # fmt: skip


# The three questions


def _fresh(found: Found, status: Status) -> Card:
    question, followed = "Is everything fresh?", sum(one in status.objectives() for one in found.ranked)
    if not followed:
        return Card(question, "bad", "Nothing is followed", "No continuous job keeps any of these series fresh.")
    if not found.late:
        return Card(question, "good", "Yes", f"{_all(followed)} within the time they are allowed to be behind.")
    worst = max(found.late, key=lambda one: (found.late[one], one))
    behind = (
        "was never answered"
        if found.late[worst] == math.inf
        else (
            f"is {words.duration(found.late[worst])} behind, {words.duration(status.objectives()[worst])} are allowed"
        )
    )
    away = [each for each in status.exchanges() if each.state != "ok"]
    why = f" {away[0].name} {boards.state(away[0])}." if away else ""
    return Card(question, "bad", f"No: {len(found.late)} of {followed} series are late", f"{worst} {behind}.{why}")


def _all(count: int) -> str:
    return "The one followed series is" if count == 1 else f"All {words.count(count)} followed series are"


def _whole(found: Found) -> Card:
    question, holed = "Are there holes?", [one for one in found.ranked if one in found.owed]
    by_cause = Counter[str]()
    for one in holed:
        by_cause.update({cause.value.replace("_", " "): n for cause, n in found.owed[one].by_cause().items() if n})
    if by_cause:
        causes = ", ".join(f"{words.count(count)} {cause}" for cause, count in by_cause.most_common())
        gaps = words.plural(found.open_gaps, "open gap")
        return Card(question, "bad", f"Yes: {gaps}", f"Candles owed, in {len(holed)} of the series: {causes}.")
    return Card(question, "good", "No", "Every interval that was asked for is stored, or known to be without a trade.")


def _filled(found: Found, status: Status, fillings: Mapping[Series, Filling]) -> Card:
    question = "When will the backfill be done?"
    unknown = sum(
        each.unknown - coverage.never_to_come(each, _beside(each.series, status, fillings)) for each in found.figures
    )
    if fillings:
        left = [each.reading.left_s for each in fillings.values()]
        known = [seconds for seconds in left if seconds is not None]
        said = f"In about {words.duration(max(known))}" if len(known) == len(left) else "It has only just begun"
        share = sum(each.reading.share for each in fillings.values()) / len(fillings)
        many = "1 series is" if len(fillings) == 1 else f"{len(fillings)} series are"
        more = f"{many} being filled, {share:.0%} done; {words.count(unknown)} candles are still to come."
        return Card(question, "busy", said, more)
    if unknown:
        why = _why_waiting(found, status)
        return Card(question, "busy", "It waits", f"{words.count(unknown)} candles are still to be asked for. {why}")
    return Card(question, "good", "It is done", "All wanted history has been asked for.")


def _why_waiting(found: Found, status: Status) -> str:
    """The first reason that is to be seen."""
    owing = {each.series.exchange for each in found.figures if each.unknown}
    for each in status.exchanges():
        if each.name in owing and each.state != "ok":
            return f"{each.name} {boards.state(each)}."
    backfills = [job for job in found.jobs if job.job_type is JobType.BACKFILL and job.exchange in owing]
    for job in backfills:
        if job.paused:
            return f"Job {job.id} is paused."
        if job.last_run is not None and job.last_run.status in (RunStatus.FAILED, RunStatus.PARTIAL):
            return f"Job {job.id} ended {job.last_run.status.value} and is tried again."
    if not backfills and len(found.jobs) < JOBS:
        return "No job asks for them: `marketd backfill`, or `marketd jobs add --type backfill`."
    return ""


# The map


def stretches_of(known: SeriesMap, figures: SeriesFigures, status: Status) -> tuple[Stretch, ...]:
    return coverage.stretches(known, figures, _beside(figures.series, status, boards.filling(status)))


def _beside(series: Series, status: Status, fillings: Mapping[Series, Filling]) -> Beside:
    return Beside(
        status.exchange_now_ms(series.exchange), status.reach(series), filling=series in fillings,
        resting=series.symbol in status.resting(series.exchange),
    )  # fmt: skip


def _outages(
    figures: Sequence[SeriesFigures], drawn: Sequence[Sequence[Stretch]], least_ms: int
) -> Mapping[str, Sequence[tuple[int, int]]]:
    """By exchange, when all of its series of the finest timeframe here lacked something at once."""
    found: dict[str, Sequence[tuple[int, int]]] = {}
    for name in dict.fromkeys(each.series.exchange for each in figures):
        own = [(each, row) for each, row in zip(figures, drawn, strict=True) if each.series.exchange == name]
        finest = min(each.series.frame.typical_s for each, _ in own)  # an hour lacks nothing before it is over
        rows = [row for each, row in own if each.series.frame.typical_s == finest]
        if spans := coverage.shared(rows, max(least_ms, 1)):
            found[name] = spans
    return found


def _lacks(name: str, start_ms: int, end_ms: int, now_ms: int) -> str:
    if now_ms - end_ms < _RECENT_MS:
        return f"No series of {name} has anything since {words.moment(start_ms)}."
    return f"All series of {name} lack {words.moment(start_ms)} to {words.moment(end_ms)}."


def _row(
    figures: SeriesFigures, drawing: str, status: Status, alive: Mapping[int, JobStatus], *, seen: bool
) -> Row:  # fmt: skip
    """``alive`` is what the daemon knows of its jobs; ``seen``: some of its holes are in the drawing."""
    number = status.follower(figures.series)
    follower = None if number is None else alive.get(number)
    lag = shapes.lag(figures, status)
    rest = status.resting(figures.series.exchange).get(figures.series.symbol)
    late = rest is None and lag.late
    behind = lag.said
    if lag.seconds is not None and lag.objective_s is not None:
        behind += f" of {words.duration(lag.objective_s)}"
    owed = figures.missing.by_cause().items()
    holes = ", ".join(f"{words.count(count)} {cause.value.replace('_', ' ')}" for cause, count in owed if count)
    if holes and not seen:
        holes += ", longer ago"
    return Row(
        series=figures.series,
        drawing=drawing,
        complete=words.percent(figures.completeness),
        mark="" if figures.complete else "bad" if figures.wanted_gaps else "busy",
        lag=behind if rest is None else rest,
        late=late,
        holes=holes,
        next_run=words.soon(None if follower is None else follower.next_run_ms, status.now_ms()),
    )


LEGEND: Final = [(chart.key(state), label) for state, label in chart.LABELS.items()]
