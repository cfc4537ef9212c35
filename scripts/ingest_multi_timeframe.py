"""``python -m scripts.ingest_multi_timeframe --symbol BTCUSD --start 2024-01-01 --resume``: ``marketd backfill``."""

import sys

from marketd.cli import main

if __name__ == "__main__":
    sys.exit(main(["backfill", *sys.argv[1:]]))
