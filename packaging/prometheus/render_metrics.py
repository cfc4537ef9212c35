"""A page of metrics as a daemon at work shows it, for ``promtool check metrics``.

Owns nothing: the names are those of ``marketd.metrics``, the facts are made up. Writes the text format, because
promtool misreads OpenMetrics.
"""

import sys

from prometheus_client import generate_latest

from marketd.figures import Verification
from marketd.metrics import Metrics
from marketd.model import Cause, Claim, Drop, JobType, RunStatus, Series

NOW_MS = 1_767_225_600_000


def page() -> bytes:
    """Every family with at least one sample that is not 0."""
    late, quiet = Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "ETHUSD", "1d")
    metrics = Metrics()
    metrics.know(["bitfinex"], {late: 480.0, quiet: None})
    metrics.config_loaded(NOW_MS)
    metrics.reloaded(True, NOW_MS, NOW_MS + 250)
    metrics.tick("bitfinex", NOW_MS)
    metrics.turned("bitfinex", 0.004)
    metrics.loop_lagged(0.002)
    metrics.pool("pages", used=1, idle=2, most=8)
    metrics.jobs_counted({"enabled": 2, "refused": 1})
    metrics.store_failed("unavailable")
    metrics.fired(JobType.CONTINUOUS, "run", 0.2)
    metrics.run_finished(JobType.CONTINUOUS, RunStatus.SUCCESS, 1.5)
    metrics.answered_until(late, NOW_MS - 600_000)
    metrics.series_missing(late, {Cause.LATE: 3})
    metrics.series_gaps(late, 1)
    metrics.judge(lambda exchange: NOW_MS)
    metrics.series_counted("bitfinex", {"late": 1, "complete": 1})
    metrics.intervals_counted(
        "bitfinex", {"stored": 900, "empty_once": 60, "empty_confirmed": 37, "unknown": 10}, 0.987
    )
    metrics.gaps_counted("bitfinex", Cause.LATE, 1, 3)
    metrics.request_done("bitfinex", "ok", 0.3)
    metrics.gate_waited("bitfinex", Claim.CONTINUOUS, 2.0)
    metrics.page_stored(late, inserted=10, updated=2, revised=1, empties=3, drops={Drop.OPEN: 1}, duration_s=0.02)
    metrics.page_refused("bitfinex", Drop.CONFLICTING, 20)
    metrics.gaps_changed(late, opened=2, closed=1)
    metrics.budget("bitfinex", 0.4, 0.2)
    metrics.budget_state("bitfinex", used=20, free=4, blocked_until_ms=NOW_MS + 60_000)
    metrics.circuit("bitfinex", True)
    metrics.lease("bitfinex", True)
    metrics.verified("violated")
    metrics.last_verification(Verification(NOW_MS, NOW_MS + 5000, "sample", 30, 200, {"i01_accounted": 3}))
    return generate_latest(metrics.registry)


if __name__ == "__main__":
    sys.stdout.buffer.write(page())
