"""What most exchanges have in common when they refuse.

Owns the outer shape of a failure: statuses, web pages instead of data, waits in headers. What a body's own codes mean
is each exchange's affair.
"""

import json
from typing import Any

from marketd.errors import ExchangeError, Refused, Throttled, Unreachable
from marketd.exchanges.facts import Reply
from marketd.text import clean


def outer(name: str, reply: Reply) -> ExchangeError | None:
    """What the status and the kind of body mean by themselves; a refusal is for the caller to look into."""
    if reply.status == 429:
        return Throttled(f"{name} asks to slow down (HTTP 429)", reply.retry_after_s)
    if reply.status >= 500:
        return Unreachable(f"{name} answered HTTP {reply.status}: {shown(reply.body)}")
    if reply.status == 451:
        return Refused(f"{name} does not serve this place (HTTP 451): {shown(reply.body)}")
    if reply.body.lstrip()[:1] == b"<":
        return Unreachable(f"{name} answered HTTP {reply.status} with a web page instead of data")
    if reply.status in (401, 403, 404, 407, 408, 425):
        return Unreachable(f"{name} answered HTTP {reply.status}: {shown(reply.body)}")
    if reply.status >= 300:
        return Refused(f"{name} refuses the request (HTTP {reply.status}): {shown(reply.body)}")
    return None


def parsed(body: bytes) -> dict[str, Any]:
    """The object in ``body``, empty where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def shown(body: bytes) -> str:
    return clean(body[:200].decode("utf-8", "replace"), 80)


def number(text: str | None) -> float | None:
    """A number in a header, None where it holds none."""
    try:
        return None if text is None else float(text[:32])
    except ValueError:
        return None
