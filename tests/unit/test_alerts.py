"""The alert rules name metrics that exist, and every alert has its section in the runbook."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.parser import text_string_to_metric_families

from marketd.metrics import Metrics
from marketd.model import Series

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "packaging" / "prometheus"
RULES = (PACKAGED / "marketd-alerts.yml").read_text(encoding="utf-8")
RULE_TESTS = (PACKAGED / "marketd-alerts.test.yml").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
MANUAL = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
_UNCOMMENTED = re.sub(r"^ *#.*\n", "", RULES, flags=re.MULTILINE)
ALERTS = dict(
    re.findall(r"^      - alert: (\w+)\n(.*?)(?=^      - alert: |\Z)", _UNCOMMENTED, re.MULTILINE | re.DOTALL)
)
EVERY_ALERT = pytest.mark.parametrize("name", ALERTS)


def expression(name: str) -> str:
    """The PromQL of an alert, on one line."""
    found = re.search(r"^        expr: (?:>-)?(.*?)^        for: ", ALERTS[name], re.MULTILINE | re.DOTALL)
    assert found is not None, f"{name} has no expr or no for"
    return " ".join(found[1].split())


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bmarketd_\w+", text))


def known_labels() -> dict[str, dict[str, set[str]]]:
    """Sample name -> label -> the values it has from the first scrape."""
    metrics = Metrics("1.2.3")
    metrics.know(["bitfinex"], {Series("bitfinex", "BTCUSD", "1m"): 480.0})
    known: dict[str, dict[str, set[str]]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = known.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return known


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def renderer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render_metrics", PACKAGED / "render_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_alert_is_overlooked_here() -> None:
    assert len(ALERTS) == RULES.count("alert:") >= 10


@EVERY_ALERT
def test_every_metric_of_a_rule_exists_and_is_in_the_manual(name: str) -> None:
    named = metrics_in(expression(name))
    assert named or name == "MarketdDown"
    assert named <= known_labels().keys()
    assert [metric for metric in named if f"`{metric}`" not in MANUAL] == []


@EVERY_ALERT
def test_every_label_that_a_rule_asks_for_exists(name: str) -> None:
    known = known_labels()
    for metric, matchers in re.findall(r"\b(marketd_\w+)\{([^}]*)\}", expression(name)):
        for label, wanted in re.findall(r'(\w+)[!=]=?~?"([^"]*)"', matchers):
            if label not in ("job", "instance"):  # Prometheus adds them
                assert set(wanted.split("|")) <= known[metric].get(label, set()), f"{metric} {label}"


@EVERY_ALERT
def test_every_alert_has_its_section_in_the_runbook(name: str) -> None:
    assert f'runbook_url: "docs/runbook.md#{name.lower()}"' in ALERTS[name]
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found is not None
    for part in ("**Means** ", "**Look at**", "**Do** "):
        assert part in found[1]
    severity = re.search(r"severity: (critical|warning)$", ALERTS[name], re.MULTILINE)
    assert severity is not None
    assert f"| [{name}](#{name.lower()}) | {severity[1]} |" in RUNBOOK
    for annotation in ("summary", "description"):
        assert re.search(rf'^          {annotation}: ".+"$', ALERTS[name], re.MULTILINE)


def test_the_runbook_has_no_section_without_an_alert_and_no_dead_anchor() -> None:
    assert re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)
    assert set(re.findall(r"\(#([\w-]+)\)", RUNBOOK)) <= anchors(RUNBOOK)
    assert metrics_in(RUNBOOK) - {"marketd_run", "marketd_count_figures"} <= metrics_in(MANUAL)  # a role, a function


@EVERY_ALERT
def test_every_alert_is_tested_to_fire_and_not_to_fire(name: str) -> None:
    fires = re.findall(rf"alertname: {name}\n +eval_time: \w+\n +exp_alerts:", RULE_TESTS)
    assert fires
    assert f"{{alertname: {name}, eval_time: " in RULE_TESTS


def test_the_rendered_page_shows_every_metric_that_a_rule_names() -> None:
    page = renderer().page().decode()
    shown = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    assert metrics_in(" ".join(map(expression, ALERTS))) <= shown
