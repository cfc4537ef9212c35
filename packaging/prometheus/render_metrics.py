"""A page of metrics as a daemon at work shows it, for ``promtool check metrics``.

Owns nothing: the names are those of ``marketd.metrics``, the facts are made up. Writes the text format, because
promtool misreads OpenMetrics.
"""

import sys

from prometheus_client import generate_latest

from marketd.metrics import Metrics
from marketd.model import Cause, Claim, JobType, RunStatus, Series

NOW_MS = 1_767_225_600_000


def page() -> bytes:
    """Every family with at least one sample that is not 0."""
    late, quiet = Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "ETHUSD", "1d")
    metrics = Metrics()
    metrics.know(["bitfinex"], {late: 480.0, quiet: None})
    metrics.config_loaded(NOW_MS)
    metrics.tick(NOW_MS)
    metrics.jobs_counted({"enabled": 2, "refused": 1})
    metrics.store_failed("unavailable")
    metrics.fired(JobType.CONTINUOUS, "run", 0.2)
    metrics.run_finished(JobType.CONTINUOUS, RunStatus.SUCCESS, 1.5)
    metrics.answered_until(late, NOW_MS - 600_000)
    metrics.series_missing(late, {Cause.LATE: 3})
    metrics.request_done("bitfinex", "ok", 0.3)
    metrics.gate_waited("bitfinex", Claim.CONTINUOUS, 2.0)
    metrics.page_stored(late, inserted=10, updated=2, revised=1, empties=3, dropped=1, duration_s=0.02)
    metrics.gaps_changed(late, opened=2, closed=1)
    metrics.budget("bitfinex", 0.4, 0.2)
    metrics.circuit("bitfinex", True)
    metrics.lease("bitfinex", True)
    return generate_latest(metrics.registry)


if __name__ == "__main__":
    sys.stdout.buffer.write(page())
