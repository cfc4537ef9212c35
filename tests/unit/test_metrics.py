"""What Prometheus would scrape."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from marketd.metrics import INTERVAL_STATES, PAGE_OUTCOMES, REQUEST_OUTCOMES, SERIES_STATES, Metrics
from marketd.model import Cause, Claim, Drop, JobType, RunStatus, Series

BTC, ETH = Series("bitfinex", "BTCUSD", "1m"), Series("bitfinex", "ETHUSD", "1h")
MANUAL = Path(__file__).parents[2] / "docs" / "metrics.md"
BTC_LABELS = BTC._asdict()
NOW_MS = 1_700_000_000_000


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics("1.2.3")
    made.know(["bitfinex"], {BTC: 480.0, ETH: None})
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"marketd_{name}", labels)


def families(metrics: Metrics) -> dict[str, str]:
    """Name and type of each family of ours; counters without ``_total``."""
    found = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {family.name: family.type for family in found if family.name.startswith("marketd_")}


def test_known_labels_exist_before_the_first_fact(metrics: Metrics) -> None:
    assert value(metrics, "series_answered_until_timestamp_seconds", **BTC_LABELS) == 0
    assert value(metrics, "series_freshness_objective_seconds", **BTC_LABELS) == 480
    assert value(metrics, "series_freshness_objective_seconds", **ETH._asdict()) is None
    assert value(metrics, "runs_total", job_type="backfill", outcome="failed") == 0
    assert value(metrics, "firings_total", job_type="continuous", outcome="late") == 0
    assert value(metrics, "jobs", state="enabled") == 0
    assert value(metrics, "jobs_failing", exchange="bitfinex", job_type="backfill") == 0
    assert value(metrics, "database_up") == 0
    assert value(metrics, "store_errors_total", kind="disk_full") == 0
    assert value(metrics, "lease_held", exchange="bitfinex") == 0
    assert value(metrics, "revisions_total", exchange="bitfinex") == 0
    assert value(metrics, "candles_stored_total", exchange="bitfinex", kind="updated") == 0
    assert value(metrics, "gate_wait_seconds_count", exchange="bitfinex", claim="recheck") == 0
    assert value(metrics, "series_freshness_objective_met", **BTC_LABELS) == 0
    assert value(metrics, "series_freshness_objective_met", **ETH._asdict()) is None
    assert value(metrics, "series_open_gaps", **BTC_LABELS) == 0
    assert value(metrics, "series_not_shown") == 0
    assert value(metrics, "config_reloads_total", outcome="refused") == 0
    assert value(metrics, "scheduler_last_tick_timestamp_seconds", exchange="bitfinex") == 0
    assert value(metrics, "scheduler_turn_duration_seconds_count", exchange="bitfinex") == 0
    assert value(metrics, "budget_used_requests", exchange="bitfinex") == 0
    assert value(metrics, "budget_free_requests", exchange="bitfinex") == 0
    assert value(metrics, "budget_blocked_until_timestamp_seconds", exchange="bitfinex") == 0
    assert value(metrics, "completeness_ratio", exchange="bitfinex") == 0
    assert value(metrics, "event_loop_lag_seconds_count") == 0
    for pool in ("pages", "port"):
        assert value(metrics, "pool_connections_max", pool=pool) == 0
        for state in ("used", "idle"):
            assert value(metrics, "pool_connections", pool=pool, state=state) == 0
    for cause in Cause:
        assert value(metrics, "series_missing_candles", **BTC_LABELS, cause=cause) == 0
        assert value(metrics, "missing_candles", exchange="bitfinex", cause=cause) == 0
        assert value(metrics, "open_gaps", exchange="bitfinex", cause=cause) == 0
    for outcome in REQUEST_OUTCOMES:
        assert value(metrics, "requests_total", exchange="bitfinex", outcome=outcome) == 0
    for outcome in PAGE_OUTCOMES:
        assert value(metrics, "pages_total", exchange="bitfinex", outcome=outcome) == 0
    for reason in Drop:
        assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason=reason) == 0
    for state in SERIES_STATES:
        assert value(metrics, "series", exchange="bitfinex", state=state) == 0
    for state in INTERVAL_STATES:
        assert value(metrics, "intervals", exchange="bitfinex", state=state) == 0
    assert re.search(r'marketd_build_info\{python="3\.\d+\.\d+",version="1\.2\.3"\} 1\.0', _page(metrics))


def _page(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_no_created_series(metrics: Metrics) -> None:
    assert "_created" not in _page(metrics)


def test_facts_of_runs(metrics: Metrics) -> None:
    metrics.fired(JobType.CONTINUOUS, "run", 0.2)
    metrics.fired(JobType.CONTINUOUS, "unheard of", -1)
    metrics.run_finished(JobType.CONTINUOUS, RunStatus.PARTIAL, 12.0)
    assert value(metrics, "firings_total", job_type="continuous", outcome="run") == 1
    assert value(metrics, "firings_total", job_type="continuous", outcome="other") == 1
    assert value(metrics, "firing_delay_seconds_sum", job_type="continuous") == pytest.approx(0.2)
    assert value(metrics, "runs_total", job_type="continuous", outcome="partial") == 1
    assert value(metrics, "run_duration_seconds_bucket", job_type="continuous", le="15.0") == 1


def test_facts_of_an_exchange(metrics: Metrics) -> None:
    metrics.request_done("bitfinex", "throttled", 0.3)
    metrics.request_done("bitfinex", "unheard of", 0.3)
    metrics.gate_waited("bitfinex", Claim.GAP_REPAIR, 2.0)
    metrics.circuit("bitfinex", True)
    metrics.lease("bitfinex", True)
    metrics.budget("bitfinex", 0.5, 0.2)
    assert value(metrics, "requests_total", exchange="bitfinex", outcome="throttled") == 1
    assert value(metrics, "requests_total", exchange="bitfinex", outcome="other") == 1
    assert value(metrics, "request_duration_seconds_count", exchange="bitfinex") == 2
    assert value(metrics, "gate_wait_seconds_sum", exchange="bitfinex", claim="gap_repair") == 2
    assert value(metrics, "circuit_open", exchange="bitfinex") == 1
    assert value(metrics, "lease_held", exchange="bitfinex") == 1
    assert value(metrics, "budget_limit_requests_per_second", exchange="bitfinex") == 0.5
    assert value(metrics, "budget_demand_requests_per_second", exchange="bitfinex") == 0.2
    metrics.circuit("bitfinex", False)
    metrics.lease("bitfinex", False)
    assert value(metrics, "circuit_open", exchange="bitfinex") == 0
    assert value(metrics, "lease_held", exchange="bitfinex") == 0


def test_the_budget_of_an_exchange(metrics: Metrics) -> None:
    metrics.budget_state("bitfinex", used=20, free=4, blocked_until_ms=1_700_000_060_000)
    assert value(metrics, "budget_used_requests", exchange="bitfinex") == 20
    assert value(metrics, "budget_free_requests", exchange="bitfinex") == 4
    assert value(metrics, "budget_blocked_until_timestamp_seconds", exchange="bitfinex") == 1_700_000_060
    metrics.budget_state("bitfinex", used=0, free=24, blocked_until_ms=None)
    assert value(metrics, "budget_blocked_until_timestamp_seconds", exchange="bitfinex") == 0


def test_totals_of_an_exchange(metrics: Metrics) -> None:
    metrics.series_counted("bitfinex", {"late": 2, "never": 1})
    metrics.series_counted("bitfinex", {"complete": 3})
    metrics.intervals_counted("bitfinex", {"stored": 900, "empty_once": 10, "empty_confirmed": 40}, 0.95)
    metrics.gaps_counted("bitfinex", Cause.LOST, 2, 7)
    assert value(metrics, "series", exchange="bitfinex", state="complete") == 3
    assert value(metrics, "series", exchange="bitfinex", state="late") == 0
    assert value(metrics, "intervals", exchange="bitfinex", state="empty_confirmed") == 40
    assert value(metrics, "intervals", exchange="bitfinex", state="unknown") == 0
    assert value(metrics, "completeness_ratio", exchange="bitfinex") == 0.95
    assert value(metrics, "open_gaps", exchange="bitfinex", cause="lost") == 2
    assert value(metrics, "missing_candles", exchange="bitfinex", cause="lost") == 7


def test_a_refused_page_and_its_rows(metrics: Metrics) -> None:
    metrics.page_refused("bitfinex", Drop.CONFLICTING, 120)
    metrics.page_refused("bitfinex", Drop.PAGE_REFUSED, 0)
    assert value(metrics, "pages_total", exchange="bitfinex", outcome="refused") == 2
    assert value(metrics, "pages_total", exchange="bitfinex", outcome="stored") == 0
    assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason="conflicting") == 120
    assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason="page_refused") == 0


def test_facts_of_a_series(metrics: Metrics) -> None:
    drops = {Drop.MISALIGNED: 1, Drop.OPEN: 4}
    metrics.page_stored(BTC, inserted=10, updated=2, revised=1, empties=3, drops=drops, duration_s=0.02)
    metrics.gaps_changed(BTC, opened=2, closed=1)
    metrics.answered_until(BTC, 1_700_000_000_000)
    metrics.series_missing(BTC, {Cause.LATE: 5})
    metrics.series_gaps(BTC, 2)
    assert value(metrics, "pages_total", exchange="bitfinex", outcome="stored") == 1
    assert value(metrics, "candles_stored_total", exchange="bitfinex", kind="inserted") == 10
    assert value(metrics, "candles_stored_total", exchange="bitfinex", kind="updated") == 2
    assert value(metrics, "revisions_total", exchange="bitfinex") == 1
    assert value(metrics, "empty_intervals_total", exchange="bitfinex") == 3
    assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason="misaligned") == 1
    assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason="open") == 4
    assert value(metrics, "rows_dropped_total", exchange="bitfinex", reason="outside") == 0
    assert value(metrics, "series_open_gaps", **BTC_LABELS) == 2
    assert value(metrics, "page_store_duration_seconds_count", exchange="bitfinex") == 1
    assert value(metrics, "gaps_opened_total", exchange="bitfinex") == 2
    assert value(metrics, "gaps_closed_total", exchange="bitfinex") == 1
    assert value(metrics, "series_answered_until_timestamp_seconds", **BTC_LABELS) == 1_700_000_000
    assert value(metrics, "series_missing_candles", **BTC_LABELS, cause="late") == 5
    metrics.series_missing(BTC, {})
    assert value(metrics, "series_missing_candles", **BTC_LABELS, cause="late") == 0


def test_facts_of_the_process(metrics: Metrics) -> None:
    metrics.config_loaded(1_700_000_000_500)
    metrics.tick("bitfinex", 1_700_000_001_000)
    metrics.turned("bitfinex", 0.02)
    metrics.loop_lagged(0.2)
    metrics.loop_lagged(-1e-9)
    metrics.pool("port", used=1, idle=0, most=2)
    metrics.jobs_counted({"enabled": 3})
    metrics.store_failed("disk_full")
    metrics.store_failed("unheard of")
    assert value(metrics, "config_last_reload_successful") == 1
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 1_700_000_000.5
    assert value(metrics, "scheduler_last_tick_timestamp_seconds", exchange="bitfinex") == 1_700_000_001
    assert value(metrics, "scheduler_turn_duration_seconds_bucket", exchange="bitfinex", le="0.05") == 1
    assert value(metrics, "event_loop_lag_seconds_sum") == 0.2
    assert value(metrics, "event_loop_lag_seconds_count") == 2
    assert value(metrics, "pool_connections", pool="port", state="used") == 1
    assert value(metrics, "pool_connections_max", pool="port") == 2
    assert value(metrics, "jobs", state="enabled") == 3
    assert value(metrics, "jobs", state="refused") == 0
    assert value(metrics, "store_errors_total", kind="disk_full") == 1
    assert value(metrics, "store_errors_total", kind="other") == 1


def test_facts_of_a_reload(metrics: Metrics) -> None:
    metrics.config_loaded(1_700_000_000_500)
    assert value(metrics, "config_last_reload_attempt_timestamp_seconds") == 0, "the start is no reload"
    metrics.reloaded(False, 1_700_000_100_000, 1_700_000_100_250)
    assert value(metrics, "config_last_reload_successful") == 0
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 1_700_000_000.5
    assert value(metrics, "config_last_reload_attempt_timestamp_seconds") == 1_700_000_100
    assert value(metrics, "config_last_reload_duration_seconds") == 0.25
    metrics.reloaded(True, 1_700_000_200_000, 1_700_000_200_500)
    assert value(metrics, "config_last_reload_successful") == 1
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 1_700_000_200.5
    assert value(metrics, "config_last_reload_attempt_timestamp_seconds") == 1_700_000_200
    assert value(metrics, "config_reloads_total", outcome="accepted") == 1
    assert value(metrics, "config_reloads_total", outcome="refused") == 1


def test_what_is_no_longer_tracked_vanishes(metrics: Metrics) -> None:
    metrics.answered_until(ETH, 5000)
    metrics.know(["kraken"], {ETH: 60.0})
    assert value(metrics, "series_answered_until_timestamp_seconds", **BTC_LABELS) is None
    assert value(metrics, "series_freshness_objective_seconds", **BTC_LABELS) is None
    assert value(metrics, "series_missing_candles", **BTC_LABELS, cause="late") is None
    assert value(metrics, "series_answered_until_timestamp_seconds", **ETH._asdict()) == 5
    assert value(metrics, "lease_held", exchange="kraken") == 0
    assert value(metrics, "lease_held", exchange="bitfinex") == 0
    metrics.know(["kraken"], {})
    assert 'exchange="bitfinex"' not in _page(metrics)
    assert 'symbol="' not in _page(metrics)


def test_above_its_limit_no_series_has_a_label_and_the_totals_stay(metrics: Metrics) -> None:
    metrics.show_series(1)
    metrics.answered_until(BTC, NOW_MS)
    metrics.judge(lambda exchange: NOW_MS)
    assert value(metrics, "series_not_shown") == 1
    assert 'symbol="ETHUSD"' not in _page(metrics)
    metrics.show_series(0)
    assert value(metrics, "series_not_shown") == 2
    assert 'symbol="' not in _page(metrics)
    assert value(metrics, "series", exchange="bitfinex", state="late") == 0


def test_a_series_is_as_fresh_as_it_shall_be_until_its_objective_has_passed(metrics: Metrics) -> None:
    metrics.answered_until(BTC, NOW_MS)
    for later_s, met in ((0, 1), (480, 1), (481, 0)):
        metrics.judge({"bitfinex": NOW_MS + later_s * 1000}.__getitem__)
        assert value(metrics, "series_freshness_objective_met", **BTC_LABELS) == met


def test_an_order_on_an_untracked_series_leaves_no_label(metrics: Metrics) -> None:
    other = Series("bitfinex", "XRPUSD", "1m")
    metrics.answered_until(other, 5000)
    metrics.series_missing(other, {Cause.LATE: 1})
    assert "XRPUSD" not in _page(metrics)


def test_names_follow_the_conventions(metrics: Metrics) -> None:
    for name, kind in families(metrics).items():
        assert re.fullmatch(r"marketd_[a-z]+(_[a-z]+)*", name), name
        assert not name.endswith(("_total", "_ms", "_milliseconds", "_count", "_sum")), name
        if kind == "histogram":
            assert name.endswith("_seconds"), name


def test_every_family_is_in_the_manual(metrics: Metrics) -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    named = set(re.findall(r"`(marketd_\w+)`", manual))
    ours = {f"{name}_total" if kind == "counter" else name for name, kind in families(metrics).items()}
    assert named == ours


def test_every_label_value_of_a_closed_set_is_in_the_manual(metrics: Metrics) -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    words = {
        word
        for key, word in re.findall(r'(\w+)="([^"]*)"', _page(metrics))
        if key in ("outcome", "kind", "state", "claim", "cause", "job_type", "reason", "pool")
    }
    assert not {word for word in words if f"`{word}`" not in manual}
