"""Whether an adapter and the page check did right by one input.

Owns the judgement: no exception but marketd's own, and an accepted row is one that the reply holds, digit for digit,
sane by exact arithmetic, aligned, closed and inside of what was asked for. Refuses to use what it judges.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from marketd import page
from marketd.errors import BadReply
from marketd.exchanges.facts import Reply
from marketd.model import Answer
from marketd.timeframe import Timeframe
from tests.fuzz.corpus import CORPORA, Corpus, Page
from tests.fuzz.mutations import mutated

SLOW_S = 0.005
_STATUSES = (200, 200, 200, 400, 418, 429, 500, 503, 520)


class Wrong(Exception):
    """A row was accepted that must not be, or an answer contradicts itself."""


@dataclass
class Report:
    """What came of ``inputs``: how each ended, the wrong ones with their number, and the slowest."""

    adapter: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    endings: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rows: int = 0
    slowest_s: float = 0.0
    slowest: str = ""

    def lines(self) -> Iterator[str]:
        of, took = f"{self.inputs} inputs of seed {self.seed}", f"{self.seconds:.1f} s"
        yield f"{self.adapter}: {of} in {took}, {self.rows} rows accepted"
        yield f"  slowest {self.slowest_s * 1000:.2f} ms ({self.slowest})"
        yield from (f"  {count:>9} {ending}" for ending, count in self.endings.most_common())
        yield from (f"  {text}" for text in self.wrong[:20])


def fuzz(adapter: str, inputs: int, seed: int, ends_s: float = float("inf")) -> Report:
    """Feed ``inputs`` to ``adapter``, or as many as there is time for before ``ends_s`` (of the monotonic clock)."""
    corpus, report, began_s = CORPORA[adapter](), Report(adapter, seed), time.monotonic()
    for number in range(inputs):
        if time.monotonic() > ends_s:
            break
        chance = Random(seed * 1_000_003 + number)
        _one(corpus, chance, number, report)
    report.seconds = time.monotonic() - began_s
    return report


def _one(corpus: Corpus, chance: Random, number: int, report: Report) -> None:
    sent = chance.choice(corpus.pages)
    other = chance.random() < 0.1
    done, body = mutated(chance, chance.choice(corpus.others) if other else sent.body)
    report.inputs += 1
    try:
        ending, rows, took_s = _read(corpus, sent, body)
        report.rows += rows
        _ask_the_rest(corpus, chance, body)
    except Exception as error:  # noqa: BLE001  (the very thing that is looked for)
        ending = f"{type(error).__name__}!"
        report.wrong.append(f"input {number} ({done}): {type(error).__name__}: {str(error)[:200]}; {body[:300]!r}")
        took_s = 0.0
    report.endings[ending] += 1
    if took_s > SLOW_S:  # another process may have been at work: once more
        took_s = min(took_s, *(_took_s(corpus, sent, body) for _ in range(3)))
    if took_s > report.slowest_s:
        report.slowest_s, report.slowest = took_s, f"input {number}: {done}, {len(body)} bytes"


def _took_s(corpus: Corpus, sent: Page, body: bytes) -> float:
    began_s = time.thread_time()  # other processes are at work
    with suppress(Exception):  # judged before
        _answer(corpus, sent, body)
    return time.thread_time() - began_s


def _answer(corpus: Corpus, sent: Page, body: bytes) -> Answer:
    exchange = corpus.exchange
    rows = exchange.read_candles(body)
    return page.check(sent.ask, rows, exchange, at_ms=sent.at_ms)


def _read(corpus: Corpus, sent: Page, body: bytes) -> tuple[str, int, float]:
    """How it ended, how many rows were accepted, and the seconds that it took (without the judgement)."""
    began_s = time.thread_time()  # other processes are at work
    try:
        answer = _answer(corpus, sent, body)
    except BadReply as error:
        took_s = time.thread_time() - began_s
        if not str(error).isprintable() or len(str(error)) > 400:
            raise Wrong("an error that cannot be shown") from error
        return type(error).__name__, 0, took_s
    took_s = time.thread_time() - began_s
    judge(corpus, sent, body, answer)
    return "accepted" if answer.rows else "accepted without rows", answer.rows.size, took_s


def judge(corpus: Corpus, sent: Page, body: bytes, answer: Answer) -> None:
    """Wrong where ``answer`` says something that ``body`` does not, or something that may not be stored."""
    ask, frame = sent.ask, sent.ask.series.frame
    closed = frame.closed_end(sent.at_ms - int(corpus.exchange.grace_s * 1000))
    numbers, said = [], _said(corpus, body, frame) if answer.csv else frozenset()
    for line in answer.csv.splitlines():
        if line not in said:
            raise Wrong(f"a row that was not sent: {line[:80]!r}")
        row = dict(zip(corpus.exchange.columns, line.decode().split(","), strict=True))
        opened_ms = int(row["open_ms"])
        number = frame.number(opened_ms)
        if frame.open_ms(number) != opened_ms:
            raise Wrong(f"misaligned: {opened_ms}")
        if not ask.start <= number < min(ask.end, closed):
            raise Wrong(f"outside or open: {opened_ms}")
        _judge_prices({key: Decimal(row[key]) for key in ("open", "close", "high", "low", "volume")})
        numbers.append(number)
    if sorted(set(numbers)) != numbers or numbers != list(answer.rows.numbers()):
        raise Wrong("the rows are not those that the answer names, ascending, one an interval")
    if answer.rows & answer.dropped or not answer.covered.covers(answer.rows | answer.dropped):
        raise Wrong("rows that are dropped and stored, or not covered")
    if answer.covered and not ask.start <= answer.covered.start <= answer.covered.end <= min(ask.end, closed):
        raise Wrong("more is covered than was asked for and has closed")
    if sum(answer.drops.values()) + answer.rows.size != answer.fetched:
        raise Wrong("rows that are not accounted for")


def _said(corpus: Corpus, body: bytes, frame: Timeframe) -> frozenset[bytes]:
    """What may be stored of ``body``; where candles open off the grid also what they are taken for."""
    said = corpus.said(body)
    if not corpus.exchange.off_grid:
        return said
    moved = (line.partition(b",") for line in said)
    return said | {b"%d,%b" % (frame.open_ms(frame.number(int(ms))), rest) for ms, _, rest in moved}


def _judge_prices(row: dict[str, Decimal]) -> None:
    if not all(value.is_finite() for value in row.values()):
        raise Wrong("not finite")
    if not 0 < row["low"] <= min(row["open"], row["close"]) or row["high"] < max(row["open"], row["close"]):
        raise Wrong(f"prices out of order: {row}")
    if row["volume"] < 0 or max(row.values()) > Decimal("1e21"):
        raise Wrong(f"absurd: {row}")


def _ask_the_rest(corpus: Corpus, chance: Random, body: bytes) -> None:
    """The other readers of the adapter, which meet the same bodies."""
    try:
        names = corpus.exchange.read_symbols(body)
    except BadReply:
        names = {}
    for name in names:
        if corpus.exchange.check_symbol(name) is not None:
            raise Wrong(f"a symbol that is none: {name!r}")
    found = corpus.exchange.failure(Reply(chance.choice(_STATUSES), body))
    if found is not None and not str(found).isprintable():
        raise Wrong(f"a failure that cannot be shown: {found!r}")
