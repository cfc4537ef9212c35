"""Where the fields of a candle stand in an exchange's rows.

Owns the reading of rows as the exchanges send them, arrays or objects, numbers or quoted numbers: digits stay the
exchange's own text, checked before anything is converted. Refuses to know any envelope.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from marketd.errors import BadReply
from marketd.model import Rows
from marketd.text import clean

COLUMNS: Final = ("open_ms", "open", "high", "low", "close", "volume")

Row = Sequence[msgspec.Raw | bytes] | dict[str, msgspec.Raw]

_NUMBER = re.compile(rb'"?(-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?)"?')
_TIME = re.compile(rb'"?([0-9]{1,15})"?')


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions (or keys) of the fields; ``unit_ms`` is what open times count in, ``text`` makes digits plain.

    ``closed`` says of a row whether the exchange calls it closed, where it says that at all.
    """

    time: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    unit_ms: int = 1
    closed: Callable[[Row], bool] = lambda _: True
    text: Callable[[bytes], bytes] = lambda digits: digits

    def rows(self, found: Sequence[Row]) -> Rows:
        """BadReply where a field is missing, or is not what it should be."""
        try:
            opens = [_matched(_TIME, row[self.time]) for row in found]
            prices = [
                [self.text(_matched(_NUMBER, row[place])) for row in found]
                for place in (self.open, self.high, self.low, self.close, self.volume)
            ]
            unfinished = tuple(at for at, row in enumerate(found) if not self.closed(row))
        except (LookupError, TypeError) as error:
            raise BadReply(f"a candle lacks a field: {clean(str(error), 40)}") from error
        open_ms = [int(text) * self.unit_ms for text in opens]
        lines = [b"%d,%b" % (ms, b",".join(fields)) for ms, *fields in zip(open_ms, *prices, strict=True)]
        opened, high, low, close, volume = (list(map(float, column)) for column in prices)
        return Rows(open_ms, opened, high, low, close, volume, lines, unfinished)


def _matched(pattern: re.Pattern[bytes], raw: msgspec.Raw | bytes) -> bytes:
    text = bytes(raw)
    match = pattern.fullmatch(text)
    if match is None:
        raise BadReply(f"not a number: {clean(text[:60].decode('utf-8', 'replace'), 60)!r}")
    return match[1]


def decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes | msgspec.Raw, what: str = "candle page") -> Any:
    """``body`` by ``decoder``; BadReply, which names ``what`` it was meant to be, where that cannot be."""
    try:
        bytes(body).decode()  # what is left unread may be no text at all
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadReply(f"{what} cannot be read: {clean(str(error), 120)}") from error
