"""Where words go: data to standard output, talk to standard error.

Owns the two streams and the JSON. Refuses to draw (see ``tables``).
"""

import json
import time
from typing import Final

import click

_SELDOM_S: Final = 3.0


def say(text: str = "") -> None:
    """Data: what a pipe is meant to get."""
    click.echo(text)


def talk(text: str) -> None:
    """What is said on the way."""
    click.echo(text, err=True)


class Seldom:
    """Talks now and then: nothing is said of what is over at once."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= _SELDOM_S:
            self._said_s = now_s
            talk(text)


def complain(text: str) -> None:
    """The one sentence that a failure ends with."""
    talk(f"marketd: error: {text}")


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
