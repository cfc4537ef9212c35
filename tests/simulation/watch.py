"""The promises, watched at every commit.

Owns the invariants of the tables (an answered interval is a candle or an empty one, owed or proven …) and those of what
happens (nothing stored that was not said, no request in a ban, no page after the lease, each firing once). Holds what
the engine did against ``truth``, never against the ledger's own word for it.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from marketd.blocks import BLOCK, Block, Change, union
from marketd.model import Answer, Cause, Gap, Resolution, RunStatus
from marketd.ports import Writing
from marketd.ranges import NOTHING, Ranges
from tests.simulation.journal import Journal
from tests.simulation.tables import Run, SeriesTable, Tables
from tests.simulation.truth import MINUTE_MS, Said, Truth

WINDOW_MS = 60_000
_SAID_KEPT = 4
LATEST_S = 5.0
PLANNED_MS = 86_400_000
"""No run is longer than that, so that what it planned is not older."""

WHOLE_EVERY = 25
"""After so many pages a block is looked at whole; else only where something was written."""


@dataclass
class Heard:
    """Of one series: when each interval was last spoken of, and the empty answers that wait for their second."""

    last_ms: dict[int, int] = field(default_factory=dict)
    empty: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Interval -> the engine's and the exchange's time of its first empty answer."""


