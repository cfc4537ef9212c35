"""Where words go: data to standard output, talk to standard error.

Owns the two streams and the JSON. Refuses to draw (see ``tables``).
"""

import json

import click


def say(text: str = "") -> None:
    """Data: what a pipe is meant to get."""
    click.echo(text)


def talk(text: str) -> None:
    """What is said on the way."""
    click.echo(text, err=True)


def complain(text: str) -> None:
    """The one sentence that a failure ends with."""
    talk(f"marketd: error: {text}")


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
