"""How exchanges spell symbols and timeframes.

Owns the check of a symbol's spelling, and which timeframes are built where an exchange does not have them: weeks and
months always, since no two exchanges begin them on the same day.
"""

import re
from collections.abc import Callable, Collection, Mapping

from marketd.text import clean
from marketd.timeframe import TIMEFRAMES

_NEVER_NATIVE = ("1w", "2w", "1M")


def like(pattern: str, advice: str) -> Callable[[str], str | None]:
    """A check that refuses what does not match ``pattern``, with ``advice``."""
    compiled = re.compile(pattern)

    def check(symbol: str) -> str | None:
        return None if compiled.fullmatch(symbol) else f"{clean(symbol, 40)!r} {advice}"

    return check


def built(native: Collection[str]) -> Mapping[str, str]:
    """Timeframes that are not ``native``, each with the longest native one that it is made of."""
    return {
        name: "1d" if name in _NEVER_NATIVE else _longest(name, native)
        for name in TIMEFRAMES
        if name not in native and (name in _NEVER_NATIVE or _parts(name, native))
    }


def _longest(name: str, native: Collection[str]) -> str:
    return max(_parts(name, native), key=lambda part: TIMEFRAMES[part].step_s)


def _parts(name: str, native: Collection[str]) -> list[str]:
    step_s = TIMEFRAMES[name].step_s
    return [part for part in native if TIMEFRAMES[part].step_s < step_s and step_s % TIMEFRAMES[part].step_s == 0]
