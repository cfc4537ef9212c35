"""A zip with one file of lines in it.

Owns the proof by its checksum, and a reading that takes no more memory than some thousand lines, whatever is in it.
BadReply: not the sum that was told, not a zip, another file in it, more than a file of candles can be.
"""

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import islice
from typing import Final

from marketd.errors import BadReply
from marketd.text import clean

MOST: Final = 32 * 1024 * 1024
"""Bytes, unpacked: a month of minutes has seven millions."""

_SUM = re.compile(rb"([0-9a-f]{64}) [ *]([^\s/]{1,200})\s*")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others do not unpack piece by piece
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, LookupError)


def prove(content: bytes, told: bytes, name: str) -> None:
    """BadReply unless ``told``, a line of ``sha256sum``, is that of ``content`` under the ``name``."""
    line = _SUM.fullmatch(told)
    if line is None or line[2] != name.encode():
        raise BadReply(f"not a checksum of {clean(name, 80)}: {clean(told[:80].decode('utf-8', 'replace'), 80)!r}")
    if line[1].decode() != hashlib.sha256(content).hexdigest():
        raise BadReply(f"{clean(name, 80)} has another checksum than the one told")


def lines(content: bytes, name: str, most: int) -> Iterator[Sequence[bytes]]:
    """The lines of the file ``name``, at most so many at a time; before the first ones all of it was read once."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as found:
            _refuse_others(found.infolist(), name)
            if found.testzip() is not None:
                raise BadReply(f"{clean(name, 80)} is damaged")
            with found.open(name) as file:
                while some := list(islice(file, most)):
                    yield some
    except _DAMAGE as error:
        raise BadReply(f"{clean(name, 80)} cannot be unpacked: {clean(str(error), 80)}") from error


def _refuse_others(found: Sequence[zipfile.ZipInfo], name: str) -> None:
    """What is unpacked is never longer than the zip itself says it is."""
    if [each.filename for each in found] != [name]:
        raise BadReply(f"{clean(name, 80)} is not the only file of its zip")
    if found[0].file_size > MOST or found[0].compress_type not in _METHODS:
        raise BadReply(f"{clean(name, 80)} is larger, or packed otherwise, than a file of candles may be")
