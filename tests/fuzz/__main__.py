"""Feeds spoilt replies to every adapter: ``python -m tests.fuzz --inputs 1000000 --seed 1``.

Ends with 1 where anything but marketd's own errors came out, a bad row was accepted, or an input took too long.
"""

import argparse
import sys

from tests.fuzz.corpus import CORPORA
from tests.fuzz.judge import SLOW_S, fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many for each adapter")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--adapter", choices=sorted(CORPORA), action="append", help="this one only")
    given = parser.parse_args()
    failed = False
    for adapter in given.adapter or sorted(CORPORA):
        report = fuzz(adapter, given.inputs, given.seed)
        print("\n".join(report.lines()), flush=True)
        failed = failed or bool(report.wrong) or report.slowest_s > SLOW_S
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
