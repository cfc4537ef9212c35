"""Zips of lines: what is in them and what must not be."""

import hashlib
import random
import zipfile
from contextlib import suppress
from io import BytesIO

import pytest

from marketd import zipped
from marketd.errors import BadReply

NAME = "BTCUSDT-1m-2024-01.csv"
LINES = [b"%d,1,1\n" % number for number in range(25)]


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def unpacked(content: bytes, most: int = 10) -> list[list[bytes]]:
    return [list(some) for some in zipped.lines(content, NAME, most)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_lines_come_some_at_a_time(method: int) -> None:
    found = unpacked(packed({NAME: b"".join(LINES)}, method))
    assert found == [LINES[:10], LINES[10:20], LINES[20:]]
    assert unpacked(packed({NAME: b""})) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Just a moment...",
        packed({NAME: b"".join(LINES)})[:-40],
        packed({}),
        packed({"ETHUSDT-1m-2024-01.csv": b""}),
        packed({NAME: b"1\n", "more.csv": b"2\n"}),
        packed({NAME: b"1\n"}, zipfile.ZIP_BZIP2),
        packed({NAME: b"0" * (zipped.MOST + 1)}),
    ],
    ids=["nothing", "text", "cut", "empty", "another name", "two files", "another method", "too large"],
)
def test_what_is_not_one_file_of_candles_is_refused(content: bytes) -> None:
    with pytest.raises(BadReply):
        unpacked(content)


def test_what_says_that_it_is_small_is_not_unpacked_further() -> None:
    """A bomb that lies about its size ends where it said it would, and then its sum is wrong."""
    content = packed({NAME: b"0\n" * 500_000})
    size = (1_000_000).to_bytes(4, "little")
    with pytest.raises(BadReply):
        unpacked(content.replace(size, (1000).to_bytes(4, "little")))


def test_no_spoilt_zip_gets_through() -> None:
    """Whatever happens to its bytes, it is read as it was or refused."""
    dice = random.Random(7)
    content = packed({NAME: b"".join(LINES)})
    for _ in range(3000):
        spoilt = bytearray(content)
        for _ in range(dice.randint(1, 3)):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        with suppress(BadReply):
            assert unpacked(bytes(spoilt), 100) == [LINES]


def test_a_checksum_is_that_of_the_file_it_names() -> None:
    told = hashlib.sha256(b"content").hexdigest()
    for line in (f"{told}  {NAME}\n", f"{told} *{NAME}"):
        zipped.prove(b"content", line.encode(), NAME)
    for line in (f"{told}  {NAME}", f"{told}  OTHER.zip", told, "", f"{told.upper()}  {NAME}", "<html>\xff"):
        with pytest.raises(BadReply):
            zipped.prove(b"other" if NAME in line else b"content", line.encode("latin-1"), NAME)
