"""What ccxt makes of an exchange, as it is kept: how it reads the recorded replies, and what it would ask for.

Owns the shape of ``opinions/EXCHANGE.json``. Refuses to know ccxt: the tests read these files without it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "opinions"
_INNERMOST = re.compile(r"\[\s*([^][]*?)\s*\]")

NOW_MS = 1_700_000_000_000
START_MS = (NOW_MS // 86_400_000 - 5) * 86_400_000  # where all exchanges still have minutes
COUNT = 5
"""Candles that are asked for, from ``START_MS`` on, when it is ``NOW_MS``."""

Row = Sequence[float | None]
"""Open time (ms), open, high, low, close, volume."""


@dataclass(frozen=True)
class Opinion:
    """``called`` is ccxt's name of the exchange, ``requests_per_minute`` how fast it asks for candles in the long run.

    ``timeframes`` maps names to the exchange's, ``asks`` maps them to what is sent for them: the URL, and the body,
    if any. ``rows`` are those of each reply by its name, ascending; None is a number that ccxt does not find.
    """

    ccxt: str
    called: str
    requests_per_minute: float
    timeframes: Mapping[str, str]
    asks: Mapping[str, tuple[str, str]]
    rows: Mapping[str, Sequence[Row]]


def kept(exchange: str) -> Opinion:
    """FileNotFoundError where ccxt was not asked about ``exchange``."""
    return Opinion(**json.loads((_FOLDER / f"{exchange}.json").read_bytes()))


def keep(exchange: str, opinion: Opinion) -> None:
    """Written so that a row is a line."""
    text = json.dumps(asdict(opinion), indent=1)
    lines = _INNERMOST.sub(lambda found: "[" + re.sub(r"\s*\n\s*", " ", found[1]) + "]", text)
    (_FOLDER / f"{exchange}.json").write_text(lines + "\n", encoding="utf-8")
