"""Metrics: what the daemon has done and how far it is, for Prometheus.

Owns the names, the closed sets of label values and the registry. Its methods are named after facts; who calls them
knows nothing of Prometheus. Series of known labels exist, with 0, from the moment they are known, so that an alert on
them can fire before the first fact. Refuses error texts, run ids and free words as labels. What has a label for every
series stands on the ``board``.
"""

import math
import platform
from collections.abc import Callable, Iterable, Mapping
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
from marketd.board import Board
from marketd.figures import Verification
from marketd.model import Cause, Claim, Drop, JobType, RunStatus, Series
from marketd.ports import Events

REQUEST_OUTCOMES: Final = ("ok", "throttled", "unreachable", "refused", "failed", "other")
FIRING_OUTCOMES: Final = ("run", "late", "skipped", "other")
STORE_ERRORS: Final = ("unavailable", "disk_full", "lease_lost", "refused", "other")
JOB_STATES: Final = ("enabled", "refused")
SERIES_STATES: Final = ("complete", "incomplete", "late", "never")
INTERVAL_STATES: Final = ("stored", "empty_once", "empty_confirmed", "unknown")
PAGE_OUTCOMES: Final = ("stored", "refused")
MONTH_OUTCOMES: Final = ("taken", "absent", "refused", "unreachable")
VERIFY_OUTCOMES: Final = ("clean", "violated", "failed")
INVARIANTS: Final = (
    "i01_accounted", "i03_repaired", "i06_empties_within", "i07_closed", "i08_aligned", "i09_sane", "i10_counted",
    "i11_one_run", "i12_orphans", "i13_fired_once", "i14_run_shape", "i15_disjoint", "i16_covered", "i17_owed_closed",
    "i18_no_secret", "i18_no_secret_gaps", "i18_no_secret_jobs", "i19_figures", "i20_run_figures",
    "i21_owed_not_answered",
)  # fmt: skip
"""The promises of ``sql/verify`` whose breach is a violation."""
RESTS: Final = ("unlisted", "halted", "delisted")
RELOAD_OUTCOMES: Final = ("accepted", "refused")
POOLS: Final = ("pages", "port")
POOL_STATES: Final = ("used", "idle")
RUN_OUTCOMES: Final = tuple(status.value for status in RunStatus if status is not RunStatus.RUNNING)
CLAIMS: Final = {claim: claim.name.lower() for claim in Claim}
Family = Counter | Gauge | Histogram

