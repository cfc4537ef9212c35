"""Known weaknesses of what marketd is built from and runs on.

Asks by ``pip-audit`` for every entry of ``requirements.lock``. Ends with 0 where all are known and none is weak, with 1
where one is, and with 69 where that could not be found out: unknown is not good.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main() -> int:
    asked = subprocess.run(
        [Path(sys.executable).with_name("pip-audit"), "--format=json", "--progress-spinner=off", "--disable-pip",
         "--require-hashes", "--requirement", ROOT / "requirements.lock"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not asked.stdout:
        print(f"the audit did not come about: {asked.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return 69
    entries: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    weak = [f"{entry['name']} {entry['version']}: {each['id']}" for entry in entries for each in entry.get("vulns", ())]
    unknown = [entry["name"] for entry in entries if "skip_reason" in entry]
    print(
        f"{len(entries)} packages: {len(weak)} known weaknesses, {len(unknown)} packages that nobody could tell about"
    )
    for line in weak:
        print(f"  {line}")
    return 1 if weak else 69 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
