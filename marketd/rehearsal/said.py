"""What the exchange says, before it is on its way.

Owns the record of a reply and the exchange's own form of a refusal. Refuses to know connections (see ``trouble``).
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


def refusal(status: int, code: int, text: str, *headers: tuple[str, str]) -> Said:
    """The exchange's error array."""
    return Said(Body(f'["error",{code},"{text}"]'.encode()), status, headers=headers)
