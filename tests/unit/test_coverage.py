"""The coverage map: what each stretch of time is."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from marketd import coverage
from marketd.coverage import OWED, Beside, State, Stretch
from marketd.figures import Missing, OpenGap, SeriesFigures, SeriesMap
from marketd.model import Cause, Series
from marketd.ranges import NOTHING, Ranges

MINUTE = 60_000
BTC = Series("bitfinex", "BTCUSD", "1m")
NOW = 100 * MINUTE


COUNTS = (
    "wanted", "stored", "empty_once", "empty_confirmed", "unknown", "wanted_missing", "wanted_gaps", "open_gaps",
)  # fmt: skip
HERE = Beside(NOW)


def figures(**more: Any) -> SeriesFigures:
    """Of a series whose first candle and whose wanted history begin at the interval 10."""
    known: dict[str, Any] = dict.fromkeys(SeriesFigures.__dataclass_fields__)
    known |= dict.fromkeys(COUNTS, 0)
    known |= {"series": BTC, "missing": Missing(), "history_known": True}
    return SeriesFigures(**known | {"first_ms": 10 * MINUTE, "wanted_from_ms": 10 * MINUTE} | more)


def drawn(
    answered: Ranges = NOTHING,
    quiet: Ranges = NOTHING,
    gaps: tuple[OpenGap, ...] = (),
    *,
    start: int = 0,
    end: int = 100,
    beside: Beside = HERE,
    **more: Any,
) -> list[tuple[int, int, str]]:
    found = coverage.stretches(SeriesMap(BTC, start, end, answered, quiet, gaps), figures(**more), beside)
    return [(one.start_ms // MINUTE, one.end_ms // MINUTE, one.state.value) for one in found]


def test_every_interval_is_one_thing() -> None:
    gaps = (OpenGap(7, Cause.LATE, Ranges.of((30, 35))), OpenGap(8, Cause.SUSPECT, Ranges.of((50, 55))))
    answered, quiet = Ranges.of((20, 30), (35, 90)), Ranges.of((50, 60))
    assert drawn(answered, quiet, gaps) == [
        (0, 10, "before"), (10, 20, "unknown"), (20, 30, "complete"), (30, 35, "late"), (35, 50, "complete"),
        (50, 55, "suspect"), (55, 60, "quiet"), (60, 90, "complete"), (90, 100, "unknown"),
    ]  # fmt: skip


def test_what_is_not_known_of_the_future_is_not_drawn() -> None:
    assert drawn(Ranges.of((10, 90)), end=200) == drawn(Ranges.of((10, 90)))
    assert drawn(start=100, end=200) == []


def test_what_is_not_wanted_is_not_drawn() -> None:
    assert drawn(Ranges.of((60, 100)), wanted_from_ms=50 * MINUTE)[1:] == [(50, 60, "unknown"), (60, 100, "complete")]
    assert drawn(wanted_from_ms=None, first_ms=None) == []


def test_what_is_not_answered_is_called_by_what_happens_to_it() -> None:
    answered, beside = Ranges.of((10, 90)), Beside(NOW)
    assert drawn(answered, beside=replace(beside, filling=True))[-1] == (90, 100, "filling")
    assert drawn(answered, beside=replace(beside, resting=True))[-1] == (90, 100, "resting")
    assert drawn(beside=replace(beside, resting=True))[-1] == (10, 100, "unknown"), "nothing was ever answered"


def test_what_is_too_old_for_the_exchange_never_comes() -> None:
    answered, beside = Ranges.of((70, 100)), Beside(NOW, reach=40)
    assert drawn(answered, beside=beside) == [
        (0, 10, "before"), (10, 60, "unserved"), (60, 70, "unknown"), (70, 100, "complete"),
    ]  # fmt: skip
    known = figures(answered_from_ms=70 * MINUTE, answered_until_ms=NOW)
    assert coverage.never_to_come(known, beside) == 50
    assert coverage.never_to_come(known, Beside(NOW)) == 0
    assert coverage.never_to_come(figures(), beside) == 0


spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 20)), max_size=6).map(
    lambda found: Ranges.of(*((start, start + size) for start, size in found))
)


@settings(max_examples=200)
@given(answered=spans, quiet=spans, owed=st.lists(st.tuples(spans, st.sampled_from(Cause)), max_size=4))
def test_stretches_are_apart_ascend_and_say_what_the_ledger_says(
    answered: Ranges, quiet: Ranges, owed: list[tuple[Ranges, Cause]]
) -> None:
    gaps = tuple(OpenGap(number, cause, missing) for number, (missing, cause) in enumerate(owed))
    found = coverage.stretches(SeriesMap(BTC, 0, 100, answered, quiet, gaps), figures(first_ms=None), Beside(NOW))
    edges = [edge for one in found for edge in (one.start_ms, one.end_ms)]
    assert edges == sorted(edges)
    missing = Ranges.of(*(span for part, _ in owed for span in part.spans)) & Ranges.of((0, 100))
    seen = {state: Ranges.of(*_of(found, state)) for state in State}
    assert Ranges.of(*(span for state in OWED for span in seen[state].spans)) == missing
    assert seen[State.COMPLETE] | seen[State.QUIET] == (answered & Ranges.of((0, 100))) - missing
    assert seen[State.UNKNOWN] == Ranges.of((10, 100)) - answered - missing


def _of(found: tuple[Stretch, ...], state: State) -> list[tuple[int, int]]:
    return [(one.start_ms // MINUTE, one.end_ms // MINUTE) for one in found if one.state is state]


def row(*parts: tuple[int, int, State]) -> list[Stretch]:
    return [Stretch(start, end, state) for start, end, state in parts]


def test_what_all_lacked_at_once_was_the_exchange() -> None:
    one = row((0, 10, State.UNKNOWN), (10, 20, State.COMPLETE), (20, 40, State.LATE), (40, 50, State.COMPLETE))
    other = row((5, 25, State.COMPLETE), (25, 45, State.NOT_ASKED), (45, 50, State.UNKNOWN))
    assert coverage.shared([one, other], 1) == ((25, 40),)
    assert coverage.shared([one, other], 16) == ()
    assert coverage.shared([one], 1) == (), "of one alone nobody can tell"
    assert coverage.shared([one, row((0, 50, State.COMPLETE))], 1) == ()


def test_history_that_was_never_asked_for_is_no_outage() -> None:
    new = row((0, 10, State.UNSERVED), (10, 30, State.UNKNOWN), (30, 50, State.COMPLETE))
    assert coverage.shared([new, new], 1) == ()
