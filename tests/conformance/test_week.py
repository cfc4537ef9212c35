"""A small share of ``python -m tests.conformance.week``: an hour of all exchanges at once."""

from marketd.exchanges import NAMES
from tests.conformance.week import DOWN, week


def test_all_exchanges_are_kept_fresh_within_their_limits_and_one_that_is_away_troubles_no_other() -> None:
    reports = week(0.06, seed=3)
    said = "\n".join(map(str, reports))
    assert [report.name for report in reports] == list(NAMES)
    assert all(not report.wrong for report in reports), said
    assert all(report.throttled == 0 for report in reports), said
    assert all(report.lag_s < 120 for report in reports if report.name != DOWN), said
    # Five series a minute, and what it takes to find when each began.
    assert all(300 < report.requests < 1_000 for report in reports), said
