"""Run-time control: ``/rehearsal/faults``, ``/rehearsal/stats``, ``/rehearsal/reset``.

Owns the JSON of an operator's drill. It has no password, which is why the server listens on loopback only, and it
takes only JSON, so that a page in a browser cannot reach it by a form.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from marketd.rehearsal.faults import KINDS
from marketd.rehearsal.scenario import fault_table, read_faults
from marketd.rehearsal.stats import Stats
from marketd.rehearsal.trouble import Trouble


class Control:
    def __init__(self, trouble: Trouble, stats: Stats) -> None:
        self._clock = trouble.clock
        self._faults = trouble.faults
        self._stats = stats
        self._trouble = trouble

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/rehearsal/faults", self.list_faults),
            web.post("/rehearsal/faults", self.change_faults),
            web.get("/rehearsal/stats", self.stats),
            web.post("/rehearsal/reset", self.reset),
        )

    async def list_faults(self, _: web.Request) -> web.Response:
        described = [
            {"number": number, "state": state, "strikes": strikes, **fault_table(fault)}
            for number, fault, state, strikes in self._faults.described()
        ]
        return web.json_response({"now_ms": self._clock.now_ms(), "faults": described})

    async def change_faults(self, request: web.Request) -> web.Response:
        """``{"faults": [...], "replace": true, "remove": ["latency"]}``: all of it, or with a mistake nothing."""
        if request.content_type != "application/json":
            return _refused(415, ["the body must be sent as application/json"])
        try:
            order = await request.json()
        except (ValueError, RecursionError):
            return _refused(400, ["the body is not JSON"])
        mistakes = _mistakes(order)
        if mistakes:
            return _refused(400, mistakes)
        faults, mistakes = read_faults(order.get("faults", []))
        if mistakes:
            return _refused(400, mistakes)
        if order.get("replace", False):
            self._faults.clear()
        if order.get("remove"):
            self._faults.clear(*(KINDS[name] for name in order["remove"]))
        self._faults.add(*faults)
        return await self.list_faults(request)

    async def stats(self, request: web.Request) -> web.Response:
        last = request.query.get("last", "100")
        if not last.isascii() or not last.isdigit():
            return _refused(400, ["last must be a whole number"])
        return web.json_response(self._stats.as_dict(int(last)))

    async def reset(self, request: web.Request) -> web.Response:
        """Counters to zero and the scenario from its beginning; with ``only=stats`` the counters alone."""
        self._stats.reset(self._clock.now_ms())
        if request.query.get("only") != "stats":
            self._faults.reset()
            self._trouble.forget()
        return await self.list_faults(request)


def _mistakes(order: Any) -> list[str]:
    if not isinstance(order, dict):
        return ["the body must be a table with faults, replace or remove"]
    mistakes = [f"unknown key {key!r}; known are faults replace remove" for key in order if key not in _KEYS]
    if not isinstance(order.get("replace", False), bool):
        mistakes.append("replace must be true or false")
    names = order.get("remove", [])
    if not isinstance(names, list):
        return [*mistakes, "remove must be a list of kinds"]
    return [*mistakes, *(f"unknown kind {name!r}" for name in names if name not in list(KINDS))]


_KEYS = ("faults", "replace", "remove")


def _refused(status: int, mistakes: list[str]) -> web.Response:
    return web.json_response({"error": "nothing was changed", "mistakes": mistakes}, status=status)
