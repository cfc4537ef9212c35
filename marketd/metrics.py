"""Metrics: what the daemon has done and how far it is, for Prometheus.

Owns the names, the closed sets of label values and the registry. Its methods are named after facts; who calls them
knows nothing of Prometheus. Series of known labels exist, with 0, from the moment they are known, so that an alert on
them can fire before the first fact. Refuses error texts, run ids and free words as labels.
"""

import platform
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

import marketd
from marketd.model import Cause, Claim, JobType, RunStatus, Series
from marketd.ports import Events

REQUEST_OUTCOMES: Final = ("ok", "throttled", "unreachable", "refused", "failed", "other")
FIRING_OUTCOMES: Final = ("run", "late", "skipped", "other")
STORE_ERRORS: Final = ("unavailable", "disk_full", "lease_lost", "refused", "other")
JOB_STATES: Final = ("enabled", "refused")
RUN_OUTCOMES: Final = tuple(status.value for status in RunStatus if status is not RunStatus.RUNNING)
CLAIMS: Final = {claim: claim.name.lower() for claim in Claim}

REQUEST_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STORE_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
RUN_S: Final = (1, 5, 15, 60, 300, 900, 3600)
WAIT_S: Final = (0.01, 0.1, 0.5, 1, 2.5, 5, 15, 60, 300)
DELAY_S: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 3600)

_SERIES: Final = ("exchange", "symbol", "timeframe")


