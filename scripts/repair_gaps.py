"""``python -m scripts.repair_gaps --symbol BTCUSD --timeframe 1h --max-gaps 100``: ``marketd repair-gaps``."""

import sys

from marketd.cli import main

if __name__ == "__main__":
    sys.exit(main(["repair-gaps", *sys.argv[1:]]))
