"""A small share of ``python -m tests.fuzz``, another one every hour."""

import time
from dataclasses import replace
from random import Random

import pytest

from marketd import page
from marketd.exchanges import EXCHANGES
from tests.fuzz.corpus import CORPORA
from tests.fuzz.judge import Wrong, fuzz, judge
from tests.fuzz.mutations import MUTATIONS, mutated

INPUTS = 4_000
AT_MOST_S = 8.0
GENEROUS_S = 0.05  # the promise is 5 ms; other processes are at work


@pytest.mark.parametrize("adapter", sorted(EXCHANGES))
def test_no_spoilt_reply_gets_through(adapter: str) -> None:
    """fault_40, fault_41, fault_42, fault_43, fault_45."""
    report = fuzz(adapter, INPUTS, int(time.time()) // 3600, time.monotonic() + AT_MOST_S)
    said = "\n".join(report.lines())
    assert report.wrong == [], said
    assert report.slowest_s < GENEROUS_S, said
    assert report.inputs > 1000, said
    assert report.endings["accepted"] > report.inputs / 10, said
    assert report.endings["BadReply"] > report.inputs / 10, said


def test_every_way_of_spoiling_is_taken() -> None:
    done = {word for number in range(2000) for word in mutated(Random(number), b"[[1,2,3,4,5,6]]")[0].split()}
    assert done == {mutation.__name__ for mutation in MUTATIONS}


SENT = b"1370217660000,5,6,7,4,1"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (b"1370217661000,5,6,7,4,1", "misaligned"),
        (b"1370217540000,5,6,7,4,1", "outside"),
        (b"1370217660000,5,6,7,5.5,2", "prices out of order"),
        (b"1370217660000,5,6,7,4,-1", "absurd"),
    ],
)
def test_the_judge_sees_a_bad_row(row: bytes, complaint: str) -> None:
    corpus = CORPORA["bitfinex"]()
    sent = next(one for one in corpus.pages if one.ask.series.timeframe == "1m" and not one.ask.newest_first)
    rows = corpus.exchange.read_candles(b"[[" + SENT + b"]]")
    good = page.check(sent.ask, rows, corpus.exchange, at_ms=sent.at_ms)
    judge(corpus, sent, b"[[" + SENT + b"]]", good)
    with pytest.raises(Wrong, match=complaint):
        judge(corpus, sent, b"[[" + row + b"]]", replace(good, csv=row + b"\n"))
    with pytest.raises(Wrong, match="not sent"):
        judge(corpus, sent, b"[]", good)
