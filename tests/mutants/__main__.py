"""``python -m tests.mutants``: mistakes in the pure modules, one at a time, which their unit tests have to find.

Of an adapter those that have to do with bounds, order, alignment and digits, which the conformance suite has to find.

Ends with 1 where fewer than nine in ten are found. Those that change nothing that could be told are named in
``equivalent.py``, with the reason, and are not counted.
"""

import argparse
import random
import sys
import time

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutations import mutants
from tests.mutants.trial import ROOT, trial

LEAST_SCORE = 0.9
_ADAPTERS = sorted(path.stem for path in (ROOT / "marketd" / "rehearsal" / "dialects").glob("[a-z]*.py"))
_OWN = {"bitfinex": ("../unit/test_bitfinex.py",)}
_LEDGER = ("test_ledger.py", "test_ledger_gaps.py", "test_ledger_machine.py")
TESTS = {
    "ranges": ("test_ranges.py",),
    "timeframe": ("test_timeframe.py",),
    "planner": ("test_planner.py",),
    "page": ("test_page.py",),
    "cron": ("test_cron.py",),
    "blocks": ("test_blocks.py", *_LEDGER),
    "ledger": _LEDGER,
    **{f"exchanges.{name}": ("test_wire.py", "test_truth.py", *_OWN.get(name, ())) for name in _ADAPTERS},
}
_OF_ADAPTERS = ("candles_request:", "_is_closed:", "_iso:", "_plain:", "_path:")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", choices=[*TESTS, []], help="these only")
    parser.add_argument("--sample", type=int, metavar="N", help="at most N mutants of each module")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another sample")
    given = parser.parse_args()
    scores = [score(module, given.sample, given.seed) for module in given.modules or TESTS]
    return 0 if min(scores) >= LEAST_SCORE else 1


def score(module: str, sample: int | None, seed: int) -> float:
    """The share of the mutants that the tests find; says which ones they do not."""
    began = time.monotonic()
    path = ROOT / "marketd" / f"{module.replace('.', '/')}.py"
    source = path.read_text(encoding="utf-8")
    adapter = module.partition(".")[2]
    tests = [str(ROOT / "tests" / ("conformance" if adapter else "unit") / name) for name in TESTS[module]]
    if adapter:  # what comes of damaged replies needs no wait there, and takes long here
        tests = ["-k", f"{adapter} and not whatever or Words", *tests]
    right = trial(module, compile(source, str(path), "exec"), tests, most_s=300)
    if not right.survived:
        raise SystemExit(f"the tests of {module} fail without any mutant")
    chosen = [mutant for mutant in mutants(source, str(path)) if mutant.name not in EQUIVALENT.get(module, {})]
    if adapter:
        lines = source.splitlines()
        chosen = [each for each in chosen if each.name.startswith(_OF_ADAPTERS) or "Layout(" in lines[each.line - 1]]
    total = len(chosen)
    if sample is not None and sample < total:
        chosen = random.Random(seed).sample(chosen, sample)
    found = 0
    for mutant in chosen:
        if trial(module, mutant.code, tests, most_s=10 + int(5 * right.cpu_s)).survived:
            print(f"survived  {path.name}:{mutant.line}  {mutant.name}", flush=True)
        else:
            found += 1
    print(
        f"{module}: {found} of {len(chosen)} found ({found / len(chosen):.1%}), "
        f"{total} there are, {len(EQUIVALENT.get(module, {}))} equivalent, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return found / len(chosen)


if __name__ == "__main__":
    sys.exit(main())
