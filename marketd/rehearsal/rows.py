"""Candle rows as the wire text ``[MTS,OPEN,CLOSE,HIGH,LOW,VOLUME]``.

Owns the exact arithmetic on rows: aggregation, the unfinished candle, changed values. Digits are kept as the exchange
wrote them; sums are exact decimals. Refuses floats, and refuses to know where rows come from.
"""

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
MINUTE_MS = 60_000


def row_bytes(open_ms: int, values: Sequence[str]) -> bytes:
    """``values`` are open, close, high, low, volume as texts of JSON numbers."""
    return f"[{open_ms},{','.join(values)}]".encode()


def row_values(row: bytes) -> list[str]:
    """Open, close, high, low, volume of a row, as texts."""
    return row[1:-1].decode().split(",")[1:]


def number_text(value: Decimal) -> str:
    """The shortest exact text; below 1e-6 with an exponent (``7e-7``), as the exchange writes it."""
    short = value.normalize(EXACT)
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return format(short, "f")
    return str(short).replace("E", "e")


def aggregated(open_ms: int, rows: Sequence[bytes]) -> bytes:
    """One candle of all ``rows`` (ascending, at least one): first open, last close, extremes, exact volume."""
    parts = [row_values(row) for row in rows]
    volume = Decimal(0)
    for part in parts:
        volume = EXACT.add(volume, Decimal(part[4]))
    return row_bytes(
        open_ms,
        (
            parts[0][0],
            parts[-1][1],
            max((part[2] for part in parts), key=Decimal),
            min((part[3] for part in parts), key=Decimal),
            parts[0][4] if len(parts) == 1 else number_text(volume),
        ),
    )


def unfinished(row: bytes, open_ms: int, now_ms: int) -> bytes:
    """The row of the minute ``open_ms`` as it looks at ``now_ms``: its volume is never the final one."""
    opened, _, _, low, volume = row_values(row)
    if now_ms - open_ms < MINUTE_MS // 2:
        return row_bytes(open_ms, (opened, opened, opened, opened, _scaled(volume, "0.2")))
    return row_bytes(open_ms, (opened, low, opened, low, _scaled(volume, "0.6")))


def more_volume(row: bytes, open_ms: int) -> bytes:
    """The row as a revision: one unit of volume more."""
    values = row_values(row)
    return row_bytes(open_ms, (*values[:4], number_text(EXACT.add(Decimal(values[4]), Decimal(1)))))


def _scaled(text: str, factor: str) -> str:
    return number_text(EXACT.multiply(Decimal(text), Decimal(factor)))
