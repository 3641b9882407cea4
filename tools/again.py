"""Run the tests that docs/reliability.md names again and again, each time in another order.

    make faults TIMES=20        or        python tools/again.py --times 20 -n 2

It stops at the first run that fails, whose seed is the last one said. Exit code: that run's, else 0.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"


def named() -> list[tuple[str, str]]:
    """File and test of each test that the page names; "" where it names the file alone."""
    found: list[tuple[str, str]] = []
    for row in PAGE.read_text("utf-8").splitlines():
        file = ""
        for match in re.finditer(r"`(?:(tests/[a-z_/]+\.py)|(test_\w+))`", row):
            file = match[1] or file
            found.append((file, match[2] or ""))
    return list(dict.fromkeys(found))


def main() -> int:
    """Run them as the command line says; all that it does not know goes to pytest."""
    parser = argparse.ArgumentParser(prog="tools/again.py", description="The rows again and again.")
    parser.add_argument("--times", type=int, default=20)
    given, of_pytest = parser.parse_known_args()
    tests = [f"{file}::{test}" for file, test in named() if test]
    began_s = time.monotonic()
    for number in range(1, given.times + 1):
        seed = random.randrange(1 << 32)  # noqa: S311  an order, no secret
        print(f"--- run {number} of {given.times}: --randomly-seed={seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", f"--randomly-seed={seed}", *tests, *of_pytest]
        code = subprocess.run(command, check=False).returncode
        if code:
            print(f"--- run {number} failed (--randomly-seed={seed}); {number - 1} in a row were green before it")
            return code
    print(f"--- {given.times} of {given.times} were green, in {(time.monotonic() - began_s) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
