"""The part of ``requirements.lock`` that marketd needs to run, and the licences of what came of it.

Owns the walk from marketd through what its requirements require, by the metadata of the environment that runs this.
Refuses to pin: versions and hashes are those of the lock, and pip, which checks the hashes, refuses a part that misses
something.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def needed(project: str) -> set[str]:
    """Names of all that ``project`` requires here, without extras."""
    found: set[str] = set()
    waiting = [project]
    while waiting:
        for text in requires(waiting.pop()) or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.add(name)
                waiting.append(name)
    return found


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Name and text of each entry of a lock file: a line that begins with the name, then indented ones."""
    lines: list[str] = []
    for line in [*lock.splitlines(), "end=="]:
        if lines and not line.startswith(" "):
            yield canonicalize_name(lines[0].partition("==")[0]), "\n".join(lines)
            lines = []
        lines.append(line)


def licence(distribution: Distribution) -> str:
    facts = distribution.metadata
    classes = [
        text.rpartition(" :: ")[2] for text in facts.get_all("Classifier") or () if text.startswith("License ::")
    ]
    named = [*(facts.get_all("License-Expression") or ()), *classes, *(facts.get_all("License") or ()), "see its files"]
    return f"  {facts['Name']} {distribution.version}: {named[0].splitlines()[0]}"


def main(words: list[str]) -> None:
    if words[:1] == ["--licences"]:
        listed = [each for each in distributions(path=[words[1]]) if each.metadata["Name"] != "marketd"]
        print("\n".join(sorted(map(licence, listed), key=str.lower)))
        return
    wanted = needed("marketd")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    print("\n".join(text for name, text in entries(lock) if name in wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
