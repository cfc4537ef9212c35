"""Where the one-minute truth comes from: recorded files, or a seeded random market.

Owns the day-wise supply of one-minute rows. A source is asked for one UTC day of one symbol at a time, so a market of
any length needs little memory. Refuses to aggregate, to hide or to change anything (see ``market``).
"""

import gzip
import hashlib
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Protocol

from marketd.errors import ConfigError
from marketd.rehearsal.rows import MINUTE_MS

DAY_MS = 86_400_000
MINUTES_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows and their open times, ascending; ``opens`` is an ``array('q')``."""

    opens: "array[int]"
    rows: Sequence[bytes]

    def between(self, start_ms: int, end_ms: int) -> "Chunk":
        """The part that opens in ``[start_ms, end_ms]``, both bounds included as on the wire."""
        low, high = bisect_left(self.opens, start_ms), bisect_right(self.opens, end_ms)
        if low == 0 and high == len(self.opens):
            return self
        return Chunk(self.opens[low:high], self.rows[low:high])


def chunk(opens: Sequence[int] = (), rows: Sequence[bytes] = ()) -> Chunk:
    return Chunk(array("q", opens), rows)


class Source(Protocol):
    @property
    def symbols(self) -> tuple[str, ...]:
        """Pairs as the exchange lists them, such as ``BTCUSD``."""

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        """Half-open range outside of which nothing was traded."""

    def day(self, symbol: str, day: int) -> Chunk:
        """One-minute rows of the UTC day number ``day`` since the epoch."""


class Recorded:
    """Replies of a real exchange: ``SYMBOL-1m-YEAR.csv.gz`` files, read when their symbol is first asked for."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, list[Path]] = {}
        for path in sorted(directory.glob("*-1m-*.csv.gz")):
            self._files.setdefault(path.name.split("-1m-")[0], []).append(path)
        if not self._files:
            raise ConfigError(f"no recorded candles in {directory}: expected files such as BTCUSD-1m-2013.csv.gz")
        self._read: dict[str, Chunk] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._files)

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        opens = self._whole(symbol).opens
        return opens[0], opens[-1] + MINUTE_MS

    def day(self, symbol: str, day: int) -> Chunk:
        return self._whole(symbol).between(day * DAY_MS, (day + 1) * DAY_MS - 1)

    def _whole(self, symbol: str) -> Chunk:
        if symbol not in self._read:
            self._read[symbol] = read_years(self._files[symbol])
        return self._read[symbol]


def read_years(paths: Sequence[Path]) -> Chunk:
    """All rows of the files of one symbol; ConfigError names a file that is unreadable or out of order."""
    opens = array("q")
    rows: list[bytes] = []
    for path in paths:
        try:
            lines = gzip.decompress(path.read_bytes()).split()
            years = [int(line[: line.index(b",")]) for line in lines]
        except (OSError, EOFError, ValueError) as error:
            raise ConfigError(f"{path} is not a file of recorded candles: {error}") from error
        opens.extend(years)
        rows.extend(b"[%b]" % line for line in lines)
        if any(later <= earlier for earlier, later in pairwise(opens)):
            raise ConfigError(f"{path}: candles must be ascending, within the file and after the year before")
    if not rows:
        raise ConfigError(f"{', '.join(path.name for path in paths)}: no candles in it")
    return Chunk(opens, rows)