class Metrics(Events):
    """All families of the daemon in a registry of their own; ``registry`` is what ``/metrics`` shows."""

    def __init__(self, version: str = marketd.__version__) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._exchanges: frozenset[str] = frozenset()
        self._series: frozenset[Series] = frozenset()
        self._define_process()
        self._define_jobs()
        self._define_series()
        self._define_exchanges()
        self._build.labels(version, platform.python_version()).set(1)
        self._know_closed_sets()

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"marketd_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"marketd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"marketd_{name}", text, labels, buckets=tuple(buckets), registry=self.registry)

    def _define_process(self) -> None:
        self._build = self._gauge("build_info", "Version of marketd and of Python; always 1.", "version", "python")
        self._reload_ok = self._gauge("config_last_reload_successful", "1 when the last reload was accepted.")
        self._reload_at = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When configuration was last accepted."
        )
        self._tick_at = self._gauge("scheduler_last_tick_timestamp_seconds", "When the scheduler last turned.")
        self._store_errors = self._counter("store_errors_total", "Statements the database did not carry out.", "kind")

    def _define_jobs(self) -> None:
        self._jobs = self._gauge("jobs", "Rows of the job table by state.", "state")
        self._delay = self._histogram(
            "firing_delay_seconds", "From the due time of a firing to its start.", DELAY_S, "job_type"
        )
        self._firings = self._counter("firings_total", "Firings by what became of them.", "job_type", "outcome")
        self._runs = self._counter("runs_total", "Finished runs.", "job_type", "outcome")
        self._run_s = self._histogram("run_duration_seconds", "How long runs took.", RUN_S, "job_type")

    def _define_series(self) -> None:
        self._until = self._gauge(
            "series_answered_until_timestamp_seconds", "Up to when a series is answered; 0: not at all.", *_SERIES
        )
        self._objective = self._gauge(
            "series_freshness_objective_seconds", "How far a series may be behind; only those with a goal.", *_SERIES
        )
        self._missing = self._gauge("series_missing_candles", "Intervals owed by open gaps.", *_SERIES, "cause")

    def _define_exchanges(self) -> None:
        self._stored = self._counter("candles_stored_total", "Candles written.", "exchange", "kind")
        self._revised = self._counter("revisions_total", "Stored candles that the exchange changed.", "exchange")
        self._empty = self._counter("empty_intervals_total", "Intervals newly answered empty.", "exchange")
        self._dropped = self._counter("rows_dropped_total", "Rows refused as misaligned or implausible.", "exchange")
        self._store_s = self._histogram("page_store_duration_seconds", "Storing a page.", STORE_S, "exchange")
        self._opened = self._counter("gaps_opened_total", "Gaps opened.", "exchange")
        self._closed = self._counter("gaps_closed_total", "Gaps closed.", "exchange")
        self._requests = self._counter("requests_total", "Requests by outcome.", "exchange", "outcome")
        self._request_s = self._histogram("request_duration_seconds", "Requests.", REQUEST_S, "exchange")
        self._wait_s = self._histogram("gate_wait_seconds", "Waiting for the budget.", WAIT_S, "exchange", "claim")
        self._limit = self._gauge("budget_limit_requests_per_second", "Requests the exchange allows.", "exchange")
        self._demand = self._gauge("budget_demand_requests_per_second", "Requests the jobs need.", "exchange")
        self._circuit = self._gauge("circuit_open", "1 while an exchange is left alone after failures.", "exchange")
        self._lease = self._gauge("lease_held", "1 while this process works on the exchange.", "exchange")

    def _know_closed_sets(self) -> None:
        for state in JOB_STATES:
            self._jobs.labels(state)
        for kind in STORE_ERRORS:
            self._store_errors.labels(kind)
        for job_type in JobType:
            self._delay.labels(job_type)
            self._run_s.labels(job_type)
            for outcome in FIRING_OUTCOMES:
                self._firings.labels(job_type, outcome)
            for outcome in RUN_OUTCOMES:
                self._runs.labels(job_type, outcome)

    def know(self, exchanges: Iterable[str], objectives: Mapping[Series, float | None]) -> None:
        """The exchanges and series from now on: new ones appear with 0, others vanish.

        ``objectives`` holds every tracked series with its freshness objective in seconds, None where it has none.
        """
        wanted = frozenset(exchanges) | {series.exchange for series in objectives}
        for exchange in self._exchanges - wanted:
            self._forget_exchange(exchange)
        for exchange in wanted - self._exchanges:
            self._know_exchange(exchange)
        for series in self._series - objectives.keys():
            self._forget_series(series)
        for series in objectives.keys() - self._series:
            self._until.labels(*series)
            for cause in Cause:
                self._missing.labels(*series, cause)
        self._objective.clear()
        for series, objective_s in objectives.items():
            if objective_s is not None:
                self._objective.labels(*series).set(objective_s)
        self._exchanges, self._series = wanted, frozenset(objectives)

    def _by_exchange(self) -> tuple[Counter | Gauge | Histogram, ...]:
        return (
            self._revised, self._empty, self._dropped, self._store_s, self._opened, self._closed, self._request_s,
            self._limit, self._demand, self._circuit, self._lease,
        )  # fmt: skip

    def _know_exchange(self, exchange: str) -> None:
        for family in self._by_exchange():
            family.labels(exchange)
        for kind in ("inserted", "updated"):
            self._stored.labels(exchange, kind)
        for outcome in REQUEST_OUTCOMES:
            self._requests.labels(exchange, outcome)
        for claim in CLAIMS.values():
            self._wait_s.labels(exchange, claim)

    def _forget_exchange(self, exchange: str) -> None:
        for family in (*self._by_exchange(), self._stored, self._requests, self._wait_s):
            family.remove_by_labels({"exchange": exchange})

    def _forget_series(self, series: Series) -> None:
        self._until.remove(*series)
        for cause in Cause:
            self._missing.remove(*series, cause)

    def config_loaded(self, at_ms: int) -> None:
        """Configuration and jobs were accepted, at start or at a reload."""
        self._reload_ok.set(1)
        self._reload_at.set(at_ms / 1000)

    def config_refused(self) -> None:
        self._reload_ok.set(0)

    def jobs_counted(self, counts: Mapping[str, int]) -> None:
        """How many job rows are in which state of ``JOB_STATES``; those not named are 0."""
        for state in JOB_STATES:
            self._jobs.labels(state).set(counts.get(state, 0))

    def tick(self, at_ms: int) -> None:
        """The scheduler has turned."""
        self._tick_at.set(at_ms / 1000)

    def fired(self, job_type: JobType, outcome: str, delay_s: float) -> None:
        self._firings.labels(job_type, _one_of(outcome, FIRING_OUTCOMES)).inc()
        self._delay.labels(job_type).observe(max(0.0, delay_s))

    def run_finished(self, job_type: JobType, status: RunStatus, duration_s: float) -> None:
        self._runs.labels(job_type, status).inc()
        self._run_s.labels(job_type).observe(duration_s)

    def request_done(self, exchange: str, outcome: str, duration_s: float) -> None:
        """``outcome`` is one of ``REQUEST_OUTCOMES``; any other counts as ``other``."""
        self._requests.labels(exchange, _one_of(outcome, REQUEST_OUTCOMES)).inc()
        self._request_s.labels(exchange).observe(duration_s)

    def gate_waited(self, exchange: str, claim: Claim, wait_s: float) -> None:
        self._wait_s.labels(exchange, CLAIMS[claim]).observe(wait_s)

    def page_stored(
        self, series: Series, inserted: int, updated: int, revised: int, empties: int, dropped: int, duration_s: float
    ) -> None:
        exchange = series.exchange
        self._stored.labels(exchange, "inserted").inc(inserted)
        self._stored.labels(exchange, "updated").inc(updated)
        self._revised.labels(exchange).inc(revised)
        self._empty.labels(exchange).inc(empties)
        self._dropped.labels(exchange).inc(dropped)
        self._store_s.labels(exchange).observe(duration_s)

    def gaps_changed(self, series: Series, opened: int, closed: int) -> None:
        self._opened.labels(series.exchange).inc(opened)
        self._closed.labels(series.exchange).inc(closed)

    def series_missing(self, series: Series, by_cause: Mapping[Cause, int]) -> None:
        """How many intervals of the series open gaps owe now; causes not named owe none."""
        if series in self._series:
            for cause in Cause:
                self._missing.labels(*series, cause).set(by_cause.get(cause, 0))

    def answered_until(self, series: Series, at_ms: int) -> None:
        """Ignores series that are not tracked: an order by hand must not make one that ages for ever."""
        if series in self._series:
            self._until.labels(*series).set(at_ms / 1000)

    def budget(self, exchange: str, limit_per_s: float, demand_per_s: float) -> None:
        self._limit.labels(exchange).set(limit_per_s)
        self._demand.labels(exchange).set(demand_per_s)

    def circuit(self, exchange: str, is_open: bool) -> None:
        self._circuit.labels(exchange).set(is_open)

    def lease(self, exchange: str, held: bool) -> None:
        self._lease.labels(exchange).set(held)

    def store_failed(self, kind: str) -> None:
        """``kind`` is one of ``STORE_ERRORS``; any other counts as ``other``."""
        self._store_errors.labels(_one_of(kind, STORE_ERRORS)).inc()


def _one_of(word: str, allowed: tuple[str, ...]) -> str:
    return word if word in allowed else "other"
