"""What is done to a reply: by bytes, by rows, by values, by encoding.

Owns the ways in which a reply can be wrong, each a function (chance, body) -> body. Everything comes from the chance
given, so that a seed names an input. Refuses to know any exchange: a page is rows of values between brackets,
or of keys and values between braces, with something around them.
"""

import gzip
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Mutation = Callable[[random.Random, bytes], bytes]

NUMBERS: Final = (
    "NaN", "Infinity", "-Infinity", "nan", "inf", "null", "true", "false", '"1"', '""', '"NaN"', '"\\u0000"', "{}",
    "[]", "[1]", '{"a":1}', "1e400", "-1e400", "1e-400", "0e-99999", "0e999999999", "1e3000000", "1e99", "1e-99",
    "1E20", "1e21", "1e-20", "9e-21", "9" * 5000, "9" * 400, "9" * 200, "9" * 40, "0." + "0" * 400 + "1", "-1", "0",
    "-0", "-0.0", "0.0", "0e0", "1.00000000000000000001", "0.99999999999999999999999", "121.50000000000000000001",
    "01", "+1", ".5", "1.", "1e", "e1", "0x10", "1_000", "1 2", "", " ", "6e4", "1.5", "1e5", "-62135596800000",
    "253402300800000", str(2**31), str(2**53 + 1), str(2**63), str(-(2**63) - 1), str(10**30), "\u0661\u0662",
)  # fmt: skip
"""What stands where a number should: no number, absurd ones, and some that floats cannot tell from their neighbour."""

_DEEP: Final = b"[" * 100_000


@dataclass(frozen=True)
class _Table:
    """A page taken apart: ``rows`` of values without their quotes; ``keys`` where a row is an object."""

    head: str
    tail: str
    keys: list[str]
    quoted: list[bool]
    rows: list[list[str]]

    def page(self, rows: list[list[str]]) -> bytes:
        return f"{self.head}{','.join(map(self._row, rows))}{self.tail}".encode()

    def _row(self, row: list[str]) -> str:
        values = [f'"{value}"' if quoted else value for value, quoted in zip(row, self._quotes(row), strict=True)]
        if not self.keys:
            return f"[{','.join(values)}]"
        keys = [*self.keys, *(f'"x{at}"' for at in range(len(row)))]
        return "{" + ",".join(f"{key}:{value}" for key, value in zip(keys, values, strict=False)) + "}"

    def _quotes(self, row: list[str]) -> list[bool]:
        return [at < len(self.quoted) and self.quoted[at] and value[:1] != '"' for at, value in enumerate(row)]


def _table(body: bytes) -> _Table:
    text = body.decode("latin-1")
    begin = min((at for at in (text.find("[["), text.find("[{")) if at >= 0), default=-1) + 1
    end = max(text.rfind("]]"), text.rfind("}]")) + 1
    if not 0 < begin < end:
        return _Table("[", "]", [], [], [text.strip("[]").split(",")])
    rows, is_object = text[begin:end], text[begin] == "{"
    lines = [line.split(",") for line in rows[1:-1].split("},{" if is_object else "],[")]
    keys = [item.partition(":")[0] for item in lines[0]] if is_object else []
    values = [[item.partition(":")[2] for item in line] for line in lines] if is_object else lines
    quoted = [value[:1] == '"' for value in values[0]]
    return _Table(text[:begin], text[end:], keys, quoted, [[value.strip('"') for value in row] for row in values])


def nothing(_: random.Random, body: bytes) -> bytes:
    return body


def flip_bytes(chance: random.Random, body: bytes) -> bytes:
    made = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        if made:
            made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return bytes(made)


def other_bytes(chance: random.Random, body: bytes) -> bytes:
    """Some bytes put in, preferably those that mean something."""
    at = chance.randint(0, len(body))
    more = bytes(chance.choice(b'[]{},:"0123456789.eE+-nul \n\t\x00\xff\\') for _ in range(chance.randint(1, 6)))
    return body[:at] + more + body[at + chance.randint(0, 4) :]


def cut_out(chance: random.Random, body: bytes) -> bytes:
    at = chance.randint(0, len(body))
    return body[:at] + body[at + chance.randint(1, 60) :]


def cut_off(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randint(0, len(body))]


def repeat_part(chance: random.Random, body: bytes) -> bytes:
    at = chance.randint(0, len(body))
    part = body[at : at + chance.randint(1, 80)]
    return body[:at] + part * chance.randint(1, 3) + body[at:]