class Filled:
    """Another source as an exchange sees it that has a candle for every minute: without trades it is flat."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: dict[tuple[str, int], bytes | None] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._source.symbols

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        return self._source.bounds_ms(symbol)

    def day(self, symbol: str, day: int) -> Chunk:
        traded = self._source.day(symbol, day)
        rows = dict(zip(traded.opens, traded.rows, strict=True))
        last = self._close_before(symbol, day)
        end_ms = min((day + 1) * DAY_MS, self.bounds_ms(symbol)[1])
        for open_ms in range(day * DAY_MS, end_ms, MINUTE_MS):
            if open_ms in rows:
                last = _close_of(rows[open_ms])
            elif last is not None:
                rows[open_ms] = b"[%d,%b,%b,%b,%b,0]" % (open_ms, last, last, last, last)
        opens = sorted(rows)
        return chunk(opens, [rows[ms] for ms in opens])

    def _close_before(self, symbol: str, day: int) -> bytes | None:
        """The last price before the day, None before the first trade."""
        key = symbol, day
        if key not in self._last:
            first_day, before = self.bounds_ms(symbol)[0] // DAY_MS, day - 1
            while before >= first_day and not self._source.day(symbol, before).rows:
                before -= 1
            rows = self._source.day(symbol, before).rows if before >= first_day else ()
            self._last[key] = _close_of(rows[-1]) if rows else None
        return self._last[key]


def _close_of(row: bytes) -> bytes:
    return row.split(b",", 3)[2]


@dataclass(frozen=True, slots=True)
class _Pair:
    """How one synthetic pair is drawn: its price level in ticks, ``unit`` ticks being 1, and the texts of fractions."""

    base: int
    unit: int
    tails: tuple[str, ...]
    phase: int


class Synthetic:
    """A random market in integer arithmetic: the same seed gives the same rows on every host, each day by itself."""

    def __init__(
        self, seed: int, symbols: Sequence[str], start_ms: int, end_ms: int, no_trade_share: float = 0.1
    ) -> None:
        if not 0 <= no_trade_share < 1:
            raise ConfigError(f"no_trade_share {no_trade_share} must be at least 0 and below 1")
        if start_ms >= end_ms or not symbols:
            raise ConfigError("a synthetic market needs a symbol, and a start before its end")
        self._seed = seed
        self._bounds = start_ms, end_ms
        self._silent = int(no_trade_share * 65_536)
        self._pairs = {symbol: _pair(seed, symbol) for symbol in symbols}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._pairs)

    def bounds_ms(self, symbol: str) -> tuple[int, int]:
        return self._bounds

    def day(self, symbol: str, day: int) -> Chunk:
        opens = array("q")
        rows: list[bytes] = []
        for open_ms, text in self._minutes(symbol, day):
            opens.append(open_ms)
            rows.append(text.encode())
        start_ms, end_ms = self._bounds
        return Chunk(opens, rows).between(start_ms, end_ms - 1)

    def _minutes(self, symbol: str, day: int) -> Iterator[tuple[int, str]]:
        """Open times and row texts; written out rather than in small functions, because every minute passes here."""
        pair = self._pairs[symbol]
        level, drift = _level(pair, day), _level(pair, day + 1) - _level(pair, day)
        silent, jitter, unit, tails = self._silent, max(pair.base // 1000, 4), pair.unit, pair.tails
        swing, open_ms = 2 * jitter + 1, day * DAY_MS - MINUTE_MS
        last, away = level, 0
        last_text = f"{last // unit}{tails[last % unit]}"
        dice = Random(f"{self._seed}:{symbol}:{day}")  # noqa: S311  no secret: the same seed must give the same day
        bits = struct.iter_unpack("<HHHHQ", dice.randbytes(16 * MINUTES_A_DAY))
        for minute, (silence, move, up, down, size) in enumerate(bits):
            open_ms += MINUTE_MS
            away = away * 15 // 16 + move % swing - jitter
            if silence < silent:
                continue
            close = max(level + drift * minute // MINUTES_A_DAY + away, 1)
            high, low = (last, close) if last > close else (close, last)
            high += up * jitter >> 17
            low = max(low - (down * jitter >> 17), 1)
            text = f"{close // unit}{tails[close % unit]}"
            yield (
                open_ms,
                f"[{open_ms},{last_text},{text},{high // unit}{tails[high % unit]},{low // unit}{tails[low % unit]},"
                f"{_volume(size)}]",
            )
            last, last_text = close, text


def _pair(seed: int, symbol: str) -> _Pair:
    digest = hashlib.sha256(f"{seed}:{symbol}".encode()).digest()
    base = 20_000 + int.from_bytes(digest[:4], "big") % 4_000_000
    decimals = 2 + digest[4] % 3
    tails = tuple(f".{part:0{decimals}d}".rstrip("0").rstrip(".") for part in range(10**decimals))
    return _Pair(base, 10**decimals, tails, int.from_bytes(digest[5:8], "big"))


def _level(pair: _Pair, day: int) -> int:
    """Price in ticks at the beginning of a day: triangle waves, so that any day is known without the days before."""
    swing = _wave(day + pair.phase, 701) + _wave(day + pair.phase, 97) // 3 + _wave(day * 7 + pair.phase, 29) // 9
    return pair.base * (3000 + swing) // 3000


def _wave(at: int, period: int) -> int:
    return 2000 * abs(2 * (at % period) - period) // period - 1000


def _volume(bits: int) -> str:
    """Volumes with a heavy tail, in units of 1e-8: some whole, one in a thousand so small that it has an exponent."""
    if bits & 0x3FF == 0:
        return _tiny((bits >> 10) % 99 + 1)
    units = ((bits >> 32) + 1) >> (bits >> 10 & 15)
    if bits >> 14 & 15 == 0:
        return str(units // 100_000_000 + 1)
    if units < 100_000_000:
        return f"0.{units | 1024:08d}".rstrip("0")
    return f"{units // 100_000_000}.{units % 100_000_000 | 1:08d}"


def _tiny(units: int) -> str:
    """1..99 units of 1e-8 as the exchange writes them: ``7e-8``, ``7.1e-7``."""
    tens, ones = divmod(units, 10)
    if tens == 0:
        return f"{ones}e-8"
    return f"{tens}.{ones}e-7" if ones else f"{tens}e-7"
