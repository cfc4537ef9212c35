"""What the exchange says, before it is on its way.

Owns the record of a reply. Refuses to know connections (see ``trouble``) and wire formats (see ``dialect``).
"""

from dataclasses import dataclass

from marketd.rehearsal.damage import Body


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that may still be lost on its way; ``rows`` is how many candles it tells of."""

    body: Body
    status: int = 200
    rows: int = 0
    headers: tuple[tuple[str, str], ...] = ()
