"""``python -m tests.prove.teeth``: mistakes made on purpose, which have to be found.

Owns a copy of the tree for each of ``bugs/*.patch``, and the verdict. The second line of a patch names the flow and the
fault that find it. A bug whose patch does not fit any more is a failure too: it has to be written anew.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUGS = Path(__file__).with_name("bugs")
_NEEDED = ("marketd", "sql", "config", "tests", "pyproject.toml")
_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Bug:
    patch: Path
    what: str
    flow: str
    fault: str

    @property
    def name(self) -> str:
        return self.patch.stem

    @classmethod
    def read(cls, patch: Path) -> "Bug":
        what, found, *_ = patch.read_text(encoding="utf-8").splitlines()
        flow, fault = found.removeprefix("Found by: ").split()
        return cls(patch, what, flow, fault)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove.teeth", description="Make mistakes; find them.")
    bugs = {bug.name: bug for bug in map(Bug.read, sorted(BUGS.glob("*.patch")))}
    parser.add_argument("names", nargs="*", choices=[*bugs, []], help="these only")
    parser.add_argument("--points", type=int, default=60, help="at most so many of each")
    options = parser.parse_args()
    missed = 0
    for bug in (bugs[name] for name in options.names or bugs):
        said = found(bug, options.points)
        missed += said is None
        print(f"{'MISSED' if said is None else 'found':<8}{bug.name:<26}{said or bug.what}", flush=True)
    print(f"{missed} missed")
    return 1 if missed else 0


def found(bug: Bug, points: int) -> str | None:
    """The first sentence against marketd with ``bug`` in it; None where nothing was found."""
    with tempfile.TemporaryDirectory(prefix="marketd-teeth-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        for part in _NEEDED:
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
        subprocess.run(["git", "apply", str(bug.patch)], cwd=folder, check=True)
        words = ["--flow", bug.flow, "--fault", bug.fault, "--points", str(points), "--first", "--seed", "1"]
        environ = {"PYTHONPATH": name, "PATH": "/usr/bin:/bin"}
        ended = subprocess.run(
            [sys.executable, "-m", "tests.prove", *words], cwd=folder, env=environ, capture_output=True, text=True,
            timeout=_MINUTES * 60, check=False,
        )  # fmt: skip
    if ended.returncode == 0:
        return None
    lines = ended.stderr.splitlines()
    at = next((at for at, line in enumerate(lines) if "VIOLATION" in line or "broken undisturbed" in line), None)
    if at is None:
        raise RuntimeError(f"{bug.name}: {ended.stderr[-2000:]}")
    return f"{lines[at].partition(':')[0]}: {lines[at + 1].strip()}"


if __name__ == "__main__":
    sys.exit(main())