@dataclass
class Watch:
    """``tolerance_ms`` is by how much hosts and exchange may differ about a time between two answers."""

    journal: Journal
    truth: Truth
    tables: Callable[[], Tables]
    per_minute: float
    settle_ms: int
    tolerance_ms: int = 2_000
    said: dict[tuple[str, int, int, bool], deque[Said]] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=lambda: defaultdict(Heard))
    pages: int = 0
    requests: int = 0
    stepped: bool = False
    """A clock was stepped: times between answers are not comparable any more."""

    punctual: bool = False
    """Nothing has gone wrong for a while: every firing has to be on time."""

    lateness_s: float = 0.0
    _heaviest: int = 1
    _sent: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _bans: dict[str, tuple[int, int]] = field(default_factory=dict)
    _working: dict[tuple[str, int], int] = field(default_factory=dict)
    _fired: set[tuple[int, int]] = field(default_factory=set)
    _inserted: Counter[int] = field(default_factory=Counter)

    # What is asked of the exchange

    def sends(self, lane: str, now_ms: int, weight: int) -> None:
        """A request leaves; ``lane`` names who works on the exchange, ``now_ms`` is the true time.

        What a heavy one weighs is waited for before it leaves, and counts from then on.
        """
        self._heaviest = max(self._heaviest, weight)
        self.requests += 1
        sent = self._sent[lane]
        sent.extend([now_ms] * weight)
        while sent[0] <= now_ms - WINDOW_MS:
            sent.popleft()
        if len(sent) >= self.per_minute + self._heaviest:
            self.journal.wrong("budget", lane, len(sent), "requests in a minute")
        told_ms, until_ms = self._bans.get(lane, (0, 0))
        if told_ms < now_ms < until_ms:  # what leaves in the instant in which the word arrives had left before
            self.journal.wrong("ban", lane, "asks", until_ms - now_ms, "ms before the end of the ban")

    def banned(self, lane: str, now_ms: int, until_ms: int) -> None:
        told_ms, before_ms = self._bans.get(lane, (now_ms, 0))
        self._bans[lane] = told_ms if now_ms < before_ms else now_ms, max(before_ms, until_ms)

    def says(self, symbol: str, span: tuple[int, int], newest_first: bool, said: Said) -> None:
        """An answer is on its way."""
        key = (symbol, *span, newest_first)
        kept = self.said.pop(key, None) or deque(maxlen=_SAID_KEPT)
        kept.append(said)
        self.said[key] = kept  # the newest at the end: forgotten is what was said longest ago
        if len(self.said) > 512:
            del self.said[next(iter(self.said))]

    # What is written

    def page(
        self, table: SeriesTable, answer: Answer, change: Change, fresh: Mapping[int, bytes],
        changed: Mapping[int, bytes], writing: Writing, *, older: bool,
    ) -> None:  # fmt: skip
        """A page was committed; of one that is ``older`` than what was heard before, what is new."""
        self.pages += 1
        self._inserted[writing.run_id] += len(fresh)
        ask = answer.ask
        self.journal.note(
            "page", ask.series.symbol, ask.start, ask.end, answer.covered.size, len(fresh), len(changed), writing.epoch
        )
        said = self.said.get((ask.series.symbol, ask.start, ask.end, ask.newest_first), ())
        matching = [one for one in said if self._fits(answer, one)]
        if not matching:
            self.journal.wrong("said", ask, "covers", answer.covered.spans[:3], "which the exchange did not speak for")
            return
        self._candles(table, matching[-1], {**fresh, **changed})
        known = answer.rows - Ranges.from_numbers(sorted(fresh)) if older else NOTHING
        self._note_heard(table, answer, change, matching[-1], known)

    def refused(self, table: SeriesTable) -> None:
        """A page was refused since it reaches into what is retired: no run that began afterwards may ask for that."""
        if self.journal.now_ms() - table.retired_ms > PLANNED_MS:
            self.journal.wrong("retired", table.series, "is still asked for below", table.retired)

    @staticmethod
    def _fits(answer: Answer, said: Said) -> bool:
        claimed = answer.covered - answer.rows - answer.dropped
        return (
            said.scanned.covers(answer.covered) and said.rows.covers(answer.rows) and not claimed & said.rows
            and (not answer.covered or answer.ask.series.frame.open_ms(answer.covered.end) <= said.at_ms)
        )  # fmt: skip

    def _candles(self, table: SeriesTable, said: Said, lines: Mapping[int, bytes]) -> None:
        for number, line in lines.items():
            if (number + 1) * MINUTE_MS > said.at_ms:
                self.journal.wrong("open_candle", table.series, number)
            if line != self.truth.line(table.series.symbol, number, said.at_ms):
                self.journal.wrong("content", table.series, number, line)

    def _note_heard(self, table: SeriesTable, answer: Answer, change: Change, said: Said, known: Ranges) -> None:
        """Evidence is what was said, within what the engine believes of it; of what is ``known`` it is not new."""
        heard = self.heard[table.series.symbol]
        covered = change.covered & said.scanned
        for start, end in covered - known:
            heard.last_ms |= dict.fromkeys(range(start, end), said.at_ms)
        for number in (covered - said.rows).numbers():
            heard.empty.setdefault(number, (answer.at_ms, said.at_ms))

    def changed(
        self, table: SeriesTable, before: Mapping[int, Block | None], gaps: Sequence[tuple[Gap, Ranges]], epoch: int,
        answer: Answer | None,
    ) -> None:  # fmt: skip
        """The ledger was changed: blocks that were ``before``, and ``gaps`` opened, changed and closed."""
        lease = self.tables().lease
        if lease is None or lease.epoch != epoch:
            self.journal.wrong("lease", table.series, "written by epoch", epoch)
        opened = union(gap.missing for gap in table.gaps.values())
        near = Ranges.of((-(2**31), 2**31))
        if answer is not None and self.pages % WHOLE_EVERY:  # where nothing was written nothing can be wrong
            near = Ranges.of((answer.covered.start - 1, answer.covered.end + 1)) if answer.covered else NOTHING
        for number, old in before.items():
            new = table.blocks[number]
            self._block(table, new, opened, near)
            if old is not None:
                self._compared(table, old, new, opened, answer)
        for gap, owed in gaps:
            self.journal.note("gap", table.series.symbol, gap.cause, gap.missing.size, gap.open)
            if not gap.open and gap.resolution is not Resolution.NOT_WANTED:
                self._proven(table, owed)
        if sum(gap.missing.size for gap in table.gaps.values()) != opened.size:
            self.journal.wrong("overlap", table.series, "open gaps overlap")

    def _block(self, table: SeriesTable, block: Block, opened: Ranges, near: Ranges) -> None:
        """Each interval ``near`` is exactly one thing, and what is called stored is there."""
        here = Ranges.of(block.span) & near
        if not here:
            return
        present = table.present.get(block.number, NOTHING) & here
        answered, once, confirmed = block.answered & here, block.empty_once & here, block.empty_confirmed & here
        empties = once | confirmed
        owed = union(gap.missing for gap in table.gaps.values() if gap.cause is not Cause.SUSPECT) & here
        if missing := answered - empties - present:
            self.journal.wrong("stored", table.series, missing.spans[:3], "called stored, no candle")
        if misplaced := present & (opened | empties):
            self.journal.wrong("candle_in_hole", table.series, misplaced.spans[:3])
        if answered & owed:
            self.journal.wrong("owed_answered", table.series, (answered & owed).spans[:3])
        if once & confirmed or empties - answered - opened:
            self.journal.wrong("empties", table.series, block.number)
        if outside := present - answered - opened:
            self.journal.wrong("candle_outside", table.series, outside.spans[:3])

    def _compared(self, table: SeriesTable, old: Block, new: Block, opened: Ranges, answer: Answer | None) -> None:
        """Coverage only grows, but for what is owed anew; nothing is confirmed without a second answer."""
        lost = old.answered - new.answered - opened
        if lost:
            self.journal.wrong("coverage", table.series, lost.spans[:3], "is not answered any more")
        for number in (new.empty_confirmed - old.empty_confirmed).numbers():
            self._confirmed(table, number, answer)

    def _confirmed(self, table: SeriesTable, number: int, answer: Answer | None) -> None:
        first = self.heard[table.series.symbol].empty.get(number)
        if answer is None or first is None:
            self.journal.wrong("confirmed", table.series, number, "without an answer")
            return
        settled_ms = (number + 1) * MINUTE_MS + self.settle_ms
        if answer.at_ms - first[0] < self.settle_ms or answer.at_ms < settled_ms:
            self.journal.wrong("confirmed", table.series, number, answer.at_ms - first[0], "ms after the first answer")

    def _proven(self, table: SeriesTable, owed: Ranges) -> None:
        opened = union(gap.missing for gap in table.gaps.values())
        numbers = range(owed.start // BLOCK, (owed.end - 1) // BLOCK + 1) if owed else range(0)
        blocks = [table.blocks[number] for number in numbers if number in table.blocks]
        proven = union(block.answered - block.empty_once for block in blocks)
        if owed - proven - opened:
            self.journal.wrong("gap_closed", table.series, (owed - proven - opened).spans[:3], "is not proven")

    # What is run

    def taken(self, who: str, epoch: int, blocked_ms: int) -> None:
        """``blocked_ms``: what is left of a ban that an earlier holder met."""
        self.journal.note("lease", who, epoch)
        now_ms = self.journal.now_ms()
        self.banned(f"{who}/{epoch}", now_ms, now_ms + blocked_ms)

    def begun(self, who: str, runs: Iterable[Run]) -> None:
        for run in runs:
            self.journal.note("begin", who, run.job_id, run.scheduled_ms)
            if (run.job_id, run.scheduled_ms) in self._fired:
                self.journal.wrong("fired_once", run.job_id, run.scheduled_ms)
            self._fired.add((run.job_id, run.scheduled_ms))

    def fired(self, job_type: str, outcome: str, delay_s: float) -> None:
        if self.punctual and job_type == "continuous":
            self.lateness_s = max(self.lateness_s, delay_s)
            if delay_s > LATEST_S:
                self.journal.wrong("lateness", job_type, outcome, f"{delay_s:.3f}")

    def slots(self, job: int, expected: range) -> None:
        """Every due time of a job has its row."""
        missed = [at_ms for at_ms in expected if at_ms not in self.tables().slots.get(job, {})]
        if missed:
            self.journal.wrong("not_fired", "job", job, len(missed), "times, first", missed[0])

    def works(self, who: str, run_id: int) -> None:
        """A run is really begun."""
        job = self.tables().runs[run_id].job_id
        if (who, job) in self._working:
            self.journal.wrong("overlap_of_runs", who, "job", job)
        self._working[who, job] = run_id

    def rests(self, who: str, run_id: int) -> None:
        self._working.pop((who, self.tables().runs[run_id].job_id), None)

    def finished(self, who: str, run: Run, status: RunStatus, error: str | None) -> None:
        self.journal.note("end", who, run.job_id, status, run.tally.requests, "" if error is None else error[:80])
        if run.tally.inserted != self._inserted[run.id]:
            self.journal.wrong("counters", "run", run.id, "counts", run.tally.inserted, "of", self._inserted[run.id])