def value(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    for _ in range(chance.choice((1, 1, 1, 3))):
        row = chance.choice(rows)
        row[chance.randrange(len(row))] = chance.choice(NUMBERS)
    return table.page(rows)


def digits(chance: random.Random, body: bytes) -> bytes:
    """More digits than a float holds, behind a value's own."""
    table = _table(body)
    rows = table.rows
    row = chance.choice(rows)
    at = chance.randrange(len(row))
    more = "".join(chance.choices("0123456789", k=chance.randint(1, 30)))
    if chance.random() < 0.5:
        more = "0" * 18 + more  # the value itself as far as a float can tell
    row[at] += more if "." in row[at] else f".{more}"
    return table.page(rows)


def exponent(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    row = chance.choice(rows)
    row[chance.randrange(len(row))] += f"{chance.choice('eE')}{chance.choice(('', '+', '-'))}{chance.randint(0, 120)}"
    return table.page(rows)


def swap_values(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    row = chance.choice(rows)
    one, other = chance.randrange(len(row)), chance.randrange(len(row))
    row[one], row[other] = row[other], row[one]
    return table.page(rows)


def fewer_values(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    row = chance.choice(rows)
    del row[chance.randrange(len(row)) :]
    return table.page(rows)


def more_values(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    for row in rows if chance.random() < 0.5 else [chance.choice(rows)]:
        row.append(chance.choice(NUMBERS))
    return table.page(rows)


def shift_time(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    by = chance.choice((1, -1, 999, 1000, 30_000, 60_000, 3_600_000, 86_400_000, 10**15, -(10**15)))
    for row in rows if chance.random() < 0.3 else [chance.choice(rows)]:
        if row[0].lstrip("-").isdecimal() and len(row[0]) < 100:
            row[0] = str(int(row[0]) + by)
    return table.page(rows)


def repeat_row(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    row = list(chance.choice(rows))
    if chance.random() < 0.5:
        row[-1] = chance.choice(NUMBERS)
    rows.insert(chance.randint(0, len(rows)), row)
    return table.page(rows)


def order(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    if chance.random() < 0.5:
        rows.reverse()
    else:
        chance.shuffle(rows)
    return table.page(rows)


def fewer_rows(chance: random.Random, body: bytes) -> bytes:
    table = _table(body)
    rows = table.rows
    return table.page(chance.sample(rows, chance.randint(0, len(rows)))) if rows else body


def blanks(chance: random.Random, body: bytes) -> bytes:
    made = body
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(made))
        made = made[:at] + chance.choice((b" ", b"\n", b"\t", b"\r", b"\x0b", b"\xa0")) + made[at:]
    return made


def nested(chance: random.Random, body: bytes) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return _DEEP[: chance.choice((1_000, 10_000, 100_000))]
    if kind == 1:
        depth = chance.choice((2, 900, 20_000))
        return _DEEP[:depth] + body + b"]" * depth
    if kind == 2:
        return b'{"a":' * chance.choice((1, 20_000)) + body
    return b"[" + body + b"]"


def encoding(chance: random.Random, body: bytes) -> bytes:
    text = body.decode("latin-1")
    made: tuple[bytes, ...] = (
        b"\xef\xbb\xbf" + body, text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-32"),
        ("\u00e9" + text).encode("latin-1"), ("\ufeff" + text).encode("utf-8"), body + b"\x00", b"\x00" + body,
    )  # fmt: skip
    return chance.choice(made)


def packed(chance: random.Random, body: bytes) -> bytes:
    made = (gzip.compress(body, 1, mtime=0), zlib.compress(body, 1), b"\x1f\x8b\x08" + chance.randbytes(40))
    return chance.choice(made)


def rubbish(chance: random.Random, _: bytes) -> bytes:
    return chance.randbytes(chance.randint(0, 400))


def twice(chance: random.Random, body: bytes) -> bytes:
    return body + chance.choice((b"", b",", b"\n", b"]")) + body


MUTATIONS: Final[tuple[Mutation, ...]] = (
    nothing, flip_bytes, other_bytes, cut_out, cut_off, repeat_part, value, digits, exponent, swap_values,
    fewer_values, more_values, shift_time, repeat_row, order, fewer_rows, blanks, nested, encoding, packed, rubbish,
    twice,
)  # fmt: skip
_OFTEN: Final = tuple(
    8 if mutation in (value, digits, flip_bytes, shift_time, repeat_row) else 3 for mutation in MUTATIONS
)
_WEIGHTS: Final = tuple(
    1 if mutation in (nested, rubbish) else often for mutation, often in zip(MUTATIONS, _OFTEN, strict=True)
)


def mutated(chance: random.Random, body: bytes) -> tuple[str, bytes]:
    """What was done, and what came of it; sometimes two things are done one after the other."""
    chosen = chance.choices(MUTATIONS, _WEIGHTS, k=1 + (chance.random() < 0.3))
    for mutation in chosen:
        body = mutation(chance, body)
    return " ".join(mutation.__name__ for mutation in chosen), body
