"""Bodies that cannot be right.

Owns how each kind of ``Malformed`` damages a page of rows. Pure: rows in, body out. Refuses to know connections (see
``trouble``) and to decide when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from marketd.rehearsal.faults import Harm, Malformed
from marketd.rehearsal.rows import more_volume, row_bytes, row_values

TEN_YEARS_MS = 3_650 * 86_400_000
JSON = "application/json"
HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
)


@dataclass(frozen=True, slots=True)
class Body:
    content: bytes
    content_type: str = JSON


def open_ms_of(row: bytes) -> int:
    return int(row[1 : row.index(b",")])


def holds(rows: Sequence[bytes], candle_ms: int | None) -> bool:
    """True where a fault for ``candle_ms`` concerns this page; None concerns every page."""
    return candle_ms is None or any(row.startswith(b"[%d," % candle_ms) for row in rows)


def damaged_rows(fault: Malformed, rows: Sequence[bytes]) -> Sequence[bytes]:
    """The rows as ``fault`` leaves them, before they are written down."""
    if fault.how in _WHOLE:
        return rows
    if fault.how == "shuffled":
        return [*rows[1::2], *rows[::2]]
    victims = _victims(fault, rows)
    harmed: list[bytes] = []
    for at, row in enumerate(rows):
        harmed.extend(_ROW[fault.how](row) if at in victims else (row,))
    return harmed


def damaged_body(fault: Malformed, body: bytes) -> Body:
    """The page as ``fault`` leaves it, once it is written down."""
    return _WHOLE[fault.how](body) if fault.how in _WHOLE else Body(body)


def _victims(fault: Malformed, rows: Sequence[bytes]) -> set[int]:
    if fault.candle_ms is not None:
        return {at for at, row in enumerate(rows) if open_ms_of(row) == fault.candle_ms}
    struck = min(fault.rows, len(rows))
    return {len(rows) * (2 * nth + 1) // (2 * struck) for nth in range(struck)}


_WHOLE: dict[Harm, Callable[[bytes], Body]] = {
    "html": lambda _: Body(HTML_PAGE, "text/html"),
    "cut": lambda body: Body(body[: max(len(body) // 2, 1)]),
    "blank": lambda _: Body(b""),
    "bom": lambda body: Body(b"\xef\xbb\xbf" + body),
    "nested": lambda _: Body(b"[" * 100_000),
    "error_200": lambda _: Body(b'{"code":503,"error":"temporarily_unavailable","error_description":"try later"}'),
}


def _with(position: int, text: str) -> Callable[[bytes], tuple[bytes, ...]]:
    """Damage that puts ``text`` at one of open, close, high, low, volume."""

    def harm(row: bytes) -> tuple[bytes, ...]:
        values = row_values(row)
        values[position] = text
        return (row_bytes(open_ms_of(row), values),)

    return harm


def _moved(delta_ms: int) -> Callable[[bytes], tuple[bytes, ...]]:
    return lambda row: (row_bytes(open_ms_of(row) + delta_ms, row_values(row)),)


_ROW: dict[Harm, Callable[[bytes], tuple[bytes, ...]]] = {
    "nan": _with(4, "NaN"),
    "infinity": _with(2, "Infinity"),
    "negative": _with(3, "-1"),
    "overflow": _with(4, "1e400"),
    "null": _with(1, "null"),
    "text": _with(4, '"12.5"'),
    "implausible": _with(2, "1e-9"),
    "misaligned": _moved(1000),
    "outside": _moved(-TEN_YEARS_MS),
    "duplicate": lambda row: (row, row),
    "conflict": lambda row: (row, more_volume(row, open_ms_of(row))),
}
