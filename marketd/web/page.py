"""The status page at ``/``: one table, no script.

Owns the HTML. Everything it shows was escaped here. Refuses to load anything from anywhere.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from aiohttp import web

from marketd.clock import at
from marketd.web.shapes import Shape, iso
from marketd.web.status import Status

REFRESH_S: Final = 30

_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE: Final = (
    "body{font:15px system-ui,sans-serif;margin:2em;color:#222;background:#fff}"
    "table{border-collapse:collapse}th,td{padding:.3em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}.bad{color:#a00}.good{color:#060}"
)
_HEADINGS: Final = (
    "exchange", "symbol", "timeframe", "candles", "from", "latest", "behind", "open gaps", "empty", "complete",
)  # fmt: skip


def response(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": _CSP})


def whole(status: Status, rows: Sequence[Shape], open_gaps: int) -> str:
    incomplete = sum(not row["complete"] for row in rows)
    summary = f"{len(rows)} series, {incomplete} not complete, {open_gaps} open gaps"
    body = "".join(_row(row) for row in rows)
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADINGS)
    exchanges = "".join(
        f"<li>{escape(entry.name)}: {entry.state}"
        f"{'' if entry.until_ms is None else f' until {iso(entry.until_ms)}'}, "
        f"{entry.used_last_minute} of {entry.budget_per_minute:g} requests in the last minute</li>"
        for entry in status.exchanges()
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return _document(status, f"<p>{summary}</p><ul>{exchanges}</ul>{table}")


def broken(status: Status, reason: str) -> str:
    return _document(status, f'<p class="bad">No figures: {escape(reason)}.</p>')


def _document(status: Status, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>marketd</title><style>{_STYLE}</style></head>'
        f"<body><h1>marketd {escape(status.version)}</h1>{body}<p>{iso(status.now_ms())}</p></body></html>\n"
    )


def _row(row: Shape) -> str:
    cells = (
        escape(row["exchange"]),
        escape(row["symbol"]),
        escape(row["timeframe"]),
        f"{row['candles_count']:,}",
        _minute(row["first_open_time"]),
        _minute(row["latest_candle_open_time"]),
        _behind(row["lag_seconds"], row["freshness_objective_seconds"]),
        str(row["open_gaps"]),
        f"{row['empty_intervals']:,}",
        _complete(row),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _minute(ms: int | None) -> str:
    return "none" if ms is None else at(ms).strftime("%Y-%m-%d %H:%M")


def _behind(lag_s: float | None, objective_s: float | None) -> str:
    if lag_s is None:
        return '<span class="bad">never answered</span>'
    text = f"{lag_s:,.0f} s"
    return f'<span class="bad">{text}</span>' if objective_s is not None and lag_s > objective_s else text


def _complete(row: Shape) -> str:
    if row["complete"]:
        return '<span class="good">yes</span>'
    ratio = row["completeness_ratio"]
    return '<span class="bad">no</span>' if ratio is None else f'<span class="bad">{ratio:.3%}</span>'
