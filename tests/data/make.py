"""Writes the small candle files beside it: made-up prices, in the form of recorded ones.

Run ``python tests/data/make.py``; the seed is fixed, so the files come out the same. A line is open time (ms), open,
close, high, low, volume. As at an exchange, minutes without trades have no line, and there is one outage.
"""

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

DAYS = 3
MINUTE_MS = 60_000
HERE = Path(__file__).parent / "bitfinex"


def lines(start: datetime, price: float, busy: float, seed: int) -> list[str]:
    """Candles of ``DAYS`` days, where a minute trades with the chance ``busy``."""
    chance = random.Random(seed)
    outage = range(1_700, 1_940)
    made = []
    for minute in range(DAYS * 1440):
        trades = 1 + int(chance.expovariate(0.8)) if chance.random() < busy else 0
        if trades == 0 or minute in outage:
            continue
        prices = [price]
        for _ in range(trades):
            prices.append(max(0.01, prices[-1] * (1 + chance.gauss(0, 0.0006))))
        price = prices[-1]
        volume = sum(chance.lognormvariate(0, 1.5) for _ in range(trades))
        opening, closing, high, low = (f"{v:.5g}" for v in (prices[0], prices[-1], max(prices), min(prices)))
        open_ms = int(start.timestamp() * 1000) + minute * MINUTE_MS
        made.append(f"{open_ms},{opening},{closing},{high},{low},{volume:.8f}".rstrip("0").rstrip("."))
    return made


def write(symbol: str, start: datetime, price: float, busy: float, seed: int) -> None:
    text = "\n".join(lines(start, price, busy, seed)) + "\n"
    HERE.mkdir(exist_ok=True)
    (HERE / f"{symbol}-1m-{start.year}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    write("BTCUSD", datetime(2013, 6, 3, tzinfo=UTC), 121.5, busy=0.6, seed=1)
    write("LTCUSD", datetime(2013, 6, 3, tzinfo=UTC), 2.87, busy=0.12, seed=2)
