"""Foreign text made fit for a log line, an error or a column.

Owns the cleaning of whatever exchanges, proxies and operators send. Refuses control characters, terminal escapes,
line breaks, lone surrogates, NUL and length.
"""

import re
from typing import Final

LIMIT: Final = 200

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_ELLIPSIS: Final = "…"


def clean(text: str, limit: int = LIMIT) -> str:
    """``text`` as one printable line of at most ``limit`` characters.

    Terminal escape sequences vanish; runs of white space, line breaks included, become one space; whatever is still
    unprintable (control and format characters, lone surrogates) becomes ``?``. A cut is marked with an ellipsis.
    """
    # Four times the limit is enough raw text for any clean line, and keeps a megabyte of rubbish cheap.
    raw = _ESCAPES.sub("", text[: limit * 4])
    line = " ".join("".join(char if char.isprintable() or char.isspace() else "?" for char in raw).split())
    if len(line) > limit:
        return line[: limit - 1] + _ELLIPSIS
    return line + _ELLIPSIS if len(text) > limit * 4 and len(line) < limit else line
