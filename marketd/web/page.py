"""Pages for people: the templates, their files, and what a browser may do with them.

Owns the HTML's way out. A page loads nothing from anywhere but this port, and is whole without script. Refuses to look
anything up (see ``handlers``) and to decide what is said (see ``overview``).
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from marketd import words
from marketd.model import Series
from marketd.web import boards, overview
from marketd.web.detail import GapView, SeriesView
from marketd.web.overview import Overview
from marketd.web.status import Status

_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_TYPES: Final = {"css": "text/css", "js": "text/javascript"}
_KEPT: Final = "public, max-age=31536000, immutable"  # an address names one content


@cache
def _environment() -> Environment:
    """Made with the first page: a daemon that nobody looks at does not load it."""
    made = Environment(
        loader=PackageLoader("marketd.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals.update(
        asset=asset_path, series_link=_series_link, keys=overview.LEGEND, spans=(*overview.SPANS, overview.ALL)
    )  # fmt: skip
    return made


@cache
def _assets() -> Mapping[str, tuple[bytes, str]]:
    """The content of each file, and the mark by which a browser tells it from an older one."""
    found = {}
    for file in resources.files("marketd.web").joinpath("static").iterdir():
        content = file.read_bytes()
        found[file.name] = content, sha256(content).hexdigest()[:16]
    return found


def asset_path(name: str) -> str:
    return f"/static/{name}?v={_assets()[name][1]}"


def asset(name: str) -> web.Response:
    """HTTPNotFound where there is none of this name."""
    if name not in _assets():
        raise web.HTTPNotFound
    kind = _TYPES.get(name.rpartition(".")[2], "text/plain")
    return web.Response(body=_assets()[name][0], content_type=kind, charset="utf-8", headers={"Cache-Control": _KEPT})


def response(html: str, status: int = 200) -> web.Response:
    return web.Response(text=html, status=status, content_type="text/html", headers={"Content-Security-Policy": _CSP})


def whole(view: Overview, version: str) -> str:
    """May run in a thread: it asks nobody."""

    def link(**changed: Any) -> str:
        chosen = asdict(view.given) | {"page": 1} | changed
        return "/?" + urlencode({name: value for name, value in chosen.items() if value not in (None, "")})

    return _rendered("overview.html", version, view.end_ms, budgets=view.budgets, view=view, link=link)


def of_series(view: SeriesView, version: str, now_ms: int) -> str:
    def link(**changed: Any) -> str:
        chosen = view.series._asdict() | {"span": view.given.span, "before": view.before_ms} | changed
        return "/series?" + urlencode({name: value for name, value in chosen.items() if value is not None})

    candles = "/candles?" + urlencode({**view.series._asdict(), "before": view.before_ms})
    return _rendered("series.html", version, now_ms, view=view, link=link, candles_link=candles)


def of_gap(view: GapView, version: str, now_ms: int) -> str:
    return _rendered("gap.html", version, now_ms, view=view)


def broken(status: Status, reason: str) -> str:
    return _rendered("broken.html", status.version, status.now_ms(), budgets=boards.budgets(status), reason=reason)


def refused(status: Status, reason: str) -> str:
    return _rendered("refused.html", status.version, status.now_ms(), reason=reason)


def _rendered(template: str, version: str, now_ms: int, **more: Any) -> str:
    return _environment().get_template(template).render(version=version, now=words.moment(now_ms), **more)


def _series_link(series: Series) -> str:
    return "/series?" + urlencode(series._asdict())
