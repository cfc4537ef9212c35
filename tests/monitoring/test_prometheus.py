"""The shipped alerts in a real Prometheus that scrapes real daemons: each fires for what it is there for, and ends;
in an hour in which nothing is wrong, none does."""

import asyncio
import json
import re
from typing import Final

import pytest

from tests.monitoring.compression import milliseconds, shortened_ages, shorter_ms
from tests.monitoring.conftest import SHIPPED, Stage
from tests.monitoring.prometheus import HISTORY
from tests.monitoring.scenes import HEALTHY, NO_TARGET, SCENES
from tests.processes import ROOT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

DASHBOARD: Final = ROOT / "packaging" / "grafana" / "marketd.json"
HOUR_S: Final = 3600
SELECTOR: Final = re.compile(r"\b(?:marketd_\w+|up)\{[^}]*\}")
WINDOW: Final = re.compile(r"(?<=\[)\w+(?=\])")


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.alert])
async def test_the_alert_fires_and_ends(stage: Stage, name: str) -> None:
    scene, prometheus = SCENES[name], stage.prometheus
    if scene.strike is not None:
        assert stage.calm[name] == set()

    async def fired() -> bool:
        return scene.alert in await prometheus.fired(name)

    async def ended() -> bool:
        return not await prometheus.firing(name)

    await stage.until(name, fired)
    assert await prometheus.fired(name) <= {scene.alert, *scene.also}, await stage.story(name)
    if scene.mend is not None:
        await scene.mend(stage.sites[name])
        await stage.until(name, ended)


async def test_a_job_without_any_target_is_down(stage: Stage) -> None:
    async def fired() -> bool:
        return await stage.prometheus.fired(NO_TARGET) == {"MarketdDown"}

    await stage.until(NO_TARGET, fired)


def _questions() -> list[tuple[str, str]]:
    """Every question of the dashboard: the panel's title, and what it asks."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], query["expr"]) for panel in panels for query in panel.get("targets", ())]


@pytest.mark.parametrize(("title", "expression"), _questions())
async def test_every_panel_of_the_dashboard_has_an_answer(stage: Stage, title: str, expression: str) -> None:
    asked = expression.replace("$__rate_interval", "10s").replace("$instance", ".*").replace("$exchange", ".*")
    asked = re.sub(r'instance=~"\.\*"', f'job="{HEALTHY}"', asked)

    async def answered() -> bool:
        return len(await stage.prometheus.query(asked)) > 0

    await stage.until(HEALTHY, answered)


async def test_none_fires_in_a_healthy_hour(stage: Stage) -> None:
    """It is watched for an hour of the shipped times, and for longer than any rule waits and looks back."""
    rules = await stage.prometheus.rules(stage.rules[HEALTHY])
    windows_ms = [milliseconds(window) for rule in rules for window in WINDOW.findall(rule["query"])]
    hour_s = max(rule["duration"] for rule in rules) + max(shorter_ms(HOUR_S * 1000), *windows_ms) / 1000
    left_s = stage.began_s + hour_s - asyncio.get_running_loop().time()
    await asyncio.sleep(max(0, left_s))
    assert await stage.prometheus.fired(HEALTHY) == set(), await stage.story(HEALTHY)
    up = await stage.prometheus.query(f'sum_over_time(up{{job="{HEALTHY}"}}[{HISTORY}])')
    assert len(up) == 2
    assert min(scrapes for _, scrapes in up) > 0.9 * hour_s
    held = await stage.prometheus.query(f'sum(marketd_lease_held{{job="{HEALTHY}"}})')
    assert [value for _, value in held] == [1]


async def test_a_healthy_page_has_everything_that_the_rules_ask_for(stage: Stage) -> None:
    """What a rule asks for and does not find makes it silent, not wrong."""
    for rule in await stage.prometheus.rules(stage.rules[HEALTHY]):
        selectors = SELECTOR.findall(rule["query"])
        assert selectors, rule["query"]
        for selector in selectors:
            assert f'job="{HEALTHY}"' in selector
            assert await stage.prometheus.query(selector), f"{rule['name']}: nothing is {selector}"


async def test_every_rule_can_be_evaluated(stage: Stage) -> None:
    wrong = []
    for name, file in stage.rules.items():
        rules = await stage.prometheus.rules(file)
        assert rules
        wrong += [(name, rule) for rule in rules if rule["health"] != "ok" or rule.get("lastError")]
    assert wrong == []


async def test_every_shipped_alert_has_a_scene(stage: Stage) -> None:
    shipped = {rule["name"] for rule in await stage.prometheus.rules(SHIPPED)}
    assert shipped == {scene.alert for scene in SCENES.values() if scene.alert}


async def test_the_rules_are_the_shipped_ones_but_for_their_times(stage: Stage) -> None:
    """By Prometheus' own reading of both files."""
    shipped, tested = [await stage.prometheus.rules(file) for file in (SHIPPED, stage.rules[HEALTHY])]
    assert len(shipped) == len(tested)
    for one, other in zip(shipped, tested, strict=True):
        assert (one["name"], one["labels"], one["annotations"]) == (
            other["name"],
            other["labels"],
            other["annotations"],
        )
        assert other["duration"] * 1000 == shorter_ms(int(one["duration"] * 1000))
        one_query, other_query = one["query"], other["query"].replace(f'job="{HEALTHY}"', 'job="marketd"')
        windows = [[milliseconds(window) for window in WINDOW.findall(query)] for query in (one_query, other_query)]
        assert [shorter_ms(window_ms) for window_ms in windows[0]] == windows[1]
        assert shortened_ages(WINDOW.sub("", one_query)) == WINDOW.sub("", other_query)
