"""What ``marketd top`` draws of what the port says."""

from io import StringIO
from typing import Any

from rich.console import Console

from marketd.cli.top import Seen, drawn


def series(symbol: str, **more: Any) -> dict[str, Any]:
    return {
        "exchange": "bitfinex", "symbol": symbol, "timeframe": "1m", "lag_seconds": 60.0, "open_gaps": 0,
        "freshness_objective_seconds": 240.0, "completeness_ratio": 1.0,
    } | more  # fmt: skip


def whole(**more: Any) -> dict[str, Any]:
    return {
        "db_ok": True, "runs_24h": {"total": 9, "failed": 1, "running": 2}, "backfills": [],
        "series": [series("BTCUSD")],
        "exchanges": [{
            "name": "bitfinex", "budget_per_minute": 30.0, "used_last_minute": 12, "state": "ok", "until": None,
            "used": {"continuous": 9, "backfill": 3},
        }],
    } | more  # fmt: skip


def shown(*jobs: dict[str, Any], **more: Any) -> str:
    console = Console(width=120, record=True, file=StringIO())
    console.print(drawn(Seen(whole(**more), jobs)))
    return console.export_text()


def test_all_is_well() -> None:
    text = shown()
    for part in ("1 series: all fresh, no holes", "9, 1 failed, 2 under way", "12 of 30", "continuous 9, backfill 3"):
        assert part in text


def test_what_needs_attention_comes_first() -> None:
    many = [series(f"S{number}") for number in range(20)]
    text = shown(
        series=[*many, series("GAPPY", open_gaps=2), series("LATE", lag_seconds=900.0), series("NEW", lag_seconds=None)]
    )
    rows = [line for line in text.splitlines() if ("bitfinex" in line and "min" in line) or "NEW" in line]
    assert [row.split()[1] for row in rows[:3]] == ["LATE", "NEW", "GAPPY"]
    assert "23 series: 2 late, 2 open gaps" in text
    assert "and 11 more" in text


def test_backfills_say_when_they_will_be_done() -> None:
    one = {
        "exchange": "kraken", "symbol": "XBTUSD", "timeframe": "1m", "share": 0.25, "requests": 40, "requests_left": 30,
        "rate": 900.4, "seconds_left": 5_400.0,
    }  # fmt: skip
    text = shown(backfills=[one, one | {"seconds_left": None}])
    assert "kraken XBTUSD 1m" in text
    (line,) = [line for line in text.splitlines() if "1 h 30 min" in line]
    assert line.split()[-8:] == ["25%", "30", "900", "candles/s", "1", "h", "30", "min"]


def test_a_database_that_is_away_is_said() -> None:
    assert "the database is out of reach" in shown(db_ok=False, series=[])


def job(number: int, status: str, *, running: bool = False) -> dict[str, Any]:
    error = "because" if status == "failed" else None
    return {
        "job_type": "continuous", "exchange": "bitfinex", "symbol": None, "timeframe": "1m", "running": running,
        "last_run": {"id": number, "status": status, "candles_inserted": 7, "error_message": error},
    }  # fmt: skip


def test_the_newest_runs_are_shown() -> None:
    text = shown(*[job(number, "success") for number in range(1, 9)], job(9, "failed"))
    assert "because" in text
    newest = [line.split()[0] for line in text.splitlines() if "bitfinex continuous * 1m" in line]
    assert newest == ["9", "8", "7", "6", "5", "4"]


def test_what_is_under_way_is_said_of_its_exchange() -> None:
    away = job(3, "running", running=True) | {"exchange": "kraken"}
    one = shown(job(1, "running", running=True), away)
    assert "continuous * 1m" in one
    assert "more" not in one
    assert "continuous * 1m and 1 more" in shown(job(1, "running", running=True), job(2, "running", running=True), away)