REQUEST_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STORE_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
RUN_S: Final = (1, 5, 15, 60, 300, 900, 3600)
WAIT_S: Final = (0.01, 0.1, 0.5, 1, 2.5, 5, 15, 60, 300)
DELAY_S: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 3600)
TURN_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)
LAG_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics(Events):
    """All families of the daemon in a registry of their own; ``registry`` is what ``/metrics`` shows."""

    def __init__(self, version: str = marketd.__version__) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._exchanges: frozenset[str] = frozenset()
        self._board = Board()
        self.registry.register(self._board)
        self._define_process()
        self._define_jobs()
        self._define_asking()
        self._define_storing()
        self._define_totals()
        self._define_promises()
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
        self._reload_tried_at = self._gauge(
            "config_last_reload_attempt_timestamp_seconds", "When a reload was last begun; 0: never."
        )
        self._reload_s = self._gauge("config_last_reload_duration_seconds", "How long the last reload took.")
        self._reloads = self._counter("config_reloads_total", "Reloads by outcome.", "outcome")
        self._tick_at = self._gauge(
            "scheduler_last_tick_timestamp_seconds", "When the scheduler last turned.", "exchange"
        )
        self._turn_s = self._histogram("scheduler_turn_duration_seconds", "Turns of the scheduler.", TURN_S, "exchange")
        self._lag_s = self._histogram("event_loop_lag_seconds", "How late the event loop woke a sleeper.", LAG_S)
        self._tasks = self._gauge("event_loop_tasks", "Tasks of the event loop that have not ended.")
        self._pool = self._gauge("pool_connections", "Open connections to the database.", "pool", "state")
        self._pool_max = self._gauge("pool_connections_max", "Connections that a pool may open.", "pool")
        self._store_errors = self._counter("store_errors_total", "Statements the database did not carry out.", "kind")
        self._database_up = self._gauge("database_up", "1 while the database answers.")
        self._oldest_s = self._gauge(
            "database_oldest_transaction_seconds", "For how long the oldest open transaction has been seen."
        )

        self._disk_free = self._gauge(
            "database_disk_free_bytes", "What is left of the disk that [database] disk names; NaN where nobody knows."
        )
        self._disk_free.set(math.nan)
        self._disk_least = self._gauge(
            "database_disk_least_free_bytes", "What has to be left of it for backfills to go on."
        )

    def _define_jobs(self) -> None:
        self._jobs = self._gauge("jobs", "Rows of the job table by state.", "state")
        self._resting = self._gauge(
            "symbols_resting", "Tracked symbols that the exchange does not trade, by its list.", "exchange", "reason"
        )
        self._failing = self._gauge(
            "jobs_failing", "Jobs whose last run failed or was partial.", "exchange", "job_type"
        )
        self._delay = self._histogram(
            "firing_delay_seconds", "From the due time of a firing to its start.", DELAY_S, "job_type"
        )
        self._firings = self._counter("firings_total", "Firings by what became of them.", "job_type", "outcome")
        self._runs = self._counter("runs_total", "Finished runs.", "job_type", "outcome")
        self._run_s = self._histogram("run_duration_seconds", "How long runs took.", RUN_S, "job_type")

    def _define_asking(self) -> None:
        self._requests = self._counter("requests_total", "Requests by outcome.", "exchange", "outcome")
        self._request_s = self._histogram("request_duration_seconds", "Requests.", REQUEST_S, "exchange")
        self._wait_s = self._histogram("gate_wait_seconds", "Waiting for the budget.", WAIT_S, "exchange", "claim")
        self._limit = self._gauge("budget_limit_requests_per_second", "Requests the exchange allows.", "exchange")
        self._demand = self._gauge("budget_demand_requests_per_second", "Requests the jobs need.", "exchange")
        self._used = self._gauge("budget_used_requests", "Requests of the last minute.", "exchange")
        self._free = self._gauge("budget_free_requests", "Requests left of the last minute's budget.", "exchange")
        self._blocked_until = self._gauge(
            "budget_blocked_until_timestamp_seconds", "Until when no request is sent; 0: not blocked.", "exchange"
        )
        self._circuit = self._gauge("circuit_open", "1 while an exchange is left alone after failures.", "exchange")
        self._lease = self._gauge("lease_held", "1 while this process works on the exchange.", "exchange")

    def _define_storing(self) -> None:
        self._months = self._counter("archive_months_total", "Months of an archive, by outcome.", "exchange", "outcome")
        self._pages = self._counter("pages_total", "Pages of candles by outcome.", "exchange", "outcome")
        self._stored = self._counter("candles_stored_total", "Candles written.", "exchange", "kind")
        self._revised = self._counter("revisions_total", "Stored candles that the exchange changed.", "exchange")
        self._empty = self._counter("empty_intervals_total", "Intervals newly answered empty.", "exchange")
        self._dropped = self._counter("rows_dropped_total", "Rows sent and not stored.", "exchange", "reason")
        self._store_s = self._histogram("page_store_duration_seconds", "Storing a page.", STORE_S, "exchange")
        self._opened = self._counter("gaps_opened_total", "Gaps opened.", "exchange")
        self._closed = self._counter("gaps_closed_total", "Gaps closed.", "exchange")

    def _define_totals(self) -> None:
        self._tracked = self._gauge("series", "Tracked series by state.", "exchange", "state")
        self._intervals = self._gauge("intervals", "Intervals by what is known of them.", "exchange", "state")
        self._complete = self._gauge("completeness_ratio", "Share of the wanted history that is proven.", "exchange")
        self._open_gaps = self._gauge("open_gaps", "Open gaps.", "exchange", "cause")
        self._missing = self._gauge("missing_candles", "Intervals owed by open gaps.", "exchange", "cause")

    def _define_promises(self) -> None:
        self._violations = self._gauge(
            "invariant_violations", "Rows that broke a promise when it was last verified.", "id"
        )
        self._verified_at = self._gauge("verify_last_run_timestamp_seconds", "When the promises were last verified.")
        self._verify_s = self._gauge("verify_last_run_duration_seconds", "How long that took.")
        self._verified_share = self._gauge("verify_last_run_ratio", "Share of the tables that was looked at then.")
        self._verifications = self._counter("verify_runs_total", "Looks of this process by outcome.", "outcome")

    def _know_closed_sets(self) -> None:
        for state in JOB_STATES:
            self._jobs.labels(state)
        for kind in STORE_ERRORS:
            self._store_errors.labels(kind)
        for outcome in RELOAD_OUTCOMES:
            self._reloads.labels(outcome)
        for invariant in INVARIANTS:
            self._violations.labels(invariant)
        for outcome in VERIFY_OUTCOMES:
            self._verifications.labels(outcome)
        for pool in POOLS:
            self.pool(pool, used=0, idle=0, most=0)
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
            for family in (*self._by_exchange(), *(family for family, _ in self._by_exchange_and_more())):
                family.remove_by_labels({"exchange": exchange})
        for exchange in wanted - self._exchanges:
            for family in self._by_exchange():
                family.labels(exchange)
            for family, words in self._by_exchange_and_more():
                for word in words:
                    family.labels(exchange, word)
        self._exchanges = wanted
        self._board.track(objectives)

    def _by_exchange(self) -> tuple[Family, ...]:
        return (
            self._revised, self._empty, self._store_s, self._opened, self._closed, self._request_s, self._limit,
            self._demand, self._used, self._free, self._blocked_until, self._circuit, self._lease, self._tick_at,
            self._turn_s, self._complete,
        )  # fmt: skip

    def _by_exchange_and_more(self) -> tuple[tuple[Family, Iterable[str]], ...]:
        """The families with one more label, each with all that it can say."""
        return (
            (self._stored, ("inserted", "updated")), (self._requests, REQUEST_OUTCOMES), (self._pages, PAGE_OUTCOMES),
            (self._wait_s, CLAIMS.values()), (self._dropped, Drop), (self._tracked, SERIES_STATES),
            (self._intervals, INTERVAL_STATES), (self._open_gaps, Cause), (self._missing, Cause),
            (self._failing, JobType), (self._resting, RESTS), (self._months, MONTH_OUTCOMES),
        )  # fmt: skip

    def show_series(self, most: int) -> None:
        """No more than ``most`` series have metrics of their own: the worst ones."""
        self._board.limit = most

    def config_loaded(self, at_ms: int) -> None:
        """Configuration and jobs were accepted at the start."""
        self._reload_ok.set(1)
        self._reload_at.set(at_ms / 1000)

    def reloaded(self, accepted: bool, began_ms: int, ended_ms: int) -> None:
        """Configuration and jobs were read anew, and accepted or refused as a whole."""
        self._reload_ok.set(accepted)
        self._reload_tried_at.set(began_ms / 1000)
        self._reload_s.set((ended_ms - began_ms) / 1000)
        self._reloads.labels("accepted" if accepted else "refused").inc()
        if accepted:
            self._reload_at.set(ended_ms / 1000)

    def jobs_counted(self, counts: Mapping[str, int]) -> None:
        """How many job rows are in which state of ``JOB_STATES``; those not named are 0."""
        for state in JOB_STATES:
            self._jobs.labels(state).set(counts.get(state, 0))

    def jobs_failing(self, exchange: str, counts: Mapping[JobType, int]) -> None:
        """How many enabled jobs of each type ended their last run badly; types not named have none."""
        for job_type in JobType:
            self._failing.labels(exchange, job_type).set(counts.get(job_type, 0))

    def series_counted(self, exchange: str, counts: Mapping[str, int]) -> None:
        """How many tracked series are in which of ``SERIES_STATES``; those not named are 0."""
        for state in SERIES_STATES:
            self._tracked.labels(exchange, state).set(counts.get(state, 0))

    def intervals_counted(self, exchange: str, counts: Mapping[str, int], completeness: float) -> None:
        """How many intervals are in which of ``INTERVAL_STATES``, and the proven share of what is wanted, 0 to 1."""
        for state in INTERVAL_STATES:
            self._intervals.labels(exchange, state).set(counts.get(state, 0))
        self._complete.labels(exchange).set(completeness)

    def gaps_counted(self, exchange: str, cause: Cause, gaps: int, missing: int) -> None:
        """How many open gaps there are, and how many intervals they owe."""
        self._open_gaps.labels(exchange, cause).set(gaps)
        self._missing.labels(exchange, cause).set(missing)

    def tick(self, exchange: str, at_ms: int) -> None:
        """The scheduler has begun a turn."""
        self._tick_at.labels(exchange).set(at_ms / 1000)

    def turned(self, exchange: str, duration_s: float) -> None:
        self._turn_s.labels(exchange).observe(duration_s)

    def loop_lagged(self, lag_s: float) -> None:
        """The event loop woke a sleeper ``lag_s`` too late."""
        self._lag_s.observe(max(0.0, lag_s))

    def tasks(self, count: int) -> None:
        """Tasks of the event loop that have not ended."""
        self._tasks.set(count)

    def pool(self, pool: str, *, used: int, idle: int, most: int) -> None:
        """Connections of one of ``POOLS``: at work, open without work, and how many there may be."""
        self._pool.labels(pool, "used").set(used)
        self._pool.labels(pool, "idle").set(idle)
        self._pool_max.labels(pool).set(most)

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
        self, series: Series, inserted: int, updated: int, revised: int, empties: int, drops: Mapping[Drop, int],
        duration_s: float,
    ) -> None:  # fmt: skip
        exchange = series.exchange
        self._pages.labels(exchange, "stored").inc()
        self._stored.labels(exchange, "inserted").inc(inserted)
        self._stored.labels(exchange, "updated").inc(updated)
        self._revised.labels(exchange).inc(revised)
        self._empty.labels(exchange).inc(empties)
        for reason, rows in drops.items():
            self._dropped.labels(exchange, reason).inc(rows)
        self._store_s.labels(exchange).observe(duration_s)

    def page_refused(self, exchange: str, reason: Drop, rows: int) -> None:
        """A page could not be used; ``rows`` is 0 where it could not even be read."""
        self._pages.labels(exchange, "refused").inc()
        self._dropped.labels(exchange, reason).inc(rows)

    def month_read(self, exchange: str, outcome: str) -> None:
        """Of an exchange's archive; ``outcome`` is one of ``MONTH_OUTCOMES``."""
        self._months.labels(exchange, outcome).inc()

    def gaps_changed(self, series: Series, opened: int, closed: int) -> None:
        self._opened.labels(series.exchange).inc(opened)
        self._closed.labels(series.exchange).inc(closed)

    def series_missing(self, series: Series, missing: Mapping[Cause, int]) -> None:
        """How many intervals open gaps of the series owe now; causes not named owe none."""
        if (line := self._board.lines.get(series)) is not None:
            line.missing = missing

    def series_gaps(self, series: Series, open_gaps: int) -> None:
        if (line := self._board.lines.get(series)) is not None:
            line.open_gaps = open_gaps

    def answered_until(self, series: Series, at_ms: int) -> None:
        """Ignores series that are not tracked: an order by hand must not make one that ages for ever."""
        if (line := self._board.lines.get(series)) is not None:
            line.until_ms = at_ms

    def judge(self, now_ms: Callable[[str], int]) -> None:
        """Decide which series are as fresh as they shall be, by the time of their exchange in ms."""
        self._board.judge(now_ms)

    def budget(self, exchange: str, limit_per_s: float, demand_per_s: float) -> None:
        self._limit.labels(exchange).set(limit_per_s)
        self._demand.labels(exchange).set(demand_per_s)

    def budget_state(self, exchange: str, *, used: int, free: float, blocked_until_ms: int | None) -> None:
        """Requests of the last minute, how many more there could have been, and until when none is sent."""
        self._used.labels(exchange).set(used)
        self._free.labels(exchange).set(free)
        self._blocked_until.labels(exchange).set((blocked_until_ms or 0) / 1000)

    def circuit(self, exchange: str, is_open: bool) -> None:
        self._circuit.labels(exchange).set(is_open)

    def markets_rest(self, exchange: str, counts: Mapping[str, int]) -> None:
        for rest in RESTS:
            self._resting.labels(exchange, rest).set(counts.get(rest, 0))

    def lease(self, exchange: str, held: bool) -> None:
        self._lease.labels(exchange).set(held)

    def verified(self, outcome: str) -> None:
        """This process has held the promises against the tables; ``outcome`` is one of ``VERIFY_OUTCOMES``."""
        self._verifications.labels(outcome).inc()

    def last_verification(self, last: Verification) -> None:
        """What was found last, whoever looked."""
        self._verified_at.set(last.ended_ms / 1000)
        self._verify_s.set((last.ended_ms - last.began_ms) / 1000)
        self._verified_share.set(last.share)
        for invariant in INVARIANTS:
            self._violations.labels(invariant).set(last.violations.get(invariant, 0))

    def database(self, answers: bool) -> None:
        """The figures could be read, or could not."""
        self._database_up.set(answers)

    def oldest_transaction(self, age_s: float) -> None:
        """For how long the oldest transaction that is open in the database, whoever's, has been seen; 0: none is."""
        self._oldest_s.set(age_s)

    def disk_free(self, left: int | None, least: int) -> None:
        """What is left and what has to be, in bytes; None where nobody knows."""
        self._disk_free.set(math.nan if left is None else left)
        self._disk_least.set(least)

    def store_failed(self, kind: str) -> None:
        """``kind`` is one of ``STORE_ERRORS``; any other counts as ``other``."""
        self._store_errors.labels(_one_of(kind, STORE_ERRORS)).inc()


def _one_of(word: str, allowed: tuple[str, ...]) -> str:
    return word if word in allowed else "other"
