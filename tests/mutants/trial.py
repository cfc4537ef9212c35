"""Trials: the tests of a module, run with a mutant of it in its place.

Owns the process of a trial, its limits and the verdict. Each trial is a fork that has not imported marketd yet, so that
nothing has to be started anew; the tree is never changed. Hypothesis draws the same examples each time, looks for no
simpler ones and has no deadline, so that a slow machine finds nothing.
"""

import importlib.abc
import importlib.util
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

import croniter  # noqa: F401  # what trials need is imported once, before the fork
import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).parents[2]
_MEMORY = 2 << 30
_PYTEST = (
    "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--noconftest", "--assert=plain",
    "--hypothesis-seed=0", "-W", "ignore::pytest.PytestAssertRewriteWarning",
    "-W", "ignore::pytest.PytestUnraisableExceptionWarning",
)  # fmt: skip

settings.register_profile(
    "mutants", database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """``survived``: the tests passed. ``cpu_s`` is what they took."""

    survived: bool
    cpu_s: float


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads ``code`` as the module ``name``."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def trial(module: str, code: CodeType, tests: Sequence[str], *, most_s: int) -> Trial:
    """Run ``tests`` with ``code`` in place of ``module``; what takes more than ``most_s`` of CPU is found by that."""
    child = os.fork()
    if child == 0:
        _run(module, code, tests, most_s)
    _, status, used = os.wait4(child, 0)
    return Trial(status == 0, used.ru_utime + used.ru_stime)


def _run(module: str, code: CodeType, tests: Sequence[str], most_s: int) -> None:
    failed = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        settings.load_profile("mutants")
        assert not any(name.startswith("marketd.") for name in sys.modules)
        path = ROOT / "marketd" / f"{module.replace('.', '/')}.py"
        sys.meta_path.insert(0, _Instead(f"marketd.{module}", path, code))
        failed = int(pytest.main([*_PYTEST, *tests]))
    finally:
        os._exit(failed)
