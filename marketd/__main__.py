"""``python -m marketd`` is ``marketd``."""

import sys

from marketd.cli import main

if __name__ == "__main__":
    sys.exit(main())
