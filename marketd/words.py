"""How figures read.

Owns the spelling of times, durations, counts, shares and sizes in tables and sentences. Pure; refuses to round a
share up to a hundred per cent.
"""

from marketd.clock import at

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ("B", "kB", "MB", "GB", "TB")


def moment(ms: int | None) -> str:
    """``2024-01-01 00:00``, UTC; a dash where there is none."""
    return "-" if ms is None else f"{at(ms):%Y-%m-%d %H:%M}"


def duration(seconds: float | None) -> str:
    """The two largest units: ``3 h 20 min``."""
    if seconds is None:
        return "-"
    left, parts = max(0, int(seconds)), list[str]()
    for size, name in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def soon(ms: int | None, now_ms: int) -> str:
    """``in 3 min``; nothing where it is never."""
    return "" if ms is None else f"in {duration(max(0, ms - now_ms) / 1000)}"


def count(number: int | None) -> str:
    """``1 234 567``."""
    return "-" if number is None else f"{number:,}".replace(",", " ")


def plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 or noun.endswith('s') else 's'}"


def percent(share: float | None) -> str:
    """Cut, not rounded: 100 % is said only of what is whole."""
    if share is None:
        return "-"
    return "100 %" if share >= 1 else f"{int(share * 10_000) / 100:.2f} %"


def size(octets: float) -> str:
    for name in _SIZES:
        if octets < 1000 or name == _SIZES[-1]:
            return f"{octets:.0f} {name}" if octets >= 10 or name == "B" else f"{octets:.1f} {name}"
        octets /= 1000
    raise AssertionError("unreachable: the last size takes everything")
