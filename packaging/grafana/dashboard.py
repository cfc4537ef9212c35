"""``python packaging/grafana/dashboard.py``: renders ``marketd.json``, the dashboard that ships.

Owns which panels there are and what they ask. The questions come first, in the order of the status page: is everything
fresh, are there holes, when will the backfill be done; below, why. ``make test-monitoring`` asks a real Prometheus all
of it about a daemon that works, and wants an answer.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

RENDERED: Final = Path(__file__).with_name("marketd.json")
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
_DEMAND: Final = "marketd_budget_demand_requests_per_second"
_LIMIT: Final = "marketd_budget_limit_requests_per_second"
_WHERE: Final = 'instance=~"$instance"'
_THERE: Final = 'instance=~"$instance",exchange=~"$exchange"'


@dataclass(frozen=True)
class Panel:
    """``queries`` are (legend, expression); a ``small`` one is a number."""

    title: str
    says: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    small: bool = False
    worst: float | None = None
    """From this value on a number is red."""


def _rate(name: str, by: str, where: str = _THERE) -> str:
    return f"sum by ({by}) (rate({name}{{{where}}}[$__rate_interval]))"


def _slowest(name: str, where: str = _THERE) -> str:
    return f"histogram_quantile(0.99, sum by (le) (rate({name}_bucket{{{where}}}[$__rate_interval])))"


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Three questions": (
        Panel(
            "Series that are late", "Is everything fresh? Series beyond their objective, or never answered.",
            (("", f'sum(marketd_series{{{_THERE},state=~"late|never"}})'),), small=True, worst=1,
        ),
        Panel("Open gaps", "Are there holes?", (("", f"sum(marketd_open_gaps{{{_THERE}}})"),), small=True, worst=1),
        Panel(
            "Still to be asked for", "When will the backfill be done? Wanted intervals that nobody has asked for yet.",
            (("", f'sum(marketd_intervals{{{_THERE},state="unknown"}})'),), small=True,
        ),
        Panel(
            "Complete", "The share of all wanted history that is stored, or known to be without a trade.",
            (("", f"min(marketd_completeness_ratio{{{_THERE}}})"),), "percentunit", small=True,
        ),
        Panel(
            "Promises broken", "Rows that the nightly look found to break a promise.",
            (("", f"sum(marketd_invariant_violations{{{_WHERE}}}) or vector(0)"),), small=True, worst=1,
        ),
        Panel("Database", "1 while it answers.", (("", f"min(marketd_database_up{{{_WHERE}}})"),), small=True),
    ),
    "Freshness and holes": (
        Panel(
            "How far behind, the ten worst", "From the end of what is answered to now.",
            (("{{exchange}} {{symbol}} {{timeframe}}",
              f"topk(10, time() - marketd_series_answered_until_timestamp_seconds{{{_THERE}}})"),), "s",
        ),
        Panel(
            "Candles owed, by cause", "What open gaps owe.",
            (("{{exchange}} {{cause}}", f"sum by (exchange, cause) (marketd_missing_candles{{{_THERE}}})"),),
        ),
        Panel(
            "Gaps opened and closed", "A second. Closed is by proof only.",
            (("opened {{exchange}}", _rate("marketd_gaps_opened_total", "exchange")),
             ("closed {{exchange}}", _rate("marketd_gaps_closed_total", "exchange"))),
        ),
        Panel(
            "Series by state", "Each is in exactly one.",
            (("{{exchange}} {{state}}", f"sum by (exchange, state) (marketd_series{{{_THERE}}})"),),
        ),
    ),
    "The exchanges": (
        Panel(
            "Requests of the last minute", "Against what is left of it.",
            (("used {{exchange}}", f"marketd_budget_used_requests{{{_THERE}}}"),
             ("free {{exchange}}", f"marketd_budget_free_requests{{{_THERE}}}")),
        ),
        Panel(
            "Requests by outcome", "A second.",
            (("{{exchange}} {{outcome}}", _rate("marketd_requests_total", "exchange, outcome")),), "reqps",
        ),
        Panel(
            "Slowest replies", "The 99th of a hundred.",
            (("reply", _slowest("marketd_request_duration_seconds")),
             ("waiting for the budget", _slowest("marketd_gate_wait_seconds"))), "s",
        ),
        Panel(
            "Left alone", "1 while the circuit is open; the lease is held by one process.",
            (("circuit open {{exchange}}", f"marketd_circuit_open{{{_THERE}}}"),
             ("lease held {{exchange}}", f"marketd_lease_held{{{_THERE}}}"),
             ("resting {{exchange}} {{reason}}", f"marketd_symbols_resting{{{_THERE}}}")),
        ),
        Panel(
            "What live jobs need of the budget", "Above 1 nothing can stay fresh.",
            (("{{exchange}}", f"{_DEMAND}{{{_THERE}}} / {_LIMIT}{{{_THERE}}}"),), "percentunit",
        ),
        Panel(
            "Rows that were not stored", "A second, by reason.",
            (("{{exchange}} {{reason}}", _rate("marketd_rows_dropped_total", "exchange, reason")),),
        ),
    ),
    "The work": (
        Panel(
            "Candles stored", "A second.",
            (("{{exchange}} {{kind}}", _rate("marketd_candles_stored_total", "exchange, kind")),),
        ),
        Panel(
            "Runs by outcome", "A second.",
            (("{{job_type}} {{outcome}}", _rate("marketd_runs_total", "job_type, outcome", _WHERE)),),
        ),
        Panel(
            "Jobs", "By state; and those whose last run failed.",
            (("{{state}}", f"sum by (state) (marketd_jobs{{{_WHERE}}})"),
             ("failing {{job_type}}", f"sum by (job_type) (marketd_jobs_failing{{{_THERE}}})")),
        ),
        Panel(
            "Slowest firing and page", "The 99th of a hundred.",
            (("from due to begun", _slowest("marketd_firing_delay_seconds", _WHERE)),
             ("storing a page", _slowest("marketd_page_store_duration_seconds"))), "s",
        ),
    ),
    "The process": (
        Panel("Memory", "Resident.", (("", f"process_resident_memory_bytes{{{_WHERE}}}"),), "bytes"),
        Panel(
            "Event loop", "How late it woke, the 99th of a hundred.",
            (("lag", _slowest("marketd_event_loop_lag_seconds", _WHERE)),), "s",
        ),
        Panel("Tasks", "Of the event loop.", (("", f"marketd_event_loop_tasks{{{_WHERE}}}"),)),
        Panel(
            "Connections to the database", "Of those that each pool may open.",
            (("{{pool}} {{state}}", f"marketd_pool_connections{{{_WHERE}}}"),),
        ),
        Panel(
            "Oldest transaction", "Whoever's it is: while one is open nothing dead is cleared away.",
            (("", f"marketd_database_oldest_transaction_seconds{{{_WHERE}}}"),), "s",
        ),
        Panel(
            "Last reload accepted", "1, or 0 where the last one was refused.",
            (("", f"marketd_config_last_reload_successful{{{_WHERE}}}"),), small=True,
        ),
    ),
}  # fmt: skip


def built() -> Any:
    made = (
        dashboard.Dashboard("marketd")
        .uid("marketd")
        .tags(["marketd", "candles"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("utc")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(_variable("instance", "label_values(marketd_build_info, instance)"))
        .with_variable(_variable("exchange", "label_values(marketd_lease_held, exchange)"))
    )
    for title, panels in ROWS.items():
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    return made.build()


def _variable(name: str, query: str) -> Any:
    return dashboard.QueryVariable(name).query(query).datasource(_SOURCE).multi(True).include_all(True).all_value(".*")


def _panel(panel: Panel) -> Any:
    made: Any = stat.Panel() if panel.small else timeseries.Panel()
    made = made.title(panel.title).description(panel.says).unit(panel.unit).datasource(_SOURCE)
    made = made.span(4 if panel.small else 12).height(4 if panel.small else 8)
    if panel.small:
        made = made.graph_mode(BigValueGraphMode.NONE)
    if panel.worst is not None:
        steps = [Threshold(color="green", value=None), Threshold(color="red", value=panel.worst)]
        made = made.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for legend, expression in panel.queries:
        made = made.with_target(prometheus.Dataquery().expr(expression).legend_format(legend))
    return made


def rendered() -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(built()) + "\n"


if __name__ == "__main__":
    RENDERED.write_text(rendered())
    print(f"{RENDERED}: {sum(map(len, ROWS.values()))} panels", file=sys.stderr)
