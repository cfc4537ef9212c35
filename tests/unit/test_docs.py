"""The manual is tested: what can be called, set or ended with is in it."""

import ast
import re
from pathlib import Path

import click
import pytest

from marketd import errors
from marketd.cli.root import COMMANDS, root
from marketd.jobfile import KEYS
from marketd.settings import (
    Database,
    Engine,
    ExchangeSettings,
    Http,
    Log,
    Metrics,
    Retention,
    Section,
    Settings,
    Verify,
)
from marketd.store.oracle import PROMISES
from marketd.store.queries import QUERIES
from tests.command import every_command

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = every_command()


def options(name: str) -> set[str]:
    return {option for param in ALL[name].params if isinstance(param, click.Option) for option in param.opts}


def section(name: str) -> str:
    found = re.search(rf"^## marketd {re.escape(name)}\n(.*?)(?=^## |\Z)", MANUAL, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/commands.md has no section on marketd {name}"
    return found[1]


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_flag_is_in_the_manual(name: str) -> None:
    said = section(name)
    for option in options(name) - {"--help", "--config"}:  # these are said once for all
        assert f"`{option}" in said, f"{option} of marketd {name} is not in docs/commands.md"
    assert f"marketd {name.split(maxsplit=1)[0]}`" in README


@pytest.mark.parametrize("name", ALL)
def test_the_manual_names_no_flag_that_is_not_there(name: str) -> None:
    known = options(name)
    table = "\n".join(line for line in section(name).splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(--[a-z-]+)", table.replace("`--data`", ""))) <= known | {"--symbol", "--ask"}


def test_the_list_of_commands_says_what_each_help_says() -> None:
    for name, lazy in COMMANDS.items():
        command = root.get_command(click.Context(root), name)
        assert command is not None
        assert command.name == name
        assert lazy.short.endswith(".")


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## Keys without a section", Settings), ("## `[database]`", Database), ("## `[http]`", Http),
        ("## `[metrics]`", Metrics), ("## `[exchanges.bitfinex]`", ExchangeSettings), ("## `[log]`", Log),
        ("## `[engine]`", Engine), ("## `[verify]`", Verify), ("## `[retention]`", Retention),
    ],
)  # fmt: skip
def test_every_setting_is_in_the_manual(heading: str, model: type[Section]) -> None:
    _, _, rest = SETTINGS.partition(heading)
    said = rest.partition("\n## ")[0]
    sections = {"database", "http", "metrics", "exchanges", "log", "engine", "verify", "retention"}
    for key in set(model.model_fields) - (sections if model is Settings else set()):
        assert f"`{key}`" in said, f"{key} is not below {heading} in docs/configuration.md"


def test_every_key_of_a_job_is_in_the_manual() -> None:
    said = SETTINGS.partition("## The job file")[2]
    assert [key for key in KEYS if f"`{key}`" not in said] == []


def test_every_promise_and_every_rule_is_in_the_manual() -> None:
    said = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"\('\w+', '(\w{2,})'\)", QUERIES["w00_refused"].sql))
    triggers = {name for name in rules if re.search("_(added|changed|removed|emptied)$", name)}
    assert [name for name in {*PROMISES, *(rules - triggers)} if f"`{name}`" not in said] == []
    for name in PROMISES:
        assert f"`{QUERIES[name].group}.sql`" in next(line for line in said.splitlines() if f"`{name}`" in line)


def test_every_exit_code_is_in_the_manual() -> None:
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MarketdError)
    }
    for text in (MANUAL, README):
        assert [code for code in codes | {0} if f"| {code} | " not in text] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        if "://" not in target:
            assert (folder / target).exists(), f"{page}: {target}"


def test_the_unit_starts_what_there_is() -> None:
    unit = (ROOT / "marketd.service").read_text(encoding="utf-8")
    assert re.search(r"^ExecStart=.*/marketd run$", unit, re.MULTILINE)
    assert re.search(r"^Type=notify$", unit, re.MULTILINE)


MATRIX = re.findall(
    r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("number", "tests"), MATRIX, ids=[f"fault_{number}" for number, _ in MATRIX])
def test_every_fault_of_the_matrix_has_the_test_it_names(number: str, tests: str) -> None:
    for path, name in re.findall(r"`([\w/.]+)::(?:\w+::)?(\w+)`", tests):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        said = [ast.get_docstring(node) or "" for node in functions if node.name == name]
        assert [text for text in said if re.search(rf"\bfault_{number}\b", text)], f"{path}::{name}"
