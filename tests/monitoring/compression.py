"""Time in the shipped alert rules, compressed: six hours become a minute, so that they can be waited for.

Owns the one change that is made to the rules before a real Prometheus loads them. Refuses to touch anything but
durations; that nothing else has changed is tested by way of Prometheus' own reading of both.
"""

import re
from typing import Final

FACTOR: Final = 360
SHORTEST_MS: Final = 5_000
"""No time becomes shorter than this. With a scrape a second, a window has to hold a few of them; the daemon's own turn
of a second, which is not compressed, has to stay below it; and two slow scrapes of a busy host must not fill it."""

_FOR: Final = re.compile(r"(?<= for: )\w+$", re.MULTILINE)
_WINDOW: Final = re.compile(r"(?<=\[)\w+(?=\])")
_AGE: Final = re.compile(r"(time\(\) - [^>]*> )(\d+)\b")
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def compressed(rules: str, job: str) -> str:
    """The shipped ``rules`` for the scrape job ``job``, with shorter times.

    Shortened is what follows ``for:``, the windows of range vectors (``[90m]``), and the number of seconds that an age
    (``time() - ...``) is held against. The job is named anew in the way that the head of the rules tells their reader.
    """
    rules = rules.replace('job="marketd"', f'job="{job}"')
    return shortened_ages(_WINDOW.sub(_shortened, _FOR.sub(_shortened, rules)))


def shortened_ages(text: str) -> str:
    return _AGE.sub(lambda found: f"{found[1]}{shorter_ms(int(found[2]) * 1000) / 1000:g}", text)


def shorter_ms(time_ms: int) -> int:
    """What a time of the shipped rules becomes."""
    return max(time_ms // FACTOR, SHORTEST_MS)


def milliseconds(literal: str) -> int:
    """A duration as PromQL writes it, such as ``1h30m``; ValueError for anything else."""
    parts = re.findall(r"(\d+)(ms|[smhdw])", literal)
    if not parts or "".join(number + unit for number, unit in parts) != literal:
        raise ValueError(f"{literal!r} is no duration")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in parts)


def _shortened(found: re.Match[str]) -> str:
    return f"{shorter_ms(milliseconds(found[0]))}ms"
