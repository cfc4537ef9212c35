"""docs/exchanges.md says what the adapters say, and names tests, replies and symbols that there are."""

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from marketd.exchanges import EXCHANGES, NAMES
from marketd.exchanges.facts import Exchange, NoTrade, Paging, Search
from marketd.jobfile import read_jobs
from marketd.settings import Engine
from tests.conformance.ccxt.opinion import kept
from tests.conformance.recorded import replies
from tests.conformance.spec import SPECS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "exchanges.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "add-an-exchange.md").read_text(encoding="utf-8")
NOW_MS = 1_800_000_000_000

NO_TRADE = {
    NoTrade.ABSENT: ("absent", "no trade, once a second answer says so"),
    NoTrade.FLAT: ("flat", "`late`, when older than a day `suspect`; believed a day later"),
    NoTrade.UNPROVEN: ("unproven", "as flat where a candle of volume 0 came with it, else as absent"),
}


def reach(exchange: Exchange) -> str:
    if exchange.reach is not None:
        return f"newest {exchange.reach}"
    return "a recent window" if exchange.paging is Paging.RECENT else "all"


def page(exchange: Exchange) -> str:
    match exchange.paging:
        case Paging.FILLED:
            return f"{exchange.page_limits[0]} candles"
        case Paging.COUNTED:
            return f"{exchange.page_limits[0]} intervals"
        case Paging.RECENT:
            return "all that is served"


def built(exchange: Exchange) -> str:
    always = " ".join(exchange.derived)
    return f"{always}; {' '.join(exchange.fallback)} where it is refused" if exchange.fallback else always


def first(exchange: Exchange) -> str:
    if not isinstance(exchange.first, Search):
        return "asked for"
    since = datetime.fromtimestamp(exchange.first.since_ms // 1000, UTC).date()
    return f"searched from {since}{', twice' if exchange.first.twice else ''}"


def offered(exchange: Exchange) -> Mapping[str, str]:
    """The cells of the first table that the code knows."""
    looks, missing = NO_TRADE[exchange.no_trade]
    return {
        "asked for": " ".join(exchange.timeframes),
        "built": built(exchange),
        "reach": reach(exchange),
        "page": page(exchange),
        "requests a minute": f"{exchange.requests_per_minute:g}",
        "no trade": looks,
        "a missing candle is": missing,
    }


def asked(exchange: Exchange) -> Mapping[str, str]:
    """The cells of the second table that the code knows."""
    return {
        "address": f"`{exchange.base_url}`",
        "at once": str(exchange.in_flight),
        "grace": f"{exchange.grace_s:g} s",
        "settles": f"{max(exchange.settle_s, Engine().settle_s):g} s",
        "silence": f"{exchange.blocked_s:g} s",
        "page sizes": ", ".join(map(str, exchange.page_limits)),
        "first candle": first(exchange),
        "ccxt": "none" if SPECS[exchange.name].ccxt is None else f"{kept(exchange.name).requests_per_minute:g}",
    }


def table(heading: str) -> Mapping[str, Mapping[str, str]]:
    """Rows of the table below ``heading`` by the exchange that they link to, each cell by its column."""
    below = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    names, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in below.splitlines() if line.startswith("|")
    ]
    found = {}
    for row in rows:
        link = re.fullmatch(r"\[(\w+)\]\(#(\w+)\)", row[0])
        assert link is not None, row[0]
        assert link[1].lower() == link[2]
        found[link[2]] = dict(zip(names[1:], row[1:], strict=True))
    return found


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert found is not None, f"docs/exchanges.md has no section on {name}"
    return found[1]


@pytest.mark.parametrize("heading", ["Which exchanges, how well", "How each is asked"])
def test_every_exchange_has_its_row_and_no_other(heading: str) -> None:
    assert list(table(heading)) == list(NAMES)


def test_every_exchange_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", readme)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_say_what_the_adapter_says(name: str) -> None:
    """Every cell that the code knows; the others hold what is documented or doubted elsewhere, and are not empty."""
    for heading, known in (
        ("Which exchanges, how well", offered(EXCHANGES[name])),
        ("How each is asked", asked(EXCHANGES[name])),
    ):
        row = table(heading).get(name, {})
        assert {column: row.get(column) for column in known} == known, f"{heading}: {' | '.join(known.values())}"
        assert "" not in row.values()


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_each_exchange_is_a_job(name: str) -> None:
    toml = "\n".join(line[4:] for line in section(name).splitlines() if line.startswith("    "))
    jobs = read_jobs(toml, NOW_MS)
    assert {job.exchange for job in jobs} == {name}
    assert {job.symbol for job in jobs} != set()


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_reply_is_told_of(name: str) -> None:
    said = section(name)
    assert [reply for reply in replies(name) if f"`{name}/{reply}`" not in said] == []
    for exchange, reply in re.findall(r"`(\w+)/(\w+)`", said):
        assert exchange not in NAMES or reply in replies(exchange)


def test_every_recorded_reply_says_where_it_comes_from() -> None:
    said = (ROOT / "tests" / "conformance" / "replies" / "README.md").read_text(encoding="utf-8")
    there = {f"{name}/{reply}" for name in NAMES for reply in replies(name)}
    told = set(re.findall(r"^\| `([^`]+)` \|", said, re.MULTILINE))
    assert (sorted(there - told), sorted(told - there)) == ([], [])


@pytest.mark.parametrize("text", [PAGE, GUIDE], ids=["exchanges", "add_an_exchange"])
def test_every_test_that_is_named_is_there(text: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", text)
    assert named != []
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{path}::{name}"


def test_every_file_that_the_guide_names_is_there() -> None:
    for path in re.findall(r"`((?:marketd|tests|docs)/[\w/.-]+\.(?:py|md|json))`", GUIDE):
        assert "NAME" in path or "tiny" in path or (ROOT / path).exists(), path


def test_the_example_of_the_guide_is_as_long_as_it_says() -> None:
    adapter, dialect = (ROOT / "marketd" / place / "gemini.py" for place in ("exchanges", "rehearsal/dialects"))
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in (adapter, dialect)]
    assert "an adapter of {} lines and a dialect of {}".format(*lines) in GUIDE


def test_the_version_of_ccxt_is_the_one_that_was_asked() -> None:
    assert set(re.findall(r"ccxt (\d[\d.]*\d)", PAGE)) == {kept("bitfinex").ccxt}
