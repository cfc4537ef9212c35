"""The dashboard that ships is the one that is written down, and asks for metrics that there are."""

import json
import re
import runpy

from marketd.metrics import Metrics
from tests.processes import ROOT

FOLDER = ROOT / "packaging" / "grafana"


def test_the_rendered_dashboard_is_current() -> None:
    written = runpy.run_path(str(FOLDER / "dashboard.py"))
    assert (FOLDER / "marketd.json").read_text() == written["rendered"](), "run: python packaging/grafana/dashboard.py"


def test_every_metric_it_asks_for_exists() -> None:
    panels = json.loads((FOLDER / "marketd.json").read_text())["panels"]
    asked = {name for panel in panels for query in panel.get("targets", ()) for name in _metrics(query["expr"])}
    there = {metric.name for metric in Metrics().registry.collect()}
    assert len(asked) > 20
    assert {name.removesuffix("_total").removesuffix("_bucket") for name in asked} <= there


def _metrics(expression: str) -> list[str]:
    return re.findall(r"marketd_\w+", expression)
